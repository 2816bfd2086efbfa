"""An image-text model as config.yaml describes it."""

from pydantic import Field

from kinetext.core.plugins import Options


class BackboneOptions(Options):
    """An image-text model."""

    model: str = Field("kinetext-tiny", description="open_clip's name of the architecture, e.g. ViT-B-32")
    pretrained: str | None = Field(
        None, description="open_clip's tag of published weights, e.g. openai; downloads them"
    )
    weights: str | None = Field(
        None, description="a local file of weights instead: safetensors or an open_clip checkpoint"
    )
    pretrain_steps: int | None = Field(
        None,
        ge=1,
        description="kinetext-tiny only: train it anew for so many steps instead of taking the shipped weights",
    )

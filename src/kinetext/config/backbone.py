"""Options of a backbone."""

from pydantic import Field

from kinetext.core.plugins import Options


class BackboneOptions(Options):
    """An image-text model."""

    model: str = Field("kinetext-tiny", description="open_clip's name of the architecture, for instance ViT-B-32")
    pretrained: str | None = Field(
        None, description="open_clip's tag of published weights, for instance openai; they are downloaded"
    )
    weights: str | None = Field(
        None, description="local file of weights instead of a download: safetensors or an open_clip checkpoint"
    )
    pretrain_steps: int | None = Field(
        None,
        ge=1,
        description="kinetext-tiny only: pretrain for this many steps instead of using the shipped weights",
    )

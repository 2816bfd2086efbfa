"""Options of a backbone."""

import re
from typing import Any

from pydantic import Field

from kinetext.core.plugins import Options

TINY = "kinetext-tiny"
HUB = "hf-hub:"  # before names of weights on the Hugging Face hub
WITH_TIMM = re.compile(r"siglip|^PE-|^EVA0|^MobileCLIP|^vit_", re.I)  # open_clip's models whose image encoder is timm's


class BackboneOptions(Options):
    """An image-text model: an open_clip architecture with its weights, kinetext-tiny, or a plug-in with its options."""

    module: str | None = Field(
        None,
        description="plug-in of backbones; absent: by the name of the model, tiny for kinetext-tiny, timm_vit for SigLIP, PE-Core, "
        "EVA and MobileCLIP, else open_clip_vit",
    )
    model: str | None = Field(None, description="open_clip's name of the architecture, e.g. ViT-B-32; or kinetext-tiny")
    pretrained: str | None = Field(
        None, description="open_clip's tag of published weights, for instance openai; they are downloaded"
    )
    weights: str | None = Field(
        None,
        description="weights instead of a tag: a file (safetensors, a checkpoint of open_clip, OpenAI's TorchScript), a folder of the "
        "hub in open_clip's layout, or hf-hub:owner/name",
    )
    pretrain_steps: int | None = Field(
        None,
        ge=1,
        description="kinetext-tiny only: pretrain for this many steps instead of using the shipped weights",
    )
    options: dict[str, Any] = Field(default_factory=dict, description="further options of the plug-in")

    @property
    def family(self) -> str:
        """The name of the plug-in."""
        is_tiny = (self.model or TINY) == TINY and self.weights is None
        with_timm = WITH_TIMM.search(self.model or "")
        return self.module or ("tiny" if is_tiny else "timm_vit" if with_timm else "open_clip_vit")

    @property
    def on_hub(self) -> bool:
        """Whether the weights are a name on the Hugging Face hub."""
        return (self.weights or "").startswith(HUB)

    @property
    def settings(self) -> dict[str, Any]:
        """The options of the plug-in: those of the named fields that are set, and `options`."""
        named = {name: getattr(self, name) for name in ("model", "pretrained", "weights", "pretrain_steps")}
        if self.family == "tiny":
            named.pop("model")
        return {name: value for name, value in named.items() if value is not None} | self.options

    @property
    def source(self) -> str:
        """A description of where the weights come from."""
        if self.family == "tiny" and self.pretrain_steps is None:
            return "shipped with kinetext"
        return self.weights or self.pretrained or f"{self.family} {self.settings}"

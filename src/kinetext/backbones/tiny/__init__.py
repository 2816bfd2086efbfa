"""`kinetext-tiny`, the small CLIP of the demo: the model, its pretraining on still images, and a probe of its features.

Of 49 408 word embeddings, only those that the pretraining captions use were trained. The weights file holds only these;
the other embeddings are drawn from a fixed seed when the file is read.
"""

from __future__ import annotations

from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from kinetext.backbones.catalogue import ASSETS
from kinetext.backbones.native_models import facts_of
from kinetext.backbones.open_clip_vit import Architecture, Facts, OpenClipViT
from kinetext.config.backbone import TINY
from kinetext.core.plugins import Options

_EMBEDDING = "token_embedding.weight"


class Tiny(OpenClipViT):
    """A CLIP with 4 image layers and 3 text layers of width 128, for frames of 64 x 64 px."""

    class Config(Options):
        """Option of the weights."""

        pretrain_steps: int | None = Field(
            None, ge=1, description="steps of a new pretraining; null: the shipped weights"
        )

    vocabulary: Tensor | None = None  # ids of the word embeddings that were trained; None: all are stored

    def __init__(self, built_from: Architecture | None = None) -> None:
        super().__init__(built_from or Architecture(TINY))

    @classmethod
    def facts(cls, config: Any) -> Facts:
        return facts_of(TINY)

    @classmethod
    def weights_state(cls, config: Any) -> tuple[str, bool]:
        steps = config.pretrain_steps
        return (f"will be pretrained for {steps} steps" if steps else ""), False

    @classmethod
    def prepare(cls, config: Any, seed: int = 0) -> Tiny:
        if config.pretrain_steps is not None:
            from kinetext.backbones.tiny.pretrain import pretrain_tiny

            return pretrain_tiny(config.pretrain_steps, seed=seed)
        from kinetext.backbones.checkpoint import load_backbone

        shipped = load_backbone(ASSETS / "tiny")
        assert isinstance(shipped, Tiny)
        return shipped

    def stored_tensors(self) -> dict[str, Tensor]:
        tensors = super().stored_tensors()
        if self.vocabulary is None:
            return tensors
        tensors["token_rows"] = self.vocabulary.to(torch.int32)
        tensors[_EMBEDDING] = tensors[_EMBEDDING][self.vocabulary]
        return {name: t.half() if t.is_floating_point() else t for name, t in tensors.items()}

    def restore(self, tensors: dict[str, Tensor]) -> None:
        if "token_rows" in tensors:
            generator = torch.Generator().manual_seed(0)
            trained = tensors[_EMBEDDING].float()
            table = torch.randn(self.clip.token_embedding.weight.shape, generator=generator) * trained.std()
            table[tensors["token_rows"].long()] = trained
            tensors = {name: t for name, t in tensors.items() if name != "token_rows"} | {_EMBEDDING: table}
        super().restore(tensors)

"""Fine-tuned mean pooling: ViFi-CLIP (Rasheed et al., CVPR 2023), CLIP4Clip's meanP (Neurocomputing 2022).

CLIP is trained further on videos; its frame features are averaged, so the order of frames cannot matter. Adds no
parameter. Before training it equals zero_shot (tests/contracts/test_methods.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kinetext.core.plugins import Options
from kinetext.methods import Method

if TYPE_CHECKING:
    from kinetext.backbones.open_clip_vit import Backbone


class Config(Options):
    """No options."""


def build(backbone: Backbone, config: Config) -> Method:
    """The method on this backbone."""
    return Method(backbone, config)

"""Fine-tuned mean pooling: ViFi-CLIP (Rasheed et al., CVPR 2023), CLIP4Clip's meanP (Neurocomputing 2022).

CLIP is trained further on videos; its frame features are averaged, so the order of frames cannot matter. Adds no
parameter. Before training it equals zero_shot (tests/contracts/test_methods.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kinetext.models.methods import Method
from kinetext.registry import Options

if TYPE_CHECKING:
    from kinetext.models.backbone import Backbone


class Config(Options):
    """No options."""


def build(backbone: Backbone, config: Config) -> Method:
    """The method on this backbone."""
    return Method(backbone, config)

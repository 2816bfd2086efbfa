"""Zero-shot CLIP on video (Radford et al., ICML 2021): frame features averaged, compared with class texts.

Nothing trains, nothing is added. It is the floor that every other method starts from or has to explain.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kinetext.core.plugins import Options
from kinetext.methods import Method

if TYPE_CHECKING:
    from kinetext.backbones.open_clip_vit import Backbone


TRAINS = False  # there is nothing to train


class Config(Options):
    """No options."""


def build(backbone: Backbone, config: Config) -> Method:
    """The method on this backbone."""
    return Method(backbone, config)

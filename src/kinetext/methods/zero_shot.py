"""Zero-shot CLIP on video (Radford et al., ICML 2021): frame features averaged, compared with class texts.

Nothing trains, nothing is added. It is the baseline that every other method starts from.
"""

from __future__ import annotations

from typing import ClassVar

from kinetext.methods.base import ALL_TASKS, Method


class ZeroShot(Method):
    """Average the frame features without any training: zero-shot CLIP."""

    trains: ClassVar[bool] = False
    sees_order = False
    tasks = ALL_TASKS

"""Zero-shot CLIP on video (Radford et al., ICML 2021): the mean frame feature is compared with the class texts.

Nothing trains and no parameter is added. This is the baseline for all other methods. On a backbone without a class
token the frame features are its pooled image features.
"""

from __future__ import annotations

from typing import ClassVar

from kinetext.methods.base import ALL_TASKS, IGNORES_ORDER, Method


class ZeroShot(Method):
    """Average the frame features without any training: zero-shot CLIP."""

    paper = "Radford et al., ICML 2021"
    mechanism = "Compares the mean frame feature with the class texts."
    equals_before_training = "nothing trains: it is zero-shot CLIP"
    cannot_see = IGNORES_ORDER
    trains: ClassVar[bool] = False
    sees_order = False
    plain = True
    tasks = ALL_TASKS

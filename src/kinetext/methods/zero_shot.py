"""Zero-shot CLIP on video (Radford et al., ICML 2021): the mean frame feature is compared with the class texts.

Nothing trains and no parameter is added. This is the baseline for all other methods. On a backbone without a class
token the frame features are its pooled image features.
"""

from __future__ import annotations

from typing import ClassVar

from kinetext.methods.base import ALL_TASKS, Method


class ZeroShot(Method):
    """Average the frame features without any training: zero-shot CLIP."""

    paper = "Radford et al., ICML 2021"
    mechanism = "mean of the frame features against the class texts"
    equals_before_training = "nothing trains: zero-shot CLIP"
    trains: ClassVar[bool] = False
    sees_order = False
    plain = True
    tasks = ALL_TASKS

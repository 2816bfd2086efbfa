"""Fine-tuned mean pooling (CLIP4Clip's meanP, Neurocomputing 2022; the model of ViFi-CLIP, CVPR 2023).

Fine-tunes CLIP on videos and averages its frame features, so the order of frames cannot matter. Adds no parameter.
Before training it equals zero_shot (tests/methods/test_mean_pool.py).
"""

from __future__ import annotations

from kinetext.methods.base import Method


class MeanPool(Method):
    """Average the frame features; this is the default of `Method`."""

    sees_order = False

"""Fine-tuned mean pooling (CLIP4Clip's meanP, Neurocomputing 2022).

Fine-tunes CLIP on videos and averages its frame features, so the order of frames cannot matter. By default only the
image encoder trains (86 of the 149.6 million parameters of ViT-B/16). With `text_encoder`, `word_embeddings: trained`
and `learn_temperature` everything does: that is ViFi-CLIP (CVPR 2023), with its settings in experiments/vifi_*.yaml.
Adds no parameter. Before training it equals zero_shot (tests/methods/test_mean_pool.py).
"""

from __future__ import annotations

from kinetext.methods.base import ALL_TASKS, Method


class MeanPool(Method):
    """Average the frame features; this is the default of `Method`."""

    sees_order = False
    tasks = ALL_TASKS

"""Fine-tuned mean pooling (CLIP4Clip's meanP, Neurocomputing 2022).

The method fine-tunes CLIP on videos and averages the frame features, so frame order has no effect. By default only the
image encoder trains (86 M of ViT-B/16's 149.6 M parameters). With `text_encoder: trained`, `word_embeddings: trained`
and `learn_temperature: true` all parameters train, as in ViFi-CLIP (CVPR 2023; settings in experiments/vifi_*.yaml). No
parameter is added. Before training the method equals zero_shot (tests/methods/test_mean_pool.py). On a backbone without
a class token the frame features are its pooled image features, and the method equals zero_shot there too.
"""

from __future__ import annotations

from kinetext.methods.base import ALL_TASKS, IGNORES_ORDER, Method


class MeanPool(Method):
    """Average the frame features, as `Method` does by default."""

    paper = "CLIP4Clip's meanP (Luo et al., Neurocomputing 2022); ViFi-CLIP (Rasheed et al., CVPR 2023)"
    mechanism = "Fine-tunes CLIP on videos and compares the mean frame feature with the class texts."
    equals_before_training = "zero-shot CLIP"
    cannot_see = IGNORES_ORDER
    sees_order = False
    plain = True
    tasks = ALL_TASKS

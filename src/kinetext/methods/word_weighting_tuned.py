"""Word weighting with trained encoders: BIKE's video concept spotting (Wu et al., CVPR 2023) as it is trained there.

The score is that of `word_weighting`. The image encoder trains and, if the run asks for it, the text encoder, from the
cross-entropy over all classes or CLIP's contrastive loss. No parameter is added. Before training the method equals
`word_weighting` (tests/methods/test_text_conditioned.py).
"""

from __future__ import annotations

from typing import ClassVar

from kinetext.methods.word_weighting import WordWeighting


class WordWeightingTuned(WordWeighting):
    """Average the cosines of the frames with a class, weighted by the words of the class, and train the encoders."""

    mechanism = "the words of a class weight the frames; encoders fine-tuned"
    equals_before_training = "word_weighting"
    trains: ClassVar[bool] = True

"""Word weighting with trained encoders: BIKE's video concept spotting (Wu et al., CVPR 2023) as it is trained there.

The score is that of `word_weighting`. The image encoder and, optionally, the text encoder train with the cross-entropy
over all classes or CLIP's contrastive loss. No parameter is added. Before training the method equals `word_weighting`
(tests/methods/test_text_conditioned.py), with or without a class token in the backbone.

Released settings for Kinetics-400 (whwu95/BIKE, configs/k400/k400_train_rgb_vitb-16-f8.yaml): 8 frames, text encoder
frozen, AdamW, learning rate 5e-6 for CLIP, weight decay 0.2, 30 epochs, 5 of warm-up. The release also trains six
transformer layers over the frames (learning rate 5e-5) before it weights them, and its loss contrasts the clips of a
batch; neither is part of this method. `seq_transformer` has such layers.
"""

from __future__ import annotations

from typing import ClassVar

from kinetext.methods.word_weighting import WordWeighting


class WordWeightingTuned(WordWeighting):
    """Average the cosines of the frames with a class, weighted by the words of the class, and train the encoders."""

    mechanism = "Scores as word_weighting does, and fine-tunes the image encoder."
    equals_before_training = "word_weighting"
    trains: ClassVar[bool] = True

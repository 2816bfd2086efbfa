"""Cross-modal probe (Lin et al., "Multimodality Helps Unimodality", CVPR 2023; linzhiqiu/cross_modal_adaptation
@ ac9077e): a linear probe whose training samples are clips and texts.

Each prompt and each description of a class is a training sample of the class, like its clips. Comparing two text sets
shows whether descriptions help. Half of each batch is mean frame features, half text features. The head has one vector
per class and no bias, and its input is normalised. The vectors start at the zero-shot weights and are not renormalised.
Only they train: K x D parameters; none is added to the backbone.

A zero-shot weight is the normalised mean of the raw text features of a class, as released. Before training, and with
steps: 0, the method therefore equals zero_shot if each class has one text (tests/methods/test_fitted_heads.py); with
several, zero_shot averages normalised features. This also holds for the pooled image features of a backbone without a
class token. A class that was not fitted keeps its zero-shot weight, so every protocol is supported.

AdamW with 50 warm-up steps and cosine decay to zero, as released. With `training.select: best_val`, the head with the
best validation accuracy, measured every 100 steps, is kept. `wise_ft` interpolates with the zero-shot weights. The
release searches learning rates and weight decays on validation clips; here they are options, which tuning varies.

B, N clips, M validation clips, S sentences, K scored classes, J fitted classes, D joint width.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from kinetext.backbones.text_table import TextTable, WordFeatures
from kinetext.core.plugins import Options
from kinetext.methods.base import IGNORES_ORDER, SearchSpace
from kinetext.methods.fitting import Head, accuracy, class_ids, shuffled_batches

WARM_UP_STEPS, WARM_UP_LR = 50, 1e-5  # as released
EVALUATE_EVERY = 100  # steps, as released

Samples = Iterator[tuple[Tensor, Tensor]]  # normalised features [B, D] and their classes [B]


class Texts(NamedTuple):
    """Zero-shot weight of each class [K, D], id of each class [K], features [S, D] and class [S] of each sentence."""

    weight_KD: Tensor
    id_K: Tensor
    sentence_SD: Tensor
    owner_S: Tensor


class CrossModalProbe(Head):
    """Train one vector per class on clips and class texts."""

    paper = "cross-modal adaptation (Lin et al., CVPR 2023)"
    mechanism = "Trains a linear classifier on clips and on the prompts and descriptions of the classes."
    equals_before_training = "zero-shot CLIP, if each class has one text"
    cannot_see = IGNORES_ORDER
    fitted_parameters = "K D"
    search_space: ClassVar[SearchSpace] = {
        "options.lr": {"choices": [1e-3, 1e-4]},
        "options.weight_decay": {"choices": [0.0, 1e-4, 1e-2]},
    }

    class Config(Options):
        """Options of the training."""

        lr: float = Field(1e-3, gt=0, description="learning rate of AdamW; 50 steps of warm-up, then a cosine to zero")
        weight_decay: float = Field(1e-2, ge=0, description="weight decay of AdamW")
        steps: int = Field(12_800, ge=0, description="steps; 0: zero-shot CLIP")
        batch_size: int = Field(32, ge=2, description="samples per step, half of them texts")
        wise_ft: float = Field(1.0, ge=0, le=1, description="share of the trained weights beside the zero-shot ones")

    config: Config

    def pool_texts(self, words: WordFeatures, table: TextTable) -> Texts:
        """Return the zero-shot weights and the features of all sentences."""
        weight_KD = zero_shot_weights(words.sentence_SD, table.owner_S, len(table.labels))
        return Texts(weight_KD, class_ids(table.labels, table.owner_S.device), words.sentence_SD, table.owner_S)

    def fit(self, frames_NTD: Tensor, target_N: Tensor, text: Texts, val: tuple[Tensor, Tensor] | None = None) -> None:
        """Train the class vectors on the N training clips and the S sentences."""
        config = self.config
        feature_ND = F.normalize(self.encode_frames(frames_NTD).to(self.device), dim=-1).clone()
        samples = mixed_batches(
            (feature_ND, target_N.to(self.device)),
            (F.normalize(text.sentence_SD, dim=-1).clone(), text.owner_S),
            config.batch_size,
            config.steps,
        )
        validate = None
        if val is not None:
            val_MD, val_M = F.normalize(self.encode_frames(val[0]).to(self.device), dim=-1), val[1].to(self.device)

            def validate(weight_JD: Tensor) -> float:
                return accuracy(val_MD @ weight_JD.T, val_M)

        def lr_at(step: int) -> float:
            return scheduled_lr(config.lr, step, config.steps)

        logits = self.backbone.logits
        weight_JD, _ = train_head(text.weight_KD, samples, logits, lr_at, config.weight_decay, validate)
        weight_JD = config.wise_ft * weight_JD + (1 - config.wise_ft) * text.weight_KD
        self.fitted = {"weight_JD": weight_JD.cpu(), "id_J": text.id_K.cpu()}

    def score(self, video: Tensor, text: Texts) -> Tensor:
        """Return the logits [B, K]."""
        weight_KD = self.rows_or_texts("weight_JD", text.weight_KD, text.id_K)
        return self.backbone.logits(F.normalize(video, dim=-1) @ weight_KD.T)


def zero_shot_weights(sentence_SD: Tensor, owner_S: Tensor, classes: int) -> Tensor:
    """Return the normalised mean [K, D] of the raw text features of each class."""
    return F.normalize(sentence_SD.new_zeros(classes, sentence_SD.shape[1]).index_add(0, owner_S, sentence_SD), dim=-1)


def mixed_batches(clips: tuple[Tensor, Tensor], texts: tuple[Tensor, Tensor], batch_size: int, steps: int) -> Samples:
    """Yield `steps` batches: half clips and half texts, each in random order without replacement."""
    halves = []
    for stream, (features, _) in enumerate((clips, texts)):
        size = min(batch_size // 2, len(features))
        halves.append(shuffled_batches(len(features), size, steps, stream))  # more epochs than needed
    for _, clip_B, text_B in zip(range(steps), *halves, strict=False):
        clip_B, text_B = clip_B.to(clips[1].device), text_B.to(texts[1].device)
        yield torch.cat([clips[0][clip_B], texts[0][text_B]]), torch.cat([clips[1][clip_B], texts[1][text_B]])


def scheduled_lr(lr: float, step: int, steps: int) -> float:
    """Return the learning rate of a step: a linear warm-up of 50 steps from 1e-5, then cosine decay to zero."""
    if step < WARM_UP_STEPS:
        return WARM_UP_LR if step == 0 else lr * step / WARM_UP_STEPS
    return lr * 0.5 * (1 + math.cos(math.pi * step / steps))


@torch.enable_grad()
def train_head(
    weight_JD: Tensor,
    samples: Samples,
    logits: Callable[[Tensor], Tensor],
    lr_at: Callable[[int], float],
    weight_decay: float,
    validate: Callable[[Tensor], float] | None = None,
) -> tuple[Tensor, list[Tensor]]:
    """Return the trained vectors [J, D] and the loss before each step.

    `validate` returns the validation accuracy of the vectors; with it, the first best ones are returned.
    """
    weight_JD = weight_JD.detach().clone().requires_grad_()
    optimizer = torch.optim.AdamW([weight_JD], weight_decay=weight_decay)
    losses, best, kept = [], -1.0, None
    for step, (feature_BD, target_B) in enumerate(samples):
        optimizer.param_groups[0]["lr"] = lr_at(step)
        loss = F.cross_entropy(logits(feature_BD @ weight_JD.T), target_B)
        (weight_JD.grad,) = torch.autograd.grad(loss, weight_JD)
        optimizer.step()
        losses.append(loss.detach())
        if validate is not None and step % EVALUATE_EVERY == 0:
            score = validate(weight_JD.detach())
            if score > best:
                best, kept = score, weight_JD.detach().clone()
    return weight_JD.detach() if kept is None else kept, losses

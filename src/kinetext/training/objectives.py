"""Objectives: how the losses of a batch and the validation metric are computed from a method.

`Recognition` is for clips with classes, `Retrieval` for clips with captions. The losses themselves belong to the method
(`Method.losses`).

With `precision: bfloat16` only the features are computed in bfloat16. Scores and losses are computed in float32,
because bfloat16 would round a score (100 times a cosine) to a multiple of 0.5.

B clips of this process, N clips of the whole batch, K classes or captions, D width of the joint space.
"""

from collections import Counter
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from kinetext.backbones.text_table import TextTable, WordFeatures, to_device_async
from kinetext.config.training import TrainingOptions
from kinetext.core import distributed
from kinetext.methods.base import LossInputs, Method, Tokens, contrastive_loss, sigmoid_loss
from kinetext.training.batches import Batch, Batches
from kinetext.training.features import map_tensors
from kinetext.training.gather import gather_features
from kinetext.training.loss_terms.base import LossTerm, TermInputs, mixed_losses
from kinetext.training.threshold import set_threshold

WHOLE = slice(None)
Losses = dict[str, Tensor]  # named terms, whose sum is minimised


def total(losses: Losses) -> Tensor:
    """Return the sum of named loss terms."""
    first, *others = losses.values()
    return sum(others, start=first)


def read_tokens(method: Method, training: TrainingOptions, batch: Batch, piece: slice = WHOLE) -> Tokens:
    """Return the tokens of the clips `piece` of a batch, cached or computed by the image encoder.

    A frozen image encoder runs without autograd, unless the method adds parameters inside it. Raises TypeError if the
    batch has no clips.
    """
    if isinstance(batch.clips, dict):  # cached in float16
        return {level: t[piece].float() for level, t in batch.clips.items()}
    if not isinstance(batch.clips, Tensor):
        raise TypeError("the batch has no clips: take it from Batches.epoch")
    if training.image_encoder != "frozen" or method.inside:
        return method.image_tokens(batch.clips[piece])
    with torch.inference_mode():
        tokens = method.image_tokens(batch.clips[piece])
    return {level: t.clone() for level, t in tokens.items()}  # autograd takes no tensor of inference mode


def texts_are_fixed(method: Method, training: TrainingOptions) -> bool:
    """Return whether no parameter that trains changes the features of sentences and words."""
    return training.text_encoder == "frozen" and not method.inside_text


def encode_clips(method: Method, training: TrainingOptions, batch: Batch, piece: slice = WHOLE) -> Any:
    """Return the video features of the clips `piece` of a batch, in float32."""
    with autocast(training):
        return as_float32(method.encode_tokens(read_tokens(method, training, batch, piece)), training)


def autocast(training: TrainingOptions) -> torch.autocast:
    """Return the autocast context of `training.precision`."""
    device = distributed.device().type
    return torch.autocast(device, torch.bfloat16, enabled=training.precision == "bfloat16")


def as_float32(features: Any, training: TrainingOptions) -> Any:
    """Return features converted to float32, the precision of scores and losses."""
    if training.precision == "float32":
        return features
    return map_tensors(lambda t: t.float() if t.is_floating_point() else t, features)


@dataclass
class Recognition:
    """Compare clips with the texts of all classes. With a frozen text encoder the texts are encoded only once."""

    method: Method
    table: TextTable
    rivals_KK: Tensor
    training: TrainingOptions
    log_prior_K: Tensor | None = None  # see LossInputs
    frozen_words: WordFeatures | None = None
    best_by = "val_top1"

    def __post_init__(self) -> None:
        if texts_are_fixed(self.method, self.training):
            with torch.no_grad():
                self.frozen_words = self.method.encode_words(self.table)

    def words(self) -> WordFeatures:
        """Return the features of all sentences and words of the classes."""
        return self.frozen_words or self.method.encode_words(self.table)

    def text(self) -> Any:
        """Return the features of all classes, in float32."""
        with autocast(self.training):
            return as_float32(self.method.pool_texts(self.words(), self.table), self.training)

    def losses(self, batch: Batch, piece: slice = WHOLE, text: Any = None) -> Losses:
        """Return the losses of the clips `piece` of this process, weighted by their number.

        The sum over the pieces of a process, averaged over processes, is the loss of the whole batch. `text` holds the
        features of the classes, which are computed if it is None.
        """
        with autocast(self.training):
            tokens = read_tokens(self.method, self.training, batch, piece)
            video = as_float32(self.method.encode_tokens(tokens), self.training)
        text = self.text() if text is None else text
        inputs = self.inputs(batch, piece, video, text)
        device = self.rivals_KK.device
        other_B = None if batch.other_B is None else to_device_async(batch.other_B[piece], device)
        losses = mixed_losses(self.method, inputs, other_B, batch.share)
        if self.method.loss_terms:
            clips = batch.clips[piece] if isinstance(batch.clips, Tensor) else None
            term_inputs = TermInputs(clips, tokens, self.table, inputs, other_B, batch.share)
            losses |= term_losses(self.method, term_inputs, self.training)
        clips_counted = len(batch.text_N[batch.part][piece]) if batch.sizes[batch.rank] else 0
        weight = clips_counted * len(batch.sizes) / len(batch.text_N)
        return losses if weight == 1 else {name: weight * loss for name, loss in losses.items()}

    def inputs(self, batch: Batch, piece: slice, video: Any, text: Any) -> LossInputs:
        """Return the inputs of the losses of a piece of a batch."""
        target_B = to_device_async(batch.text_N[batch.part][piece], self.rivals_KK.device)
        smoothing, sigmoid = self.training.label_smoothing, self.training.loss == "sigmoid"
        return LossInputs(video, text, target_B, self.rivals_KK, smoothing, None, self.log_prior_K, sigmoid)

    def positive_share(self, batch: Batch) -> float:
        """Return the fraction of the pairs of this process's clips and all classes that belong together."""
        return 1 / len(self.table.labels)

    @torch.no_grad()
    def set_threshold(self, batch: Batch) -> None:
        """Set the threshold of binary losses so that a batch's mean predicted probability is its share of positives."""
        self.method.eval()
        scores_BK = self.method.score(encode_clips(self.method, self.training, batch), self.text())
        set_threshold(self.method, scores_BK, self.positive_share(batch))

    @torch.inference_mode()
    def validate(self, batches: Batches) -> dict[str, float]:
        """Return `val_loss`, the mean loss of the validation clips, and `val_top1`, the top-1 accuracy (0 to 1).

        Also return `val_chance`, the expected accuracy of random scores.
        """
        self.method.eval()
        text, sums, counts = self.text(), [], []
        for batch in batches.epoch(None):
            video = encode_clips(self.method, self.training, batch)
            target_B = to_device_async(batch.text_N, self.rivals_KK.device)
            sigmoid = self.training.loss == "sigmoid"
            loss = total(self.method.losses(LossInputs(video, text, target_B, self.rivals_KK, sigmoid=sigmoid)))
            correct = (self.method.score(video, text).argmax(-1) == target_B).sum()
            sums.append(torch.stack([loss, correct.to(loss.dtype)]))
            counts.append(len(target_B))
        values = torch.stack(sums).tolist() if sums else []
        rows = distributed.gather([(*row, count) for row, count in zip(values, counts, strict=True)])
        clips = sum(count for *_, count in rows)
        loss_sum, correct_sum = sum(loss * count for loss, _, count in rows), sum(correct for _, correct, _ in rows)
        return {"val_loss": loss_sum / clips, "val_top1": correct_sum / clips, "val_chance": self.chance}

    @property
    def chance(self) -> float:
        """Return the expected top-1 accuracy of random scores."""
        return 1 / len(self.rivals_KK)


@dataclass
class Retrieval:
    """Compare the clips of a batch with the captions of the batch. Each clip comes with one of its captions."""

    method: Method
    table: TextTable  # of the training clips, on the CPU
    val_table: TextTable | None  # of the validation clips
    training: TrainingOptions
    best_by = "val_t2v_r1"

    def encode(self, batch: Batch, piece: slice = WHOLE) -> tuple[Any, Any]:
        """Return (video features, caption features) of the clips `piece` of this process.

        A clip that only fills an empty process (see `Batch`) gets no row.
        """
        video = encode_clips(self.method, self.training, batch, piece)
        first = batch.part.start
        start, stop, _ = piece.indices(len(batch.indices))
        captions = self.table.take(batch.text_N, slice(first + start, first + stop))
        captions = captions.to(self.method.backbone.mean_C.device)
        with autocast(self.training):
            fixed = texts_are_fixed(self.method, self.training)
            with torch.set_grad_enabled(not fixed and torch.is_grad_enabled()):
                words = self.method.encode_words(captions)
            text = as_float32(self.method.pool_texts(words, captions), self.training)
        if not batch.sizes[batch.rank]:
            video, text = map_tensors(lambda t: t[:0], (video, text))
        return video, text

    def contrast(self, features: tuple[Any, Any], batch: Batch) -> Losses:
        """Return the losses of the whole batch, given the (video, caption) features of this process.

        The features of the other processes are gathered.
        """
        video, text = (gather_features(side, batch.sizes) for side in features)
        target_N = torch.arange(len(batch.text_N))
        sigmoid = self.training.loss == "sigmoid"
        return self.method.losses(
            LossInputs(video, text, target_N, None, self.training.label_smoothing, sigmoid=sigmoid)
        )

    @torch.no_grad()
    def set_threshold(self, batch: Batch) -> None:
        """Set the threshold of binary losses so that a batch's mean predicted probability is its share of positives."""
        self.method.eval()
        video, text = (gather_features(side, batch.sizes) for side in self.encode(batch))
        set_threshold(self.method, self.method.score(video, text), 1 / len(batch.text_N))

    def losses(self, batch: Batch) -> Losses:
        """Return the losses of the whole batch."""
        return self.contrast(self.encode(batch), batch)

    @torch.inference_mode()
    def validate(self, batches: Batches) -> dict[str, float]:
        """Return `val_loss`, the mean loss with the first caption of each clip, `val_t2v_r1` (0 to 1) and `val_chance`.

        `val_t2v_r1` is R@1 from text to video: the fraction of captions for which no other clip scores strictly higher
        than the described clip. Captions of clips without frames count as wrong. `val_chance` is its expected value with
        random scores.
        """
        assert self.val_table is not None
        self.method.eval()
        with autocast(self.training):
            texts = [self.method.encode_texts(part) for part in self.val_table.captions()]
        texts = [as_float32(text, self.training) for text in texts]
        scores, losses = [], []
        for batch in batches.epoch(None):
            video = encode_clips(self.method, self.training, batch)
            scores.append(torch.cat([self.method.score(video, text) for text in texts], 1))
            target_B = to_device_async(batch.text_N, scores[-1].device)
            of_batch_BB = scores[-1][:, target_B]
            if self.training.loss == "sigmoid":
                logits_BB = self.method.label_logits(of_batch_BB)
                losses.append(sigmoid_loss(logits_BB, torch.arange(len(logits_BB), device=logits_BB.device)))
            else:
                losses.append(contrastive_loss(of_batch_BB))
        values = torch.stack(losses).tolist() if losses else []
        parts = distributed.gather([(s.cpu(), loss) for s, loss in zip(scores, values, strict=True)])
        scores_BK = torch.cat([part for part, _ in parts])
        loss_sum = sum(loss * len(part) for part, loss in parts)
        row_of = {clip: b for b, clip in enumerate(batches.clip_ids)}  # clips without frames have none
        target_K = torch.tensor([row_of.get(self.val_table.labels[k], -1) for k in self.val_table.owner_S.tolist()])
        asked_K = (target_K >= 0).nonzero()[:, 0]
        first_K = (scores_BK[:, asked_K] > scores_BK[target_K[asked_K], asked_K]).sum(0) == 0
        chance = len(asked_K) / len(target_K) / len(scores_BK)
        recall = first_K.sum().item() / len(target_K)
        return {"val_loss": loss_sum / len(scores_BK), "val_t2v_r1": recall, "val_chance": chance}


Objective = Recognition | Retrieval


def log_shares(clip_labels: list[str], labels: list[str]) -> Tensor:
    """Return the logarithm [K] of the relative frequency of each class. A class without clips counts as one clip."""
    count_of = Counter(clip_labels)
    count_K = torch.tensor([max(1, count_of[label]) for label in labels], dtype=torch.float32)
    return (count_K / count_K.sum()).log()


def term_losses(method: Method, inputs: TermInputs, training: TrainingOptions) -> Losses:
    """Return the weighted losses of the run's loss terms (`training.terms`), by name."""
    with autocast(training):
        terms = {name: cast(LossTerm, term) for name, term in method.loss_terms.items()}
        return {name: training.terms[name].weight * term.loss(inputs) for name, term in terms.items()}

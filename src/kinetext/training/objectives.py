"""What a training minimises, and how it is judged on validation clips: recognition where clips have classes, retrieval
where they have captions. Both ask of a method nothing but its features, its scores and its loss.

Under bfloat16 features are computed in bfloat16; scores and losses are float32, for a cosine times 100 is good for half a
unit in bfloat16.

B clips of this process, N of the whole batch, K classes or captions.
"""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from kinetext.backbones.text_table import TextTable, WordFeatures, to_device_async
from kinetext.config.training import TrainingOptions
from kinetext.core import distributed
from kinetext.methods import Method, Tokens
from kinetext.training.batches import Batch, Batches
from kinetext.training.features import each
from kinetext.training.losses import contrastive_loss, gathered

WHOLE = slice(None)


def encode_clips(method: Method, training: TrainingOptions, batch: Batch, piece: slice = WHOLE) -> Any:
    """The features of a piece of a batch's clips."""
    with precise(training):
        if isinstance(batch.clips, dict):  # float16, as they were kept
            tokens: Tokens = {level: t[piece].float() for level, t in batch.clips.items()}
        elif not isinstance(batch.clips, Tensor):
            raise TypeError("the batch was not sent to the device: Batches.send")
        elif training.image_encoder == "trained":
            tokens = method.image_tokens(batch.clips[piece])
        else:
            with torch.inference_mode():
                tokens = method.image_tokens(batch.clips[piece])
            tokens = {level: t.clone() for level, t in tokens.items()}  # autograd takes no tensor of inference mode
        return as_float32(method.encode_tokens(tokens), training)


def precise(training: TrainingOptions) -> torch.autocast:
    """A context in which products are computed in the precision asked for."""
    device = distributed.device().type
    return torch.autocast(device, torch.bfloat16, enabled=training.precision == "bfloat16")


def as_float32(features: Any, training: TrainingOptions) -> Any:
    """Features as scores are computed from them."""
    if training.precision == "float32":
        return features
    return each(lambda t: t.float() if t.is_floating_point() else t, features)


@dataclass
class Recognition:
    """Clips against the texts of all classes, which are encoded once if the text tower is frozen."""

    method: Method
    table: TextTable
    rivals_KK: Tensor
    training: TrainingOptions
    frozen: WordFeatures | None = field(default=None)
    best_by = "val_top1"

    def __post_init__(self) -> None:
        if self.training.text_encoder == "frozen":
            with torch.no_grad():
                self.frozen = self.method.encode_words(self.table)

    def text(self) -> Any:
        """The features of all classes."""
        with precise(self.training):
            words = self.frozen or self.method.encode_words(self.table)
            return as_float32(self.method.pool_texts(words, self.table), self.training)

    def loss(self, batch: Batch, piece: slice = WHOLE, text: Any = None) -> Tensor:
        """The method's own loss of some of the clips here, weighted so that all pieces of a process add up to its part, and
        the mean over processes is the loss of the whole batch.
        """
        video = encode_clips(self.method, self.training, batch, piece)
        text_B = batch.text_N[batch.part][piece]
        target_B = to_device_async(text_B, self.rivals_KK.device)
        smoothing = self.training.label_smoothing
        text = self.text() if text is None else text
        loss = self.method.loss(video, text, target_B, self.rivals_KK, smoothing)
        if batch.other_B is not None:
            other_B = to_device_async(batch.other_B[piece], self.rivals_KK.device)
            mixed_in = self.method.loss(video, text, other_B, self.rivals_KK, smoothing)
            loss = batch.share * loss + (1 - batch.share) * mixed_in
        counted = len(text_B) if batch.sizes[batch.rank] else 0
        weight = counted * len(batch.sizes) / len(batch.text_N)
        return loss if weight == 1 else weight * loss

    def validate(self, batches: Batches) -> dict[str, float]:
        """Loss and top-1."""
        text, mine, counts = self.text(), [], []
        for batch in map(batches.send, batches.epoch(None)):
            video = encode_clips(self.method, self.training, batch)
            target_B = to_device_async(batch.text_N, self.rivals_KK.device)
            loss = self.method.loss(video, text, target_B, self.rivals_KK, 0.0)
            right = (self.method.score(video, text).argmax(-1) == target_B).sum()
            mine.append(torch.stack([loss, right.to(loss.dtype)]))
            counts.append(len(target_B))
        read = torch.stack(mine).tolist() if mine else []
        rows = distributed.gather([(*row, count) for row, count in zip(read, counts, strict=True)])
        clips = sum(count for *_, count in rows)
        loss, right = sum(loss * count for loss, _, count in rows), sum(right for _, right, _ in rows)
        return {"val_loss": loss / clips, "val_top1": right / clips}


@dataclass
class Retrieval:
    """Clips against the captions of the batch, each clip with one of its own."""

    method: Method
    table: TextTable  # of the training clips, on the CPU
    held_out: TextTable | None  # of the validation clips
    training: TrainingOptions
    best_by = "val_t2v_r1"

    def encode(self, batch: Batch, piece: slice = WHOLE) -> tuple[Any, Any]:
        """The features of some of the clips here and of the caption of each; none of those that count nothing."""
        video = encode_clips(self.method, self.training, batch, piece)
        first = batch.part.start
        start, stop, _ = piece.indices(len(batch.places))
        captions = self.table.take(batch.text_N).rows(slice(first + start, first + stop))
        captions = captions.to(self.method.backbone.mean_C.device)
        with precise(self.training):
            with torch.set_grad_enabled(self.training.text_encoder == "trained" and torch.is_grad_enabled()):
                words = self.method.encode_words(captions)
            text = as_float32(self.method.pool_texts(words, captions), self.training)
        if not batch.sizes[batch.rank]:
            video, text = each(lambda t: t[:0], (video, text))
        return video, text

    def contrast(self, features: tuple[Any, Any], batch: Batch) -> Tensor:
        """Symmetric InfoNCE over the whole batch, from the features of what is here."""
        video, text = (gathered(side, batch.sizes) for side in features)
        return contrastive_loss(self.method.score(video, text), self.training.label_smoothing)

    def loss(self, batch: Batch) -> Tensor:
        """The loss of the whole batch."""
        return self.contrast(self.encode(batch), batch)

    def validate(self, batches: Batches) -> dict[str, float]:
        """Loss over batches with each clip's first caption, and the share of captions to which no clip scores strictly
        higher than their own.
        """
        assert self.held_out is not None
        with precise(self.training):
            texts = [self.method.encode_texts(part) for part in self.held_out.captions()]
        texts = [as_float32(text, self.training) for text in texts]
        scores, losses = [], []
        for batch in map(batches.send, batches.epoch(None)):
            video = encode_clips(self.method, self.training, batch)
            scores.append(torch.cat([self.method.score(video, text) for text in texts], 1))
            own_B = to_device_async(batch.text_N, scores[-1].device)
            losses.append(contrastive_loss(scores[-1][:, own_B]))
        read = torch.stack(losses).tolist() if losses else []
        parts = distributed.gather([(s.cpu(), loss) for s, loss in zip(scores, read, strict=True)])
        scores_BK = torch.cat([part for part, _ in parts])
        loss = sum(loss * len(part) for part, loss in parts)
        place = {clip: b for b, clip in enumerate(batches.clip_ids)}  # clips without frames have none
        own_K = torch.tensor([place.get(self.held_out.labels[k], -1) for k in self.held_out.owner_S.tolist()])
        asked_K = (own_K >= 0).nonzero()[:, 0]
        first_K = (scores_BK[:, asked_K] > scores_BK[own_K[asked_K], asked_K]).sum(0) == 0
        return {"val_loss": loss / len(scores_BK), "val_t2v_r1": first_K.sum().item() / len(own_K)}

"""What a training minimises, and how it is judged on validation clips: recognition where clips have classes, retrieval
where they have captions. Both ask of a method nothing but its scores or its loss.

B clips, K classes or captions.
"""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from kinetext.config import TrainingOptions
from kinetext.models.methods import Method
from kinetext.models.texts import TextTable, WordFeatures
from kinetext.training.batches import Batch, Batches
from kinetext.training.losses import contrastive_loss, gathered


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
        if self.training.text == "frozen":
            with torch.no_grad():
                self.frozen = self.method.encode_words(self.table)

    def _text(self) -> Any:
        return self.method.pool_texts(self.frozen or self.method.encode_words(self.table), self.table)

    def loss(self, batch: Batch) -> Tensor:
        """The method's own loss."""
        video = self.method.encode_tokens(batch.tokens())
        return self.method.loss(video, self._text(), batch.target_B, self.rivals_KK, self.training.label_smoothing)

    def validate(self, batches: Batches) -> dict[str, float]:
        """Loss and top-1."""
        text, loss, right, count = self._text(), 0.0, 0, 0
        for batch in batches.epoch(None):
            video = self.method.encode_tokens(batch.tokens())
            loss += self.method.loss(video, text, batch.target_B, self.rivals_KK, 0.0).item() * len(batch.target_B)
            right += int((self.method.score(video, text).argmax(-1) == batch.target_B).sum())
            count += len(batch.target_B)
        return {"val_loss": loss / count, "val_top1": right / count}


@dataclass
class Retrieval:
    """Clips against the captions of the batch, each clip with one of its own."""

    method: Method
    table: TextTable  # of the training clips
    held_out: TextTable | None  # of the validation clips
    training: TrainingOptions
    best_by = "val_t2v_r1"

    def loss(self, batch: Batch) -> Tensor:
        """Symmetric InfoNCE over the batch, that of all processes together where there are several."""
        video = self.method.encode_tokens(batch.tokens())
        captions = self.table.take(batch.target_B)
        with torch.set_grad_enabled(self.training.text == "trained"):
            words = self.method.encode_words(captions)
        text = self.method.pool_texts(words, captions)
        return contrastive_loss(self.method.score(gathered(video), gathered(text)), self.training.label_smoothing)

    def validate(self, batches: Batches) -> dict[str, float]:
        """Loss over batches with each clip's first caption, and the share of captions to which no clip scores strictly
        higher than their own.
        """
        assert self.held_out is not None
        texts = [self.method.encode_texts(part) for part in self.held_out.captions()]
        scores, loss = [], 0.0
        for batch in batches.epoch(None):
            video = self.method.encode_tokens(batch.tokens())
            scores.append(torch.cat([self.method.score(video, text) for text in texts], 1))
            loss += contrastive_loss(scores[-1][:, batch.target_B]).item() * len(batch.target_B)
        scores_BK = torch.cat(scores)
        place = {clip: b for b, clip in enumerate(batches.clip_ids)}  # clips without frames have none
        own_K = torch.tensor([place.get(self.held_out.labels[k], -1) for k in self.held_out.owner_S.tolist()])
        asked_K = (own_K >= 0).nonzero()[:, 0].to(scores_BK.device)
        own_1K = scores_BK[own_K.to(scores_BK.device)[asked_K], asked_K]
        first_K = (scores_BK[:, asked_K] > own_1K).sum(0) == 0
        return {"val_loss": loss / len(scores_BK), "val_t2v_r1": first_K.sum().item() / len(own_K)}

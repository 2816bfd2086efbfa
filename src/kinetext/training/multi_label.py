"""The objective for clips with several labels: binary cross-entropy of every label, and mean average precision.

The log-odds of a label are the method's score minus a learned threshold (`Method.label_threshold`), like the bias of
SigLIP (Zhai et al., ICCV 2023). The threshold starts at the value where the mean predicted probability equals the
fraction of positive labels in the first batch. Without it, CLIP's scores of about 20 would mean that every label is
certain.

B clips of this process, N clips of a split, K classes.
"""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kinetext.backbones.text_table import to_device_async
from kinetext.core import distributed
from kinetext.data.labels import row_classes
from kinetext.data.splits import Split
from kinetext.evaluation.average_precision import chance_precisions, mean_average_precision
from kinetext.methods.base import LossInputs
from kinetext.training.batches import Batch, Batches
from kinetext.training.objectives import Recognition, encode_clips, total


@dataclass
class MultiLabel(Recognition):
    """Compare clips with the texts of all classes. Each clip may have several classes."""

    labels_of: dict[str, Tensor] = field(default_factory=dict)  # clip_id -> 1 for each of its classes, else 0, [K]
    best_by = "val_map"

    def labels(self, clip_ids: list[str]) -> Tensor:
        """Return the labels [B, K] of some clips, on the device."""
        return to_device_async(torch.stack([self.labels_of[clip_id] for clip_id in clip_ids]), self.rivals_KK.device)

    def inputs(self, batch: Batch, piece: slice, video: Any, text: Any) -> LossInputs:
        """Return the inputs of the losses of a piece of a batch, with the labels of the clips."""
        inputs = super().inputs(batch, piece, video, text)
        return replace(inputs, labels_BK=self.labels(batch.clip_ids[batch.part][piece]))

    def positive_share(self, batch: Batch) -> float:
        """Return the fraction of the labels of this process's clips that are positive."""
        return float(self.labels(batch.clip_ids[batch.part]).mean())

    @torch.inference_mode()
    def validate(self, batches: Batches) -> dict[str, float]:
        """Return `val_loss`, the mean loss of the validation clips, and `val_map`, the mean average precision.

        Also return `val_chance`, the expected precision of random scores.
        """
        self.method.eval()
        text, parts = self.text(), []
        for batch in batches.epoch(None):
            video = encode_clips(self.method, self.training, batch)
            inputs = replace(self.inputs(batch, slice(None), video, text), label_smoothing=0.0)
            assert inputs.labels_BK is not None
            loss = total(self.method.losses(inputs)).item()
            parts.append((self.method.score(inputs.video, text).cpu().numpy(), inputs.labels_BK.cpu().numpy(), loss))
        scores, labels, losses = zip(*distributed.gather(parts), strict=True)
        weights = [len(scores_BK) for scores_BK in scores]
        labels_BK = np.concatenate(labels) > 0
        precision = mean_average_precision(np.concatenate(scores), labels_BK)
        count_K = labels_BK.sum(axis=0)
        chance = (
            float(chance_precisions(count_K[count_K > 0], len(labels_BK)).mean()) if count_K.any() else float("nan")
        )
        return {"val_loss": float(np.average(losses, weights=weights)), "val_map": precision, "val_chance": chance}


def labels_by_clip(splits: dict[str, Split]) -> dict[str, Tensor]:
    """Return the labels [K] (1 or 0) of every training and validation clip, by clip_id."""
    index = {label: k for k, label in enumerate(splits["train"].labels)}
    labels_of = {}
    for row in [*splits["train"].rows, *splits["val"].rows]:
        label_K = torch.zeros(len(index))
        label_K[[index[label] for label in row_classes(row)]] = 1.0
        labels_of[row["clip_id"]] = label_K
    return labels_of

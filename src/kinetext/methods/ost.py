"""OST (Chen et al., "OST: Refining Text Knowledge with Optimal Spatio-Temporal Descriptor for General Video
Recognition", CVPR 2024): a class is a set of descriptions, a clip a set of frames, and optimal transport between them
gives the score.

The cost of a frame and a description is 1 - their cosine. Sinkhorn's algorithm finds the transport plan between uniform
weights on all frames and on all descriptions, with entropic regularisation 0.1. No gradient passes through the plan.
The score is the plan-weighted sum of the cosines, plus the inner product of the mean frame and the mean description
(means of normalised features, not renormalised). It is averaged over the spatial and the temporal descriptions of a
class. Here descriptions of the whole action are spatial, and those of its steps (a position from start to end) are
temporal; a class without one kind uses all of its descriptions for it.

Both encoders may train (`image_encoder`, `text_encoder`); no parameter is added. Before training the score is the same
function of CLIP's features. With one frame and one description per class, it is twice the logit of zero_shot on the
description (tests/methods/test_text_conditioned.py). Frame order has no effect. On a backbone without a class token the
frame features are its pooled image features, and both statements hold.

Loss (`loss: batch`, as released): each clip is compared with the descriptions of the classes in its batch. The target
of a row is the softmax of 10 x (same class), and the loss is the sum of the Kullback-Leibler divergences of rows and of
columns. A clip is contrasted only with clips in its forward pass: set training.micro_batch: null; each process
contrasts its own part. `loss: classes` is the cross-entropy over all classes instead.

Released settings (tomchen-ctj/OST, configs/zero_shot/train and configs/few_shot): both encoders train, 4 spatial and 4
temporal descriptions per class, 32 frames, AdamW, weight decay 0.001, no label smoothing, mixup or cutmix; on
Kinetics-400 learning rate 8e-6, 10 epochs of 256 clips; few-shot on HMDB51 5e-6, 50 epochs of 64 clips; 5 warm-up
epochs.

Difference from the release (tomchen-ctj/OST @ 1810ae6): Sinkhorn stops for each pair separately once the mean change of
its row factors is below the threshold. The release tests one mean over all pairs of a call, so the score of a clip
depends on the other clips and classes in the batch. See docs/decisions/038-score-of-a-pair-alone.md.

B clips, T frames, K classes, S sentences, N descriptions of a class, D joint width.
"""

from __future__ import annotations

from typing import ClassVar, Literal, NamedTuple

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from kinetext.backbones.text_table import TextTable, WordFeatures, require_descriptions
from kinetext.core.plugins import Options
from kinetext.methods.base import IGNORES_ORDER, LossInputs, Method, Task
from kinetext.methods.blocks import score_in_chunks

SHARPNESS = 10  # of the targets in a batch (ActionCLIP, OST)


class Descriptions(NamedTuple):
    """The normalised spatial and temporal descriptions of each class [K, N, D], and masks [K, N], false for padding."""

    spatial_KND: Tensor
    spatial_KN: Tensor
    temporal_KND: Tensor
    temporal_KN: Tensor


class Ost(Method):
    """Compare frames and descriptions by optimal transport."""

    paper = "OST (Chen et al., CVPR 2024)"
    mechanism = "Matches the frames of a clip with the descriptions of a class by optimal transport."
    equals_before_training = (
        "the same score with CLIP's features; with one frame and one description, twice the zero-shot score"
    )
    cannot_see = IGNORES_ORDER
    published = (
        "zero-shot top-1 HMDB51 55.9, UCF101 79.7, Kinetics-600 75.1 (32 frames, B/16); tomchen-ctj/OST @ 1810ae6, README",
        "16-shot top-1 from CLIP HMDB51 68.2, UCF101 93.9, SSv2 12.2 (32 frames, B/16); the same",
    )
    needs_descriptions: ClassVar[bool] = True
    tasks: ClassVar[tuple[Task, ...]] = ("classes", "labels")
    sees_order = False

    class Config(Options):
        """Options of Sinkhorn's algorithm and of the loss."""

        entropy: float = Field(0.1, gt=0, description="weight of the entropy in the transport problem (OST: 0.1)")
        iterations: int = Field(100, ge=1, description="most iterations (OST: 100)")
        threshold: float = Field(
            0.01, ge=0, description="mean change of a pair's row factors at which it stops (OST: 0.01)"
        )
        loss: Literal["batch", "classes"] = Field(
            "batch",
            description="batch: contrast with the classes of the batch, as released; classes: cross-entropy over all",
        )

    config: Config

    def encode_frames(self, frames_BTD: Tensor) -> Tensor:
        """Return the normalised frame features [B, T, D]."""
        return F.normalize(frames_BTD, dim=-1)

    def pool_texts(self, words: WordFeatures, table: TextTable) -> Descriptions:
        """Return the descriptions of all classes. Raises ValueError for a class without a description."""
        require_descriptions(table, "ost")
        unit_SD, whole_S = F.normalize(words.sentence_SD, dim=-1), table.position_S.isnan()
        spatial = _by_class(unit_SD, _of_kind_or_all(table, whole_S), table)
        return Descriptions(*spatial, *_by_class(unit_SD, _of_kind_or_all(table, ~whole_S), table))

    def score(self, video: Tensor, text: Descriptions) -> Tensor:
        """Return the logits [B, K]: transport plus mean cosine, averaged over spatial and temporal descriptions."""

        def scores(*sets: Tensor) -> Tensor:
            return (self.compare(video, *sets[:2]) + self.compare(video, *sets[2:])) / 2

        numbers_per_text = video.shape[0] * video.shape[1] * text.spatial_KN.shape[1]
        return self.backbone.logits(score_in_chunks(scores, text, numbers_per_text))

    def compare(self, frames_BTD: Tensor, description_KND: Tensor, mask_KN: Tensor) -> Tensor:
        """Return the scores [B, K] of one set of descriptions per class: transport plus product of means."""
        cosine_BKTN = torch.einsum("btd,knd->bktn", frames_BTD, description_KND)
        config = self.config
        plan_BKTN = transport_plan(cosine_BKTN, mask_KN, config.entropy, config.iterations, config.threshold)
        mean_KD = description_KND.sum(1) / mask_KN.sum(1, keepdim=True)  # padding is zero
        return (plan_BKTN * cosine_BKTN).sum((-2, -1)) + frames_BTD.mean(1) @ mean_KD.T

    def losses(self, batch: LossInputs) -> dict[str, Tensor]:
        """Return the loss. With `loss: batch` it is OST's contrastive loss over the batch; see the module docstring."""
        if batch.labels_BK is not None or self.config.loss == "classes":
            return super().losses(batch)
        text = Descriptions(*(tensor[batch.target_B] for tensor in batch.text))
        scores_BB = self.score(batch.video, text)
        if batch.log_prior_K is not None:
            scores_BB = scores_BB + batch.log_prior_K[batch.target_B]
        same_BB = (batch.target_B[:, None] == batch.target_B).to(scores_BB)
        wanted_BB = (SHARPNESS * same_BB).softmax(1)
        wanted_BB = (1 - batch.label_smoothing) * wanted_BB + batch.label_smoothing / len(wanted_BB)
        rows, columns = (F.kl_div(x.log_softmax(1), wanted_BB, reduction="batchmean") for x in (scores_BB, scores_BB.T))
        return {"contrastive": rows + columns}


@torch.no_grad()
def transport_plan(cosine_BKTN: Tensor, mask_KN: Tensor, entropy: float, iterations: int, threshold: float) -> Tensor:
    """Return the transport plans [B, K, T, N] for costs 1 - cosine, without gradient (Sinkhorn; Cuturi, NeurIPS 2013).

    Frames have equal mass, and so do the descriptions where `mask_KN` is true. In each iteration the factors of the
    rows (frames) are updated first, then those of the columns. A pair stops after the iteration in which the mean
    absolute change of its row factors is below `threshold`.
    """
    kernel_BKTN = ((cosine_BKTN - 1) / entropy).exp()
    share_KN = mask_KN.to(kernel_BKTN) / mask_KN.sum(1, keepdim=True)
    row_BKT = torch.ones_like(kernel_BKTN[..., 0])
    column_BKN = mask_KN.to(kernel_BKTN).expand(kernel_BKTN.shape[0], -1, -1)
    active_BK1 = torch.ones_like(row_BKT[..., :1], dtype=torch.bool)
    for _ in range(iterations):
        new_BKT = 1 / (kernel_BKTN.shape[2] * torch.einsum("bktn,bkn->bkt", kernel_BKTN, column_BKN))
        new_BKN = share_KN / torch.einsum("bktn,bkt->bkn", kernel_BKTN, new_BKT)
        changed_BK1 = (new_BKT - row_BKT).abs().mean(-1, keepdim=True)
        row_BKT = torch.where(active_BK1, new_BKT, row_BKT)
        column_BKN = torch.where(active_BK1, new_BKN, column_BKN)
        active_BK1 = active_BK1 & (changed_BK1 >= threshold)
        if not torch.compiler.is_exporting() and not active_BK1.any():  # an exported model runs all iterations
            break
    return row_BKT[..., None] * kernel_BKTN * column_BKN[..., None, :]


def _of_kind_or_all(table: TextTable, of_kind_S: Tensor) -> Tensor:
    """Return which sentences [S] are descriptions of a kind, or all descriptions of a class without the kind."""
    wanted_S = table.motion_S & of_kind_S
    has_K = torch.zeros_like(table.owner_S[: len(table.labels)]).index_add(0, table.owner_S, wanted_S.long()) > 0
    return torch.where(has_K[table.owner_S], wanted_S, table.motion_S)


def _by_class(unit_SD: Tensor, keep_S: Tensor, table: TextTable) -> tuple[Tensor, Tensor]:
    """Return the sentences `keep_S` by class [K, N, D], padded with zeros, and a mask [K, N]: true for sentences.

    N is the maximum per class before selection, so that no value is read from the device.
    """
    K, N = len(table.labels), table.max_descriptions
    before_S = keep_S.long().cumsum(0) - keep_S.long()  # kept sentences before each sentence
    first_K = torch.searchsorted(table.owner_S, torch.arange(K, device=keep_S.device))
    column_S = before_S - before_S[first_K][table.owner_S]
    column_S = torch.where(keep_S, column_S, N)  # the rest go to a column that is cut off
    unit_KND = unit_SD.new_zeros(K, N + 1, unit_SD.shape[-1]).index_put((table.owner_S, column_S), unit_SD)
    mask_KN = keep_S.new_zeros(K, N + 1).index_put((table.owner_S, column_S), keep_S)
    return unit_KND[:, :N], mask_KN[:, :N]

"""Ordered descriptions: compare the descriptions of the start of an action with the first frames of a clip, and the
descriptions of the end with the last frames. The idea follows ActAlign (arXiv:2506.22967), which aligns the sub-actions
listed by a language model with the frames by dynamic time warping.

Nothing trains and no parameter is added, but the method uses the order of frames. On classes without training clips it
is the baseline that a trained method has to beat. The option `steps` says what is compared:

- `ends` (default): the score is the mean of two cosines, that of the start descriptions with the first third of the
  frames, and that of the end descriptions with the last third. If a class lacks start or end descriptions, all of the
  class's descriptions replace the missing ones. Before training, moted's motion score equals this score
  (tests/methods/test_moted.py).
- `phases`: there are two steps, start and end. Every frame is assigned to one step, in order, and no step is left out.
  The score is the mean cosine over the frames for the best assignment, that is the best moment to change steps.
- `sentences`: as `phases`, but every description is a step, in the order start, whole, end. This suits lists of
  sub-actions of any length.

`ends` and `phases` do not use descriptions of the whole action, because no single frame shows it. The exceptions are
missing descriptions with `ends` (see above), and with `phases` a class that has no others. On the shapes data set
`ends` is the best of the three (docs/lab-log.md), because a free alignment can also fit a clip of the reversed class.

B clips, T frames, K classes, S sentences, M the most steps of a class, D joint width.
"""

from __future__ import annotations

from typing import ClassVar, Literal, NamedTuple

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from kinetext.backbones.text_table import TextTable, WordFeatures, at_position, class_means, require_descriptions
from kinetext.core.plugins import Options
from kinetext.core.positions import END, START
from kinetext.methods.base import ALL_TASKS, Method


class Steps(NamedTuple):
    """The features of the steps of each class [K, M, D], and the number of steps of each class [K]."""

    step_KMD: Tensor
    count_K: Tensor


class OrderedDescriptions(Method):
    """Compare the frames with the steps of a class; both are in temporal order."""

    paper = "after ActAlign (arXiv:2506.22967)"
    mechanism = "descriptions of the start and the end against the first and the last frames"
    equals_before_training = "nothing trains"
    trains: ClassVar[bool] = False
    needs_descriptions: ClassVar[bool] = True
    tasks = ALL_TASKS

    class Config(Options):
        """Option of the method."""

        steps: Literal["ends", "phases", "sentences"] = Field(
            "ends",
            description="ends: first third with start, last third with end; phases: the best moment to change from one to "
            "the other; sentences: the best monotone alignment of every sentence, in order",
        )

    config: Config

    @property
    def steps(self) -> str:
        """The option `steps` (ends, phases or sentences)."""
        return self.config.steps

    def encode_frames(self, frames_BTD: Tensor) -> Tensor:
        """Return the frame features [B, T, D], or for `ends` the means of the first and the last third [B, 2, D]."""
        return torch.stack(end_frames(frames_BTD), 1) if self.steps == "ends" else frames_BTD

    def pool_texts(self, words: WordFeatures, table: TextTable) -> Steps:
        """Return the steps of all classes. Raises ValueError for a class without a description."""
        require_descriptions(table, "ordered_descriptions")
        if self.steps == "ends":
            ends_KMD = torch.stack([part_means(words, table, position) for position in (START, END)], 1)
            return Steps(ends_KMD, torch.full_like(table.owner_S, 2)[: len(table.labels)])
        step_S = steps_of_sentences(table, by_sentence=self.steps == "sentences")
        used_S = step_S >= 0
        owner_S, step_S = table.owner_S[used_S], step_S[used_S]
        count_K = torch.bincount(table.owner_S, minlength=len(table.labels)) * 0
        count_K = count_K.scatter_reduce(0, owner_S, step_S + 1, "amax")
        unit_SD = F.normalize(words.sentence_SD, dim=-1)[used_S]
        step_KMD = unit_SD.new_zeros(len(table.labels), int(count_K.max()), unit_SD.shape[-1])
        return Steps(step_KMD.index_put((owner_S, step_S), unit_SD, accumulate=True), count_K)

    def score(self, video: Tensor, text: Steps) -> Tensor:
        """Return the logits [B, K] of all pairs."""
        unit_KMD = F.normalize(text.step_KMD, dim=-1)
        if self.steps == "ends":
            cosine_BK = torch.einsum("bmd,kmd->bk", F.normalize(video, dim=-1), unit_KMD) / 2
        else:
            cosine_BKTM = torch.einsum("btd,kmd->bktm", F.normalize(video, dim=-1), unit_KMD)
            cosine_BK = best_alignment(cosine_BKTM, text.count_K)
        return self.backbone.logits(cosine_BK)


def end_frames(frames_BTD: Tensor) -> tuple[Tensor, Tensor]:
    """Return (mean of the first third, mean of the last third) of the frames, each [B, D].

    A third is rounded down, but has at least one frame.
    """
    third = max(1, frames_BTD.shape[1] // 3)
    return frames_BTD[:, :third].mean(1), frames_BTD[:, -third:].mean(1)


def part_means(words: WordFeatures, table: TextTable, position: float | None, weight_S: Tensor | None = None) -> Tensor:
    """Return the (weighted) mean [K, D] of the descriptions at one position (None: of the whole action).

    A class without descriptions there uses all of its descriptions.
    """
    at_S = at_position(table, position)
    has_K = torch.zeros_like(table.owner_S[: len(table.labels)]).index_add(0, table.owner_S, at_S.long()) > 0
    means_KD, all_KD = (class_means(words.sentence_SD, table, keep, weight_S) for keep in (at_S, table.motion_S))
    return torch.where(has_K[:, None], means_KD, all_KD)


def steps_of_sentences(table: TextTable, by_sentence: bool) -> Tensor:
    """Return the step [S] of each sentence, numbered from 0 within the class; -1 for a sentence without a step.

    With `by_sentence` every description is a step. Otherwise the steps are start and end, or a single step if the class
    has descriptions of one phase only.
    """
    when_S = torch.where(at_position(table, START), 0, torch.where(at_position(table, END), 2, 1))
    step_S = torch.full_like(table.owner_S, -1)
    for k in range(len(table.labels)):
        rows = (table.motion_S & (table.owner_S == k)).nonzero()[:, 0]
        when = when_S[rows]
        if by_sentence:
            step_S[rows[when.argsort(stable=True)]] = torch.arange(len(rows), device=rows.device)
            continue
        at_end = when != 1
        if bool(at_end.any()):
            rows, when = rows[at_end], when[at_end]
        step_S[rows] = torch.unique(when, return_inverse=True)[1]  # an end without a start is the only step
    return step_S


def best_alignment(cosine_BKTM: Tensor, count_K: Tensor) -> Tensor:
    """Return the mean cosine [B, K] of the best monotone alignment of frames with steps.

    Every frame belongs to one step, steps are in order, and no step is left out. `count_K` is the number of steps of
    each class, at most M. If there are fewer frames than steps, frames are repeated. The alignment is found by dynamic
    programming: the best sum up to frame t in step m continues from step m or m - 1.
    """
    T, M = cosine_BKTM.shape[-2:]
    cosine_BKTM = cosine_BKTM.repeat_interleave(-(-M // T), dim=2)
    best_BKM = torch.full_like(cosine_BKTM[:, :, 0], -torch.inf)
    best_BKM[..., 0] = cosine_BKTM[:, :, 0, 0]
    for t in range(1, cosine_BKTM.shape[2]):
        before_BKM = F.pad(best_BKM[..., :-1], (1, 0), value=-torch.inf)
        best_BKM = cosine_BKTM[:, :, t] + torch.maximum(best_BKM, before_BKM)
    last_BK1 = (count_K - 1).expand(len(best_BKM), -1)[..., None]
    return best_BKM.gather(-1, last_BK1)[..., 0] / cosine_BKTM.shape[2]

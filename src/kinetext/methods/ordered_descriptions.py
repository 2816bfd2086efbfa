"""Ordered descriptions: compare the descriptions of the start of an action with the first frames of a clip, and the
descriptions of the end with the last frames. The idea follows ActAlign (arXiv:2506.22967), which aligns the sub-actions
listed by a language model with the frames by dynamic time warping.

Nothing trains and no parameter is added, but the method uses frame order. On a backbone without a class token the frame
features are its pooled image features, and the method is the same function of them. For classes without training clips,
it is the baseline of trained methods. The option `steps` sets what is compared:

- `ends` (default): the score is the mean of two cosines, that of the start descriptions with the first third of the
  frames, and that of the end descriptions with the last third. If a class lacks start or end descriptions, all of the
  class's descriptions replace the missing ones.
- `phases`: there are two steps, start and end. Frames are aligned with the steps (methods/alignment.py).
- `steps`: as `phases`, with every position that the class has descriptions for, including those between start and end.
  Before training, moted's motion score equals this score with the same `temperature` and `order`
  (tests/methods/test_moted.py).
- `sentences`: as `steps`, but every description is a step, ordered by position, with the whole action in the middle. It
  suits lists of sub-actions without positions.

Except with `sentences`, descriptions of the whole action are not used, because no single frame shows it, unless the
class has no others. On the shapes data set, where the classes of a pair differ in their ends, `ends` outperforms the
best alignment of `phases` and `sentences` (docs/lab-log.md): an unconstrained one can also fit a clip of the reversed
class. `temperature` and `order` constrain it.

B clips, T frames, K classes, S sentences, M maximum steps per class, D joint width.
"""

from __future__ import annotations

from typing import ClassVar, Literal, NamedTuple

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from kinetext.backbones.base import Backbone
from kinetext.backbones.text_steps import StepIndexer, step_features
from kinetext.backbones.text_table import TextTable, WordFeatures, at_position, class_means, require_descriptions
from kinetext.core.plugins import Options
from kinetext.methods.alignment import alignment_score
from kinetext.methods.base import ALL_TASKS, Method
from kinetext.texts.positions import END, START


class Steps(NamedTuple):
    """The features of the steps of each class [K, M, D], their number [K] and their positions [K, M]."""

    step_KMD: Tensor
    count_K: Tensor
    position_KM: Tensor


class OrderedDescriptions(Method):
    """Compare the frames with the steps of a class, both in temporal order."""

    paper = "after ActAlign (arXiv:2506.22967)"
    mechanism = (
        "Compares the first frames with descriptions of the start and the last frames with descriptions of the "
        "end. With other values of the option steps, aligns all frames with the steps in order."
    )
    equals_before_training = "nothing trains"
    cannot_see = (
        "Cannot distinguish classes whose steps have the same descriptions, for example one and two periods of a "
        "motion: they get equal scores. It compares single frames with texts, never frames with each other. With "
        "steps: ends (default), the middle of the clip has no effect."
    )
    trains: ClassVar[bool] = False
    needs_descriptions: ClassVar[bool] = True
    tasks = ALL_TASKS

    class Config(Options):
        """Options of the steps and of the alignment."""

        steps: Literal["ends", "phases", "steps", "sentences"] = Field(
            "ends",
            description="ends: first third with start, last third with end; phases, steps, sentences: a monotone alignment "
            "of the frames with start and end, with all positions, or with every sentence",
        )
        temperature: float = Field(
            0.0, ge=0, description="temperature of the alignment: 0 is the best one, above 0 a soft maximum; in cosines"
        )
        order: float = Field(
            0.0,
            ge=0,
            description="prior of the alignment: the cost of a frame at the wrong end of the clip, in cosines",
        )

    config: Config

    def __init__(self, backbone: Backbone, config: Config) -> None:
        super().__init__(backbone, config)
        self.index = None if config.steps == "ends" else StepIndexer(config.steps)

    def encode_frames(self, frames_BTD: Tensor) -> Tensor:
        """Return the frame features [B, T, D], or for `ends` the means of the first and the last third [B, 2, D]."""
        return frames_BTD if self.index else torch.stack(end_frames(frames_BTD), 1)

    def pool_texts(self, words: WordFeatures, table: TextTable) -> Steps:
        """Return the steps of all classes. Raises ValueError for a class without a description."""
        require_descriptions(table, "ordered_descriptions")
        if self.index:
            index = self.index(table)
            unit_SD = F.normalize(words.sentence_SD, dim=-1)
            return Steps(step_features(unit_SD, index), index.count_G, index.position_GM)
        ends_KMD = torch.stack([part_means(words, table, position) for position in (START, END)], 1)
        ends_KM = torch.tensor([START, END], device=ends_KMD.device).expand(len(ends_KMD), 2)
        return Steps(ends_KMD, torch.full_like(table.owner_S, 2)[: len(table.labels)], ends_KM)

    def score(self, video: Tensor, text: Steps) -> Tensor:
        """Return the logits [B, K] of all pairs."""
        unit_KMD, unit_BTD = F.normalize(text.step_KMD, dim=-1), F.normalize(video, dim=-1)
        if not self.index:
            return self.backbone.logits(torch.einsum("bmd,kmd->bk", unit_BTD, unit_KMD) / 2)
        cosine_BKTM = torch.einsum("btd,kmd->bktm", unit_BTD, unit_KMD)
        config = self.config
        score_BK = alignment_score(cosine_BKTM, text.count_K, text.position_KM, config.temperature, config.order)
        return self.backbone.logits(score_BK)


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

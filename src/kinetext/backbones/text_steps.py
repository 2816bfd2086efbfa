"""The steps of described classes, as groups of sentences, for methods that compare steps with frames.

A group is a list of steps that gets one score. The first K groups are the classes, each with all its descriptions.
Further groups hold the sentences of a class written against one rival, if the rival also has sentences against the
class: they compare the two classes.

The step of a sentence depends on positions and kinds, which are read on the CPU once per table (`StepIndexer`).

K classes, S sentences, R rows (a sentence in a group), G groups, M maximum steps per group, P ordered pairs, D width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from kinetext.backbones.text_table import TextTable, to_device_async
from kinetext.texts.positions import END, START

MIDDLE = 0.5  # the position of a sentence about the whole action where it is a step
StepMode = Literal["steps", "phases", "sentences"]


class StepIndex(NamedTuple):
    """The rows of all groups: sentence, group, step within the group, and index among the group's sentences.

    `step_R` is -1 for a sentence of the group that belongs to no step. `slots` is the largest number of sentences in a
    group. `position_GM` is the position of each step, `count_G` the number of steps. `label_P`, `rival_P` and
    `reverse_P` are the class, the rival and the reverse pair of each pair; pair p is group K + p.
    """

    sentence_R: Tensor
    group_R: Tensor
    step_R: Tensor
    slot_R: Tensor
    position_GM: Tensor
    count_G: Tensor
    label_P: Tensor
    rival_P: Tensor
    reverse_P: Tensor
    slots: int


@dataclass
class StepIndexer:
    """Return the StepIndex of a table; the last one is cached.

    `steps`: each position is a step. `phases`: start and end only. `sentences`: each sentence is a step. Except with
    `sentences`, descriptions of the whole action are not steps, unless the group has no others.
    """

    mode: StepMode
    pairs: bool = False
    _last: tuple[Tensor, StepIndex] | None = None

    def __call__(self, table: TextTable) -> StepIndex:
        if self._last is None or self._last[0] is not table.position_S:
            with torch.inference_mode(False):  # the cached tensors may be used in autograd later
                index = index_steps(table, self.mode, self.pairs)
                device = table.position_S.device
                columns = index._asdict().items()
                moved: dict[str, Any] = {
                    name: to_device_async(x, device) for name, x in columns if isinstance(x, Tensor)
                }
                index = index._replace(**moved)
            self._last = table.position_S, index
        return self._last[1]


def index_steps(table: TextTable, mode: StepMode, pairs: bool = False) -> StepIndex:
    """Return the StepIndex of a table, on the CPU."""
    columns = (table.owner_S, table.motion_S, table.position_S, table.rival_S)
    owners, described, positions, rivals = (column.tolist() for column in columns)
    of_class: list[list[int]] = [[] for _ in table.labels]
    of_pair: dict[tuple[int, int], list[int]] = {}
    for row, owner in enumerate(owners):
        if described[row]:
            of_class[owner].append(row)
            if pairs and rivals[row] >= 0:
                of_pair.setdefault((owner, rivals[row]), []).append(row)
    mutual = [pair for pair in of_pair if pair[::-1] in of_pair]
    members = [*of_class, *(of_pair[pair] for pair in mutual)]
    groups = [_steps(rows, positions, mode) for rows in members]
    step_of = [{row: step for step, (_, of_step) in enumerate(steps) for row in of_step} for steps in groups]
    rows = [
        (row, group, step_of[group].get(row, -1), slot)
        for group, of_group in enumerate(members)
        for slot, row in enumerate(of_group)
    ]
    count_G = torch.tensor([len(steps) for steps in groups])
    position_GM = torch.zeros(len(groups), max(1, int(count_G.max())))
    for group, steps in enumerate(groups):
        position_GM[group, : len(steps)] = torch.tensor([position for position, _ in steps])
    sentence_R, group_R, step_R, slot_R = torch.tensor(rows, dtype=torch.long).reshape(-1, 4).unbind(1)
    label_P, rival_P = torch.tensor(mutual, dtype=torch.long).reshape(-1, 2).unbind(1)
    number = {pair: p for p, pair in enumerate(mutual)}
    reverse_P = torch.tensor([number[pair[::-1]] for pair in mutual], dtype=torch.long)
    slots = max(map(len, members))
    return StepIndex(sentence_R, group_R, step_R, slot_R, position_GM, count_G, label_P, rival_P, reverse_P, slots)


def _steps(rows: list[int], positions: list[float], mode: StepMode) -> list[tuple[float, list[int]]]:
    """Return the steps of a group in temporal order: (position, its sentences)."""
    times = {row: MIDDLE if positions[row] != positions[row] else positions[row] for row in rows}  # NaN: the whole
    if mode == "sentences":
        return [(times[row], [row]) for row in sorted(rows, key=times.__getitem__)]  # ties in the order of the table
    moments = [row for row in rows if positions[row] == positions[row]]
    if mode == "phases":
        moments = [row for row in moments if positions[row] in (START, END)]
    steps: dict[float, list[int]] = {}
    for row in moments or rows:
        steps.setdefault(times[row], []).append(row)
    return sorted(steps.items())


def reversed_steps(step_GMD: Tensor, position_GM: Tensor, count_G: Tensor) -> tuple[Tensor, Tensor]:
    """Return the steps of each group in reverse order, with mirrored positions."""
    mirror_GM = (count_G[:, None] - 1 - torch.arange(step_GMD.shape[1], device=count_G.device)).clamp(min=0)
    return step_GMD.gather(1, mirror_GM[..., None].expand_as(step_GMD)), 1 - position_GM.gather(1, mirror_GM)


def random_sentences(index: StepIndex) -> Tensor:
    """Return a mask [R] that selects one random sentence of each step."""
    random_R = torch.rand(len(index.step_R), device=index.step_R.device) * (index.step_R >= 0)
    step_R = index.group_R * index.position_GM.shape[1] + index.step_R.clamp(min=0)
    most = random_R.new_zeros(index.position_GM.numel()).scatter_reduce(0, step_R, random_R, "amax")
    return random_R == most[step_R]


def step_features(unit_SD: Tensor, index: StepIndex, weight_R: Tensor | None = None) -> Tensor:
    """Return the features [G, M, D] of all steps: the (weighted) sum of the normalised features of their sentences.

    Steps that a group does not have are zero.
    """
    unit_RD = unit_SD[index.sentence_R] * (index.step_R >= 0)[:, None]
    if weight_R is not None:
        unit_RD = unit_RD * weight_R[:, None]
    step_GMD = unit_RD.new_zeros(*index.position_GM.shape, unit_RD.shape[-1])
    return step_GMD.index_put((index.group_R, index.step_R.clamp(min=0)), unit_RD, accumulate=True)

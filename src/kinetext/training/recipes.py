"""Pieces of a training recipe that have to do with weights: how fast each layer learns, averages over steps, the way back
to the model that it started from, and when to stop. Papers and defaults: docs/recipes.md.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from kinetext.config.training import TrainingOptions
from kinetext.training.state import Progress

BLOCK = re.compile(r"^backbone\.clip\.(visual\.)?transformer\.resblocks\.(\d+)\.")
FIRST = re.compile(
    r"^backbone\.clip\.(visual\.(conv1|class_embedding|positional_embedding|ln_pre)|positional_embedding|token_embedding)\b"
)


def depth_scales(method: nn.Module, decay: float) -> dict[str, float]:
    """By how much the learning rate of each of CLIP's parameters is multiplied (layer-wise decay, ELECTRA, ICLR 2020; BEiT,
    ICLR 2022): 1 after the last block, `decay` in it, once more for each block below, and once more for the embeddings. Each
    tower counts its own blocks. New parameters are not in it.
    """
    names = [name for name, _ in method.named_parameters() if name.startswith("backbone.")]
    blocks = {name: (found[1], int(found[2])) for name in names if (found := BLOCK.match(name))}
    count = {tower: 1 + max(n for t, n in blocks.values() if t == tower) for tower in {t for t, _ in blocks.values()}}
    scales = {}
    for name in names:
        if name in blocks:
            tower, number = blocks[name]
            scales[name] = decay ** (count[tower] - number)
        elif found := FIRST.match(name):
            scales[name] = decay ** (count["visual." if found[2] else None] + 1)
        else:
            scales[name] = 1.0
    return scales


class Average:
    """The average of the trained weights over steps, with torch's AveragedModel: exponential (`ema`) or with equal weights
    (`mean`: SWA, Izmailov et al., UAI 2018). Its state lives in `progress.averaged`, so it is saved with it.
    """

    def __init__(self, trained: list[nn.Parameter], training: TrainingOptions, steps: int, progress: Progress) -> None:
        """`steps` is how many the whole training has; averaging begins after `average_from` of them."""
        self._trained = nn.ParameterList(trained)
        ema = get_ema_multi_avg_fn(training.ema_decay) if training.weight_averaging == "ema" else None
        self._model = AveragedModel(self._trained, multi_avg_fn=ema) if training.weight_averaging != "none" else None
        self._first = training.average_from * steps
        if self._model is not None:
            if progress.averaged:
                self._model.load_state_dict(progress.averaged)
            progress.averaged = dict(self._model.state_dict())  # the tensors themselves, which change with every step

    def update(self, step: int) -> None:
        """Take the weights after a step, counted from 1 over the whole training."""
        if self._model is not None and step > self._first:
            self._model.update_parameters(self._trained)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """A block in which the trained weights are the averaged ones."""
        if self._model is None or not self._model.n_averaged:
            yield
            return
        own = [parameter.detach().clone() for parameter in self._trained]
        put(list(self._trained), [parameter.detach() for parameter in self._model.parameters()])
        try:
            yield
        finally:
            put(list(self._trained), own)


def put(parameters: list[nn.Parameter], values: list[Tensor]) -> None:
    """Give parameters these values."""
    with torch.no_grad():
        for parameter, value in zip(parameters, values, strict=True):
            parameter.copy_(value)


def interpolate(parameters: list[nn.Parameter], start: list[Tensor], share: float) -> None:
    """Move weights to (1 - share) x where they started + share x where they are (WiSE-FT, Wortsman et al., CVPR 2022)."""
    put(parameters, [torch.lerp(a, b.detach(), share) for a, b in zip(start, parameters, strict=True)])


def finished(progress: Progress, training: TrainingOptions) -> bool:
    """Whether all epochs are over, or validation has not got better for `patience` of them."""
    waited = progress.epoch - progress.best_epoch
    return progress.epoch >= training.epochs or (training.patience is not None and waited >= training.patience)

"""Parts of a training recipe: layer-wise learning rates, weight averaging, interpolation with the pretrained weights,
and early stopping. Papers and defaults: docs/recipes.md.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from kinetext.backbones.base import Backbone
from kinetext.backbones.checkpoint import load_backbone
from kinetext.config.training import TrainingOptions
from kinetext.methods.base import Method
from kinetext.training.state import Progress


def depth_scales(method: Method, decay: float) -> dict[str, float]:
    """Return the learning-rate factor of each parameter of the backbone, by the parameter's name in the method.

    Layer-wise decay (ELECTRA, ICLR 2020; BEiT, ICLR 2022): the factor is 1 after the last layer and `decay` in the last
    layer. It is multiplied by `decay` for each layer below, and once more for the embeddings. The layers of the two
    encoders are counted separately.
    """
    backbone = method.backbone
    last = {"image": backbone.num_layers, "text": len(backbone.text_layers)}
    last["words"] = last["text"]
    scales = {}
    for name, _ in backbone.named_parameters():
        part, level = backbone.depth_of(name)
        scales[f"backbone.{name}"] = decay ** (last[part] + 1 - level) if part in last else 1.0
    return scales


class Average:
    """Average the trained weights over steps with torch's AveragedModel.

    The average is exponential (`ema`) or equally weighted (`swa`: Izmailov et al., UAI 2018). The state of the average
    is stored in `progress.averaged`, so that it is saved with the progress.
    """

    def __init__(self, trained: list[nn.Parameter], training: TrainingOptions, steps: int, progress: Progress) -> None:
        """Prepare the average. It starts after `average_from` (0 to 1) x `steps` steps of the whole training."""
        self._trained = nn.ParameterList(trained)
        self._decay = training.ema_decay
        ema = self._average_exponentially if training.weight_averaging == "ema" else None
        self._model = AveragedModel(self._trained, multi_avg_fn=ema) if training.weight_averaging != "none" else None
        self._first = training.average_from * steps
        if self._model is not None:
            if progress.averaged:
                self._model.load_state_dict(progress.averaged)
            progress.averaged = dict(self._model.state_dict())  # the tensors themselves, which change with every step

    def update(self, step: int) -> None:
        """Add the current weights to the average. `step` counts the steps of the whole training from 1."""
        if self._model is not None and step > self._first:
            self._model.update_parameters(self._trained)

    def _average_exponentially(self, averaged: Any, current: Any, _: Any) -> None:
        assert self._model is not None
        count = int(self._model.n_averaged)  # on the CPU
        torch._foreach_lerp_(averaged, current, 1 - ema_decay(self._decay, count))

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Replace the trained weights by the averaged ones within a `with` block."""
        if self._model is None or not self._model.n_averaged:
            yield
            return
        current = [parameter.detach().clone() for parameter in self._trained]
        put(list(self._trained), [parameter.detach() for parameter in self._model.parameters()])
        try:
            yield
        finally:
            put(list(self._trained), current)


def ema_decay(decay: float, count: int) -> float:
    """Return the decay of the exponential average after `count` steps: min(decay, (1 + count) / (10 + count)).

    Without this warm-up the first weights would contribute decay^(steps - 1) to the average, which is 0.9 for 100 steps
    and decay 0.999.
    Source: tf.train.ExponentialMovingAverage with `num_updates` (TensorFlow).
    """
    return min(decay, (1 + count) / (10 + count))


def put(parameters: list[nn.Parameter], values: list[Tensor]) -> None:
    """Copy `values` into `parameters`."""
    with torch.no_grad():
        for parameter, value in zip(parameters, values, strict=True):
            parameter.copy_(value)


def pretrained_weights(backbone: Backbone, folder: Path, training: TrainingOptions) -> dict[str, Tensor]:
    """Return the pretrained values of the weights of the backbone that train, by name.

    They are read from `folder`; the temperature is set to `training.temperature` if it is given. LoRA must be merged
    first.
    """
    pretrained = load_backbone(folder)
    if training.temperature is not None:
        pretrained.set_temperature(training.temperature)
    start = dict(pretrained.named_parameters())
    return {
        name: start[name].detach().to(parameter.device)
        for name, parameter in backbone.named_parameters()
        if parameter.requires_grad
    }


def interpolate(backbone: Backbone, pretrained: dict[str, Tensor], tuned: dict[str, Tensor], alpha: float) -> None:
    """Set weights of the backbone to (1 - alpha) x pretrained + alpha x tuned (WiSE-FT, Wortsman et al., CVPR 2022).

    Both ends are exact: 0 gives the pretrained numbers, 1 the tuned ones, bit by bit.
    """
    parameters = dict(backbone.named_parameters())
    for name, start in pretrained.items():
        put([parameters[name]], [torch.lerp(start, tuned[name], alpha)])


def choose_alpha(scores: dict[float, float]) -> float:
    """Return the alpha with the highest validation score. Of equal ones, the one nearest to the tuned weights."""
    return max(scores, key=lambda alpha: (scores[alpha], alpha))


def finished(progress: Progress, training: TrainingOptions) -> bool:
    """Return whether all epochs are over or validation has not improved for `patience` epochs."""
    waited = progress.epoch - progress.best_epoch
    return progress.epoch >= training.epochs or (training.patience is not None and waited >= training.patience)

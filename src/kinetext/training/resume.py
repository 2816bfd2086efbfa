"""The state of a training between two epochs, kept outside the declared outputs (Snakemake deletes those of a killed
job). Written whole or not at all; a state that cannot be read is left aside with a warning.
"""

import hashlib
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kinetext.tables import written_whole

log = logging.getLogger(__name__)


@dataclass
class Progress:
    """How far a training is. `kept` holds the trained parameters of the epoch that will be written."""

    epoch: int = 0
    best: float = -math.inf
    seconds: float = 0.0
    curves: list[dict[str, Any]] = field(default_factory=list)
    kept: dict[str, Tensor] = field(default_factory=dict)

    def keep(self, method: nn.Module) -> None:
        """Remember the parameters as they are now."""
        self.kept = {name: tensor.clone() for name, tensor in _trained(method).items()}

    def restore(self, method: nn.Module) -> None:
        """Go back to the parameters that were kept (none, if there was no epoch)."""
        with torch.no_grad():
            for name, parameter in method.named_parameters():
                if name in self.kept:
                    parameter.copy_(self.kept[name])


def state_path(cache: Path, inputs: Sequence[Path]) -> Path:
    """Where the state of a training from these files lies: another run, or other texts, have another one."""
    digest = hashlib.sha256()
    for path in inputs:
        digest.update(path.read_bytes())
    return cache / "train" / f"{digest.hexdigest()[:24]}.pt"


def save_state(path: Path, progress: Progress, method: nn.Module, optimiser: Any, schedule: Any) -> None:
    """Save after an epoch."""
    state = {
        "progress": vars(progress),
        "parameters": _trained(method),
        "optimiser": optimiser.state_dict(),
        "schedule": {"last_epoch": schedule.last_epoch},
    }
    with written_whole(path) as part:
        torch.save(state, part)


def load_state(path: Path, method: nn.Module, optimiser: Any, schedule: Any) -> Progress | None:
    """Put a saved state back; None if there is none that can be read."""
    if not path.exists():
        return None
    try:
        state = torch.load(path, weights_only=True)
    except Exception as error:
        log.warning("%s: cannot be read (%s); training starts anew", path, error)
        return None
    trained = _trained(method)
    saved = state.get("parameters", {})
    if {name: t.shape for name, t in saved.items()} != {name: t.shape for name, t in trained.items()}:
        log.warning("%s: is of another version of this method; training starts anew", path)
        return None
    progress = Progress(**state["progress"])
    with torch.no_grad():
        for name, tensor in trained.items():
            tensor.copy_(saved[name])
    optimiser.load_state_dict(state["optimiser"])
    schedule.last_epoch = state["schedule"]["last_epoch"]
    schedule._last_lr = [group["lr"] for group in optimiser.param_groups]
    log.info("going on after epoch %d", progress.epoch)
    return progress


def _trained(method: nn.Module) -> dict[str, Tensor]:
    return {name: p.detach() for name, p in method.named_parameters() if p.requires_grad}

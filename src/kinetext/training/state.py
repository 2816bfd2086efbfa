"""The saved state of a training between two steps. It is not a declared output, because Snakemake deletes the outputs
of a killed job.

The state is saved after every epoch, every five minutes, and when a scheduler sends SIGTERM. Writes are atomic. The
previous state is kept too, in case the last one cannot be read. Random states are not saved: the random draws of a step
depend only on the seed and on the numbers of epoch and step (step.py), and the order of clips on the seed and the epoch
(batches.py).

With several processes, the first one writes, all of them read, and all stop after the same step. A state can be resumed
with another number of processes.
"""

import hashlib
import logging
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from kinetext.config.run import RunSpec
from kinetext.core import distributed
from kinetext.core.files import atomic_write

log = logging.getLogger(__name__)
SAVE_EVERY_S = 300.0  # at most so much work is lost with the machine
STOPPED = 128 + signal.SIGTERM  # exit status of a training that was asked to stop, as a shell has it
SAVE, STOP = 1, 2  # what a process asks for after a step
# options that change how a training is computed and not its result: a saved state is resumed under other values of these
COMPUTATION_ONLY = {
    "micro_batch",
    "decode",
    "compile",
    "gradient_checkpointing",
    "deterministic",
    "divergence_factor",
    "cache_gib",
}


@dataclass
class Progress:
    """The progress of a training: complete epochs, steps of the current epoch, and the losses of these steps.

    `start` and `recent` are the first and the last losses of the whole training. `kept` holds the trained parameters of
    the epoch that will be written as the checkpoint, `averaged` the state of the weight average (recipes.py). `wise_ft`
    holds the validation score of each interpolation with the pretrained weights, by alpha, after the last epoch.
    """

    epoch: int = 0
    step: int = 0
    losses: list[float] = field(default_factory=list)
    terms: dict[str, list[float]] = field(default_factory=dict)
    start: list[float] = field(default_factory=list)
    recent: list[float] = field(default_factory=list)
    best: float = -math.inf
    best_epoch: int = 0
    seconds: float = 0.0
    curves: list[dict[str, Any]] = field(default_factory=list)
    kept: dict[str, Tensor] = field(default_factory=dict)
    averaged: dict[str, Tensor] = field(default_factory=dict)
    wise_ft: dict[float, float] = field(default_factory=dict)

    def end_epoch(self, values: dict[str, float]) -> None:
        """Count an epoch as complete, and add `values` (metric -> value) to the curves."""
        self.epoch, self.step, self.losses, self.terms = self.epoch + 1, 0, [], {}
        self.curves += [{"epoch": self.epoch, "metric": name, "value": value} for name, value in values.items()]

    def add_wise_ft(self, alpha: float, metric: str, score: float) -> None:
        """Add the validation score of an interpolation to the curves. Its epoch is 100 x alpha: percent of the way."""
        self.wise_ft[alpha] = score
        self.curves.append({"epoch": round(100 * alpha), "metric": f"wise_ft_{metric}", "value": score})

    def keep(self, method: nn.Module) -> None:
        """Store a copy of the trained parameters of a method."""
        self.kept = {name: tensor.clone() for name, tensor in _trained(method).items()}

    def restore(self, method: nn.Module) -> None:
        """Copy the stored parameters into a method. Before the first complete epoch none are stored."""
        with torch.no_grad():
            for name, parameter in method.named_parameters():
                if name in self.kept:
                    parameter.copy_(self.kept[name])


def state_path(cache: Path, spec: RunSpec, inputs: Sequence[Path], frames: str) -> Path:
    """Return the path of the saved state, named by a hash of the run, the content of `inputs`, and `frames`.

    `frames` is a digest of the frames. Options that only change how the training is computed (COMPUTATION_ONLY) do not
    change the path.
    """
    digest = hashlib.sha256(frames.encode())
    digest.update(spec.model_dump_json(exclude={"fingerprint": True, "training": COMPUTATION_ONLY}).encode())
    for path in inputs:
        digest.update(path.read_bytes())
    return cache / "train" / f"{digest.hexdigest()[:24]}.pt"


class Saver:
    """Save the state of a training when it is due: at intervals, after an epoch, and after SIGTERM.

    As a context manager it catches SIGTERM, so that the process does not end at once. Instead `due` returns true, in
    all processes after the same step, and `save` then ends the process.
    """

    def __init__(self, path: Path, save: Callable[[], None]) -> None:
        self.path, self._save, self._request = path, save, distributed.DelayedMax()
        self._stop_requested, self._agreed, self._last_s = False, 0, time.monotonic()
        self._before: Any = None  # how SIGTERM was handled

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():  # nobody else may
            self._before = signal.signal(signal.SIGTERM, self._request_stop)
        return self

    def __exit__(self, *error: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGTERM, self._before)

    def _request_stop(self, *_: object) -> None:
        self._stop_requested = True

    def due(self, whole_epoch: bool = False) -> bool:
        """Return whether the state is to be saved after this step. It is always saved after a whole epoch."""
        late = time.monotonic() - self._last_s >= SAVE_EVERY_S
        wanted = STOP if self._stop_requested else SAVE if late or whole_epoch else 0
        self._agreed = self._request.finish(wanted) if whole_epoch else self._request.exchange(wanted)
        return self._agreed > 0

    def save(self) -> None:
        """Save the state. Then, after SIGTERM, raise SystemExit to end the process."""
        if distributed.rank() == 0:
            self._save()
        self._last_s = time.monotonic()
        if self._agreed == STOP:
            log.warning("stop requested: the state is saved as %s; the same command resumes from it", self.path)
            raise SystemExit(STOPPED)


def save_state(path: Path, progress: Progress, method: nn.Module, optimizer: Any, schedule: Any) -> None:
    """Save the state after a step. The previously saved file is renamed (see `before`)."""
    state = {
        "progress": vars(progress),
        "parameters": _trained(method),
        "optimizer": optimizer.state_dict(),
        "schedule": {"last_epoch": schedule.last_epoch},
    }
    with atomic_write(path) as part:
        with part.open("wb") as file:  # given a path, torch does not say that the disk is full
            torch.save(state, file)
        if path.exists():
            os.replace(path, before(path))


def before(path: Path) -> Path:
    """Return the path of the state that was saved before the last one."""
    return path.with_suffix(".before.pt")


def clear_state(path: Path) -> None:
    """Delete the saved states of a finished training, and temporary files that killed processes have left."""
    for file in (path, before(path), *path.parent.glob(f".{path.name}.*")):
        file.unlink(missing_ok=True)


def load_state(path: Path, method: nn.Module, optimizer: Any, schedule: Any) -> Progress | None:
    """Load the last readable state into method, optimizer and schedule, and return the progress.

    Returns None if there is no readable state. Raises RuntimeError if the processes have read different states.
    """
    progress = _last_state(path, method, optimizer, schedule)
    positions = distributed.gather([(progress.epoch, progress.step) if progress else None])
    if len(set(positions)) > 1:
        raise RuntimeError(
            f"{path}: processes have read different states (epoch, step): {positions}; is it on a shared disk?"
        )
    return progress


def _last_state(path: Path, method: nn.Module, optimizer: Any, schedule: Any) -> Progress | None:
    for file in (path, before(path)):
        if not file.exists():
            continue
        try:
            state = torch.load(file, map_location="cpu", weights_only=True)
        except Exception as error:
            log.warning("%s: cannot be read (%s); the state before it is used, if there is one", file, error)
            continue
        if _shapes(state.get("parameters", {})) != _shapes(_trained(method)):
            log.warning("%s: belongs to another version of this method; it is not used", file)
            continue
        progress = _put_back(state, method, optimizer, schedule)
        log.info("resuming after epoch %d, step %d of the next", progress.epoch, progress.step)
        return progress
    return None


def _put_back(state: dict[str, Any], method: nn.Module, optimizer: Any, schedule: Any) -> Progress:
    with torch.no_grad():
        for name, tensor in _trained(method).items():
            tensor.copy_(state["parameters"][name])
    optimizer.load_state_dict(state["optimizer"])
    schedule.last_epoch = state["schedule"]["last_epoch"]
    schedule._last_lr = [group["lr"] for group in optimizer.param_groups]
    return Progress(**state["progress"])


def _shapes(tensors: dict[str, Tensor]) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in tensors.items()}


def _trained(method: nn.Module) -> dict[str, Tensor]:
    return {name: p.detach() for name, p in method.named_parameters() if p.requires_grad}

"""profile: measure the time of each part of a training step, the model FLOP utilisation, and the length of a training.

To time a part, the program waits for the device at the end of the part. The parts therefore add up to a little more
than a normal step. `clips_per_s` is measured on steps without these waits. Model FLOP utilisation (MFU: Chowdhery et
al., PaLM, 2022, appendix B) is the rate of floating-point operations in matrix products of the training, as counted by
torch, divided by the rate of the device on large matrix products in the same precision. Operations that gradient
checkpointing and GradCache repeat are counted twice.
"""

import json
import time
from collections.abc import Callable, Iterator
from itertools import count, islice
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from kinetext.config.run import read_run
from kinetext.core.files import atomic_write
from kinetext.core.paths import run_paths
from kinetext.training.batches import Batch, Batches
from kinetext.training.objectives import total
from kinetext.training.setup import Inputs, Prepared, choose_step, make_optimizer, prepare
from kinetext.training.train import update

PARTS = ("data", "forward", "backward", "optimizer")


def wait_for(device: torch.device) -> None:
    """Wait until the device has finished all queued work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def endless(batches: Batches) -> Iterator[Batch]:
    """Yield batches without end, one epoch after the other."""
    for number in count():
        yield from batches.epoch(number)


class Stepper:
    """The parts of a training step of a prepared run, as in train.py but without Mixup and CutMix."""

    def __init__(self, prepared: Prepared) -> None:
        self.prepared, self.clips = prepared, prepared.train_clips
        self.optimizer, self.schedule = make_optimizer(prepared.method, prepared.spec.training, len(self.clips))
        self.step = choose_step(prepared, self.optimizer)

    def forward(self, batch: Batch) -> Tensor | None:
        """Return the loss of a batch, or None if the batch is computed in pieces or shared by several processes.

        If it returns None, `backward` runs the forward passes too.
        """
        return total(self.prepared.objective.losses(batch)) if self.step is None else None

    def backward(self, loss: Tensor | None, batch: Batch) -> None:
        """Compute the gradients of a batch. `loss` is the result of `forward`."""
        if loss is not None:
            loss.backward()
        elif self.step is not None:
            self.step(batch, (0,))

    def update(self) -> None:
        """Take one optimizer step (see `train.update`)."""
        clip_norm = self.prepared.spec.training.clip_norm
        update(self.prepared.method, self.prepared.parameters, self.optimizer, self.schedule, clip_norm)

    def run(self, batch: Batch) -> None:
        """Compute one whole training step."""
        self.backward(self.forward(batch), batch)
        self.update()


def time_steps(stepper: Stepper, steps: int) -> dict[str, float]:
    """Return the times of a training step, averaged over `steps` steps, after two warm-up steps.

    The keys are PART_s for each part (PARTS), `step_s` for a step without waits between parts, and `wait_s` for the
    wait for data in such a step, all in seconds; `clips_per_s`; and `memory_gib`, the peak of GPU memory (0 on a CPU).
    """
    clips = stepper.clips
    device, source = clips.device, endless(clips)
    totals = dict.fromkeys((*PARTS, "step", "wait"), 0.0)
    clock = 0.0

    def lap(part: str) -> None:
        nonlocal clock
        wait_for(device)
        now = time.perf_counter()
        totals[part] += now - clock
        clock = now

    stepper.prepared.method.train()
    for batch in islice(source, 2):
        stepper.run(batch)
    wait_for(device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)

    started, clips_seen = time.perf_counter(), 0
    for _ in range(steps):
        before = time.perf_counter()
        batch = next(source)
        totals["wait"] += time.perf_counter() - before
        stepper.run(batch)
        clips_seen += len(batch.indices)
    wait_for(device)
    totals["step"] = time.perf_counter() - started

    clock = time.perf_counter()
    for _ in range(steps):
        batch = next(source)
        lap("data")
        loss = stepper.forward(batch)
        lap("forward")
        stepper.backward(loss, batch)
        lap("backward")
        stepper.update()
        lap("optimizer")
    figures = {f"{name}_s": seconds / steps for name, seconds in totals.items()}
    figures["clips_per_s"] = clips_seen / totals["step"]
    figures["memory_gib"] = torch.cuda.max_memory_allocated(device) / 2**30 if device.type == "cuda" else 0.0
    return figures


def count_flops(stepper: Stepper) -> float:
    """Return the floating-point operations per clip of the matrix products of one step; a multiply-add counts as two."""
    batch = next(stepper.clips.epoch(0))
    stepper.prepared.method.train()
    with FlopCounterMode(display=False) as counter:
        stepper.backward(stepper.forward(batch), batch)
    for parameter in stepper.prepared.parameters:
        parameter.grad = None
    return counter.get_total_flops() / len(batch.indices)


def matmul_rate(device: torch.device, dtype: torch.dtype, side: int = 8192, rounds: int = 20) -> float:
    """Return the floating-point operations per second of products of square matrices, the best of five measurements."""
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))

    def turn() -> float:
        wait_for(device)
        started = time.perf_counter()
        for _ in range(rounds):
            a @ b
        wait_for(device)
        return 2 * side**3 * rounds / (time.perf_counter() - started)

    return max(turn() for _ in range(5))


def measure(stepper: Stepper, steps: int, rate: float) -> dict[str, float]:
    """Return the figures of `time_steps`, and `flops_per_clip`, `matmul_flops` (= `rate`, per second) and `mfu`.

    The MFU is flops_per_clip x clips_per_s / rate.
    """
    flops = count_flops(stepper)
    figures = time_steps(stepper, steps)
    return figures | {"flops_per_clip": flops, "matmul_flops": rate, "mfu": flops * figures["clips_per_s"] / rate}


def show(figures: dict[str, float], write: Callable[[str], None] = print) -> None:
    """Print the figures of `measure`, line by line, with `write`."""
    parts = sum(figures[f"{part}_s"] for part in PARTS)
    write(
        f"{figures['clips_per_s']:.1f} clips/s; {figures['flops_per_clip'] / 1e9:.3g} GFLOP a clip, "
        f"{100 * figures['mfu']:.1f} % of {figures['matmul_flops'] / 1e12:.3g} TFLOP/s; peak {figures['memory_gib']:.1f} GiB"
    )
    write(
        f"a step takes {1000 * figures['step_s']:.1f} ms, {100 * figures['wait_s'] / figures['step_s']:.1f} % of it waits for data;"
    )
    shares = ", ".join(f"{part} {1000 * figures[f'{part}_s']:.1f}" for part in PARTS)
    write(f"part by part, each waited for ({1000 * parts:.1f} ms): {shares}")


def inputs_of(folder: Path) -> Inputs:
    """Return the input files of the training of a run. Raises ValueError if one is missing."""
    spec = read_run(folder / "run.yaml")
    paths = run_paths(folder, spec.run)
    frames = sorted((paths.frames / spec.frame_options.frame_set).glob("*.arrow"))
    needed = [paths.splits, paths.texts, paths.confusables, paths.weights, *(frames or [paths.frames])]
    missing = [path for path in needed if not path.is_file()]
    if missing:
        raise ValueError(f"{missing[0]}: is missing; run `snakemake` first")
    return Inputs(paths.splits, frames, paths.texts, paths.confusables, paths.weights.parent)


def profile(
    folder: Path,
    steps: int = 20,
    threads: int = 1,
    clips: int | None = None,
    epochs: int | None = None,
    price: float = 0.0,
) -> dict[str, float]:
    """Train a run for some steps, discard the weights, and write the figures to profile.json in the run's folder.

    The figures are also returned. `hours` and `cost` are extrapolated to `epochs` epochs of `clips` clips (default: the
    values of the run) at `price` per hour. Raises ValueError if an input is missing or if the run trains nothing.
    """
    inputs = inputs_of(folder)
    prepared = prepare(folder / "run.yaml", inputs, threads)
    training, clips_of_run = prepared.spec.training, prepared.train_clips
    if not len(clips_of_run) or not training.epochs:
        raise ValueError(f"{folder}: trains nothing; profile a run of a method that trains")
    half, device = training.precision == "bfloat16", clips_of_run.device
    rate = matmul_rate(device, torch.bfloat16 if half else torch.float32, 8192 if device.type == "cuda" else 1024)
    figures = measure(Stepper(prepared), steps, rate)
    clips_in_all = (clips or clips_of_run.items) * (epochs or training.epochs)
    figures["hours"] = clips_in_all / figures["clips_per_s"] / 3600
    figures["cost"] = figures["hours"] * price
    with atomic_write(folder / "profile.json") as part:
        part.write_text(json.dumps({name: round(value, 6) for name, value in figures.items()}, indent=1))
    show(figures)
    cost = f", {figures['cost']:.2f} at {price:g} an hour" if price else ""
    print(f"{clips_in_all} clips in all: {figures['hours']:.3g} hours{cost}")
    return figures

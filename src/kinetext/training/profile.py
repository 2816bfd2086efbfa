"""Where the time of a training step goes, what part of the device's arithmetic it uses, and what a whole training would take.

Each part is timed by the clock with the device waited for at its end, so the parts add up to a little more than a step in
which nothing waits; `clips_per_s` comes from steps in which nothing does. Model FLOP utilisation (MFU: Chowdhery et al.,
PaLM, 2022, appendix B) is the arithmetic of the products of a step, as torch counts them, over what the device does of large
products in the same precision. What gradient checkpointing and GradCache compute a second time is counted too, so with
them the share is that of the hardware that works, not of the model that learns.
"""

import json
import time
from collections.abc import Callable, Iterator
from itertools import count, islice
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from kinetext.config.run import read_run
from kinetext.core.files import atomic_write
from kinetext.core.paths import run_paths
from kinetext.training.batches import Batch, Batches
from kinetext.training.setup import Inputs, make_optimiser, make_step, prepare
from kinetext.training.step import Step, update

PARTS = ("data_wait", "transfer", "forward", "backward", "optimiser")


def wait_for(device: torch.device) -> None:
    """Until the device has done all that it was asked."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def endless(batches: Batches) -> Iterator[Batch]:
    """Batches of one epoch after the other."""
    for number in count():
        yield from batches.epoch(number)


def time_steps(
    step: Step, batches: Batches, optimiser: Any, schedule: Any, clip_norm: float, steps: int
) -> dict[str, float]:
    """Train for `steps` steps twice, after two that do not count: seconds of each of PARTS, of a step in which nothing waits
    (`step`), and of it on the data (`wait`), clips per second, and the peak of memory in GiB (of a GPU; else zero).
    """
    device, source = batches.device, endless(batches)
    totals = dict.fromkeys((*PARTS, "step", "wait"), 0.0)
    clock = 0.0

    def lap(part: str) -> None:
        nonlocal clock
        wait_for(device)
        now = time.perf_counter()
        totals[part] += now - clock
        clock = now

    batches.method.train()
    for batch in islice(source, 2):
        step(batches.send(batch), (0,))
        update(step.trained, optimiser, schedule, clip_norm)
    wait_for(device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)

    started, clips = time.perf_counter(), 0
    for _ in range(steps):
        asked = time.perf_counter()
        batch = next(source)
        totals["wait"] += time.perf_counter() - asked
        step(batches.send(batch), (0,))
        update(step.trained, optimiser, schedule, clip_norm)
        clips += len(batch.places)
    wait_for(device)
    totals["step"] = time.perf_counter() - started

    clock = time.perf_counter()
    for _ in range(steps):
        batch = next(source)
        lap("data_wait")
        batch = batches.send(batch)
        lap("transfer")
        if step.most is None or len(batch.places) <= step.most:
            loss = step.forward(batch, (0,))
            lap("forward")
            loss.backward()
        else:  # in pieces, forwards and backwards by turns
            step(batch, (0,))
        lap("backward")
        update(step.trained, optimiser, schedule, clip_norm)
        lap("optimiser")
    found = {f"{name}_s": seconds / steps for name, seconds in totals.items()}
    found["clips_per_s"] = clips / totals["step"]
    found["memory_gib"] = torch.cuda.max_memory_allocated(device) / 2**30 if device.type == "cuda" else 0.0
    return found


def count_flops(step: Step, batches: Batches) -> float:
    """The floating-point operations of the products of one step, forwards and backwards, per clip: two for each
    multiplication that is added up.
    """
    batch = batches.send(next(batches.epoch(0)))
    batches.method.train()
    with FlopCounterMode(display=False) as counter:
        step(batch, (0,))
    for parameter in step.trained:
        parameter.grad = None
    return counter.get_total_flops() / len(batch.places)


def matmul_rate(device: torch.device, dtype: torch.dtype, side: int = 8192, rounds: int = 20) -> float:
    """The floating-point operations per second of products of two square matrices, the best of five turns."""
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))

    def turn() -> float:
        wait_for(device)
        started = time.perf_counter()
        for _ in range(rounds):
            a @ b
        wait_for(device)
        return 2 * side**3 * rounds / (time.perf_counter() - started)

    return max(turn() for _ in range(5))


def measure(
    step: Step, batches: Batches, optimiser: Any, schedule: Any, clip_norm: float, steps: int, rate: float
) -> dict[str, float]:
    """As `time_steps`, with the operations per clip, the device's rate, and the MFU."""
    flops = count_flops(step, batches)
    found = time_steps(step, batches, optimiser, schedule, clip_norm, steps)
    return found | {"flops_per_clip": flops, "matmul_flops": rate, "mfu": flops * found["clips_per_s"] / rate}


def show(found: dict[str, float], say: Callable[[str], None] = print) -> None:
    """The figures for a terminal."""
    parts = sum(found[f"{part}_s"] for part in PARTS)
    say(
        f"{found['clips_per_s']:.1f} clips/s; {found['flops_per_clip'] / 1e9:.3g} GFLOP a clip, "
        f"{100 * found['mfu']:.1f} % of {found['matmul_flops'] / 1e12:.3g} TFLOP/s; peak {found['memory_gib']:.1f} GiB"
    )
    say(
        f"a step takes {1000 * found['step_s']:.1f} ms, {100 * found['wait_s'] / found['step_s']:.1f} % of it waits for data;"
    )
    shares = ", ".join(f"{part} {1000 * found[f'{part}_s']:.1f}" for part in PARTS)
    say(f"part by part, each waited for ({1000 * parts:.1f} ms): {shares}")


def inputs_of(folder: Path) -> Inputs:
    """The tables that a run folder's run is trained from, in its results folder. Raises ValueError for one that is missing."""
    spec = read_run(folder / "run.yaml")
    paths = run_paths(folder, spec.run)
    frames = sorted((paths.frames / spec.frame_options.frame_set).glob("*.arrow"))
    needed = [paths.splits, paths.texts, paths.confusables, paths.weights, *(frames or [paths.frames])]
    missing = [path for path in needed if not path.is_file()]
    if missing:
        raise ValueError(f"{missing[0]}: is missing; run `snakemake` first")
    return Inputs(paths.splits, frames, paths.texts, paths.confusables, paths.weights.parent)


def profile_run(
    folder: Path,
    steps: int = 20,
    threads: int = 1,
    clips: int | None = None,
    epochs: int | None = None,
    price: float = 0.0,
) -> dict[str, float]:
    """Train a run for some steps without keeping anything; write what was measured to profile.json in its folder.

    `hours` and `cost` are those of `epochs` passes over `clips` clips at `price` an hour; as the run has them where they are
    not given. Raises ValueError for a folder without what training needs, or a run that trains nothing.
    """
    inputs = inputs_of(folder)
    prepared = prepare(folder / "run.yaml", inputs, threads)
    training, seen = prepared.spec.training, prepared.seen
    if not len(seen) or not training.epochs:
        raise ValueError(f"{folder}: trains nothing; profile a run of a method that trains")
    optimiser, schedule = make_optimiser(prepared.method, training, len(seen))
    step = make_step(prepared.method, prepared.task, seen, optimiser, training)
    half = training.precision == "bfloat16"
    side = 8192 if seen.device.type == "cuda" else 1024
    rate = matmul_rate(seen.device, torch.bfloat16 if half else torch.float32, side)
    found = measure(step, seen, optimiser, schedule, training.clip_norm, steps, rate)
    total = (clips or seen.items) * (epochs or training.epochs)
    found["hours"] = total / found["clips_per_s"] / 3600
    found["cost"] = found["hours"] * price
    with atomic_write(folder / "profile.json") as part:
        part.write_text(json.dumps({name: round(value, 6) for name, value in found.items()}, indent=1))
    show(found)
    print(
        f"{total} clips in all: {found['hours']:.3g} hours"
        + (f", {found['cost']:.2f} at {price:g} an hour" if price else "")
    )
    return found

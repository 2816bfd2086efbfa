"""Rough estimates of the time and the disk space of a study, before anything has run.

The number of operations follows from the sizes of the models, and the speed from one matrix product on this machine.
The imports and the reading of each job are included, because they take most of the time of a small study. The estimate
distinguishes minutes from days, not more.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from kinetext.backbones.base import Facts
from kinetext.config.data import PROTOCOL, FrameOptions
from kinetext.config.run import RunSpec
from kinetext.core import plugins
from kinetext.texts.chat.limits import IMAGE_TOKENS, TOKENS_PER_SENTENCE, Tokens

RATE_LIMIT_S = 120  # of measuring, the import of torch included
START_S = 7.0  # of a job that imports torch, of any length
DECODE_S = 0.1  # CPU seconds for the frames of a clip: 8 frames of some seconds at 240 to 720 lines
SHARE_OF_RATE = {"cpu": 0.5, "cuda": 0.35}  # a training step's rate, of that of large products (docs/training.md)
BACKWARD = 3.0  # forward and backward pass, in forward passes
JPEG_BYTES_224 = 17_900  # of a frame (docs/data.md)
SENTENCES = 6  # of a described class
PROMPT_TOKENS, ANSWER_TOKENS = 120, 20  # of a question about a clip, without choices and images, and of its answer
CHOICE_TOKENS = 10  # of a class or caption in the list of choices


@dataclass(frozen=True)
class Counts:
    """The numbers of clips and classes of a data set under a protocol."""

    train: int
    test: int
    classes: int
    train_per_class: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Rate:
    """The speed of this machine."""

    device: str  # cpu or cuda
    gflop_per_s: float  # of one job
    slots: int  # jobs at once


def measure_rate(slots: int) -> Rate | None:
    """Return the rate of a large matrix product on the device of a job; None if it could not be computed.

    A separate process measures, because this one may be Snakemake's, which would hold GPU memory to its end.
    """
    code = "from kinetext.start.budget import product_rate; print(*product_rate())"
    try:
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=RATE_LIMIT_S
        )
        device, rate = done.stdout.split()
        return Rate(device, float(rate), max(1, slots))
    except (ValueError, OSError, subprocess.TimeoutExpired):  # a GPU that is in use or full
        return None


def product_rate() -> tuple[str, float]:
    """Return the device (cpu or cuda) and its rate in GFLOP/s, in a tenth of a second plus the import of torch."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    size = 8192 if device == "cuda" else 768
    threads = torch.get_num_threads()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    try:
        a_NN = torch.randn(size, size, device=device, dtype=torch.bfloat16 if device == "cuda" else torch.float32)
        times_s = []
        for _ in range(4):  # the first one starts the library
            started = time.perf_counter()
            (a_NN @ a_NN)[0, 0].item()
            times_s.append(time.perf_counter() - started)
    finally:
        torch.set_num_threads(threads)
    return device, 2 * size**3 / min(times_s) / 1e9


def run_gflop(run: RunSpec, facts: Facts, counts: Counts, num_frames: int) -> float:
    """Return the GFLOP of training and testing one run."""
    method, training = plugins.load("methods", run.method_module), run.training
    if method.reads == "frames":
        return 0.0
    frames = run.num_frames or num_frames
    clip = frames * facts.image_gflop
    test = counts.test * clip * run.testing.views
    sentences = SENTENCES * counts.classes
    texts = sentences * facts.text_gflop
    if not method.trains or run.trained_on is not None or training.epochs == 0 or method.fits:
        return test + texts + (counts.train * clip if method.fits else 0.0)
    seen = counts.train * training.epochs * training.repeats
    if training.image_encoder == "frozen" and not training.pixels_vary:
        video = counts.train * clip + seen * BACKWARD * branch_share(run, facts) * clip
    else:
        video = seen * BACKWARD * clip * (1 + branch_share(run, facts))
    steps = -(-counts.train // training.batch_size) * training.epochs
    texts *= steps * BACKWARD if training.text_encoder != "frozen" else 1
    return test + texts + video


def questions(run: RunSpec, counts: Counts) -> tuple[int, Tokens]:
    """Return the number of requests of a run whose method reads frames, and their approximate tokens.

    A choice has CHOICE_TOKENS, and each of its descriptions 25 words.
    """
    asked = frame_method(run)
    requests = counts.test * len(asked.frame_orders)
    frames = (run.num_frames or run.frame_options.num_frames) * (1 + asked.num_examples)
    described = run.text_options.get("module") not in ("names", "captions")
    choice = CHOICE_TOKENS + described * asked.num_descriptions * TOKENS_PER_SENTENCE
    prompt = PROMPT_TOKENS + num_choices(counts) * choice + frames * IMAGE_TOKENS
    return requests, Tokens(requests * prompt, requests * ANSWER_TOKENS)


def num_choices(counts: Counts) -> int:
    """Return the number of choices of a question: the classes, or one caption per test clip."""
    return counts.classes or counts.test


def frame_method(run: RunSpec) -> Any:
    """Return the method of a run that reads frames (methods/frames.py)."""
    method = plugins.load("methods", run.method_module)
    return method(None, plugins.configure(method, run.method_options))


def branch_share(run: RunSpec, facts: Facts) -> float:
    """Return the operations of the layers that a method adds, as a fraction of the image encoder's operations."""
    options = run.method_options.get("visual_options", run.method_options)
    module = run.method_options.get("visual", "stan") if run.method_module == "moted" else run.method_module
    if module != "stan":
        return 0.02
    return float(options.get("layers", 4)) / max(1, facts.num_layers)


def run_seconds(
    runs: Iterable[RunSpec], facts: dict[str, Facts], counts: dict[tuple[str, str], Counts], rate: Rate
) -> float:
    """Return the wall time of the runs in seconds. Runs without `counts` are left out."""
    total_s = 0.0
    for run in runs:
        key = (run.dataset, run.protocol)
        if key in counts:
            gflop = run_gflop(run, facts[run.backbone], counts[key], run.frame_options.num_frames)
            trains = plugins.load("methods", run.method_module).trains
            total_s += gflop / (rate.gflop_per_s * SHARE_OF_RATE[rate.device]) + START_S * (3 if trains else 2)
    return total_s / rate.slots


def frame_bytes(options: FrameOptions) -> float:
    """Return the size of the stored frames of a clip in bytes."""
    pixels = options.size_px**2 * (1.8 if options.crop == "whole" else 1.0)  # of 16:9
    one = 3 * pixels if options.encoding == "raw" else JPEG_BYTES_224 * pixels / 224**2
    return options.num_frames * one


def checkpoint_bytes(run: RunSpec, facts: Facts) -> float:
    """Return the size of a run's checkpoint in bytes. It holds the trained parameters in float32."""
    if not plugins.load("methods", run.method_module).trains:
        return 0.0
    encoder = facts.parameters * 0.6  # the image encoder's share; the rest is text and word embeddings
    trained = (run.training.image_encoder != "frozen") * encoder
    trained += (run.training.text_encoder != "frozen") * (facts.parameters - encoder)
    return 4 * (trained + branch_share(run, facts) * encoder)


def shots_of(protocol: str) -> int | None:
    """Return K of a K-shot protocol; None for other protocols."""
    match = PROTOCOL.fullmatch(protocol)
    return int(match["shots"]) if match and match["shots"] else None


def duration(seconds: float) -> str:
    """Return a rough duration in words, such as "3 hours"."""
    for unit, length_s in (("days", 86_400.0), ("hours", 3_600.0), ("minutes", 60.0)):
        if seconds >= 2 * length_s:
            return f"{seconds / length_s:.0f} {unit}"
    return "under two minutes"

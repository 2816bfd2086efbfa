"""Ask a method that reads frames about every test clip of a run: the part of predict_clips without a backbone.

The scores of a clip without a usable answer are NaN, as those of a clip without frames: it counts as wrong in every
metric. The column `note` has the reason, and the metadata has the number of such clips and the first of them.

A reply is cached as soon as it arrives. If the job stops, because the server is down, the money is used up or somebody
kills it, the next run asks only what was not answered.

T frames, C channels, H x W pixels, K classes or captions.
"""

import random
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from kinetext.config.run import RunSpec
from kinetext.core import distributed
from kinetext.core.detached import raise_if_stopping
from kinetext.core.schemas import DESCRIPTIONS, is_used
from kinetext.core.tables import read_rows, write_table
from kinetext.data.splits import Split, read_splits
from kinetext.data.store import FrameStore
from kinetext.data.views import decode_views
from kinetext.evaluation.calibration import ANSWERS
from kinetext.evaluation.predictions import prediction_row
from kinetext.evaluation.scores import frame_indices
from kinetext.methods.base import configure_method
from kinetext.methods.frames import Answer, Choice, Example, FrameMethod, Question

NUM_NAMED = 5  # clips without a usable answer that the metadata names

Row = dict[str, Any]


@dataclass(frozen=True)
class _Task:
    """One clip of a split, in one frame order."""

    clip: Row
    split: str
    frame_order: str


def predict_frames(
    spec: RunSpec, splits: Path, frames: list[Path], texts: Path, cache: Path | None, output: Path
) -> None:
    """Write the table `predictions` for all splits except train and val. Replies are cached in the folder `cache`.

    Raises ValueError without a `cache`, for several views per clip, for examples of another data set, and if more
    clips than the method allows get no reply. One process asks; any others return at once.
    """
    if distributed.rank() > 0:
        return
    if cache is None:
        raise ValueError(f"{spec.run}: {spec.method} asks a server; pass --cache, the folder of its cached replies")
    if spec.testing.views > 1:
        raise ValueError(f"{spec.run}: {spec.method} is asked once per clip; set testing.clips and testing.crops to 1")
    method = _build(spec)
    method.start(spec.seed, cache)
    all_splits, store = read_splits(splits), FrameStore(frames)
    tested = {name: split for name, split in all_splits.items() if name not in ("train", "val") and split.rows}
    labels: dict[str, list[str]] = {}
    questions: dict[str, Question] = {}
    for name, split in tested.items():
        labels[name], choices = read_choices(texts, split)
        examples = draw_examples(spec, method.num_examples, all_splits["train"], split, store)
        questions[name] = Question(choices, examples, split.captioned)
    tasks = [
        _Task(clip, name, order)
        for name, split in tested.items()
        for order in method.frame_orders
        for clip in split.rows
    ]
    start = time.perf_counter()
    answers = ask_all(spec, method, tasks, questions, store)
    seconds = time.perf_counter() - start
    raise_if_stopping()  # a process that survived its command stores replies only; the next command writes the table
    rows = list(_rows(tasks, answers, labels))
    clip_ids = {task.clip["clip_id"] for task in tasks if task.clip["clip_id"] in store}
    metadata = {
        "labels": labels,
        "captioned": any(split.captioned for split in tested.values()),
        "failed": {
            name: [row["clip_id"] for row in split.rows if row["clip_id"] not in store]
            for name, split in tested.items()
        },
        "testing": spec.testing.model_dump(),
        "predict_clips_per_s": method.cost().sent / len(method.frame_orders) / seconds if method.cost().sent else None,
        "cost": _cost(method, len(clip_ids)),
        "answers": {**asdict(method.cost()), **_unusable(tasks, answers, store)},
        "calibration": ANSWERS.document(),
        "train_clips": _train_clips(all_splits["train"]),
        "multi_label": False,
    }
    write_table("predictions", rows, output, metadata)


def _build(spec: RunSpec) -> FrameMethod:
    cls, config = configure_method(spec.method_module, spec.method_options)
    assert issubclass(cls, FrameMethod)
    return cls(None, config)


def read_choices(texts: Path, split: Split) -> tuple[list[str], list[Choice]]:
    """Return the labels of the scores of a split, and its choices in the same order.

    They are its classes with their usable descriptions, or the captions of its clips, each labelled by its clip_id.
    """
    sentences: dict[tuple[str, bool], list[str]] = defaultdict(list)  # (label, is a description)
    for row in read_rows("texts", texts):
        if is_used(row["status"]):
            sentences[row["label"], row["kind"] in DESCRIPTIONS].append(row["sentence"])
    if not split.captioned:
        return split.labels, [Choice(label, tuple(sentences[label, True])) for label in split.labels]
    captions = [(label, caption) for label in split.labels for caption in sentences[label, False]]
    return [label for label, _ in captions], [Choice(caption) for _, caption in captions]


def draw_examples(spec: RunSpec, count: int, train: Split, split: Split, store: FrameStore) -> list[Example]:
    """Return training clips whose class is among the choices of a split. The seed of the run draws them.

    Every class is drawn once before any is drawn twice. Raises ValueError for captions and for training clips of
    another data set.
    """
    if not count:
        return []
    if split.captioned or spec.protocol.startswith("zero_shot"):
        kind = "clips with captions" if split.captioned else spec.protocol
        raise ValueError(f"{spec.run}: options.examples shows training clips with their classes, and {kind} has none")
    generator = random.Random(f"{spec.seed} examples")
    known = sorted((row for row in train.rows if row["clip_id"] in store), key=lambda row: row["clip_id"])
    clips_of = {label: [row for row in known if row["label"] == label] for label in split.labels}
    for rows in clips_of.values():
        generator.shuffle(rows)
    labels = [label for label in split.labels if clips_of[label]]
    generator.shuffle(labels)
    rounds = range(max(map(len, clips_of.values()), default=0))
    example_rows = [clips_of[label][turn] for turn in rounds for label in labels if turn < len(clips_of[label])][:count]
    return [Example(_frames(spec, store, row["clip_id"]), split.labels.index(row["label"])) for row in example_rows]


def ask_all(
    spec: RunSpec, method: FrameMethod, tasks: list[_Task], questions: dict[str, Question], store: FrameStore
) -> list[Answer]:
    """Return the answer to every task. A clip without frames has none, and nothing is asked.

    Raises ValueError like `FrameMethod.answer`, and if too many tasks get no reply.
    """

    def ask(task: _Task) -> Answer:
        clip_id = task.clip["clip_id"]
        if clip_id not in store:
            return Answer(None)
        raise_if_stopping()
        frames_TCHW = _frames(spec, store, clip_id)
        return method.answer(
            frames_TCHW[frame_indices(task.frame_order, len(frames_TCHW), clip_id)], questions[task.split]
        )

    torch.set_num_threads(1)  # frames are decoded by the threads that ask
    with ThreadPoolExecutor(method.at_once) as pool:
        answered = pool.map(ask, tasks)
        try:
            bar = tqdm(answered, f"predict {spec.run}", len(tasks), disable=distributed.hide_progress())
            answers = list(bar)
        except BaseException:
            pool.shutdown(cancel_futures=True)  # or everything else would be asked first
            raise
    lost = [(task, answer) for task, answer in zip(tasks, answers, strict=True) if not answer.replied]
    if len(lost) > method.max_no_reply * len(tasks):
        task, answer = lost[0]
        raise ValueError(
            f"{spec.run}: {len(lost)} of {len(tasks)} requests got no reply ('{task.clip['clip_id']}': {answer.note}); "
            "run again, all others are cached, or raise options.max_no_reply to count them as wrong"
        )
    return answers


def _frames(spec: RunSpec, store: FrameStore, clip_id: str) -> Tensor:
    """Return the frames that the run takes of a clip, uint8 [T, C, H, W]."""
    return decode_views(store.images(clip_id), spec.view_options)


def _rows(tasks: list[_Task], answers: list[Answer], labels: dict[str, list[str]]) -> Iterator[Row]:
    """Yield the rows of the table `predictions`, with NaN where there is no usable answer."""
    targets: dict[str, dict[str, int]] = {name: {} for name in labels}
    for name, of_split in labels.items():
        for k, label in enumerate(of_split):
            targets[name].setdefault(label, k)
    for task, answer in zip(tasks, answers, strict=True):
        nan_K = np.full(len(labels[task.split]), np.nan, np.float32)
        score_K = nan_K if answer.score_K is None else answer.score_K
        row = prediction_row(task.clip, task.split, task.frame_order, targets[task.split], score_K, None)
        yield {**row, "note": answer.note}


def _unusable(tasks: list[_Task], answers: list[Answer], store: FrameStore) -> Row:
    """Return how many clips were asked about with their frames in order, and how many got no usable answer.

    A clip that is scored for several splits counts once per split.
    """
    of_clips = [
        (task, answer)
        for task, answer in zip(tasks, answers, strict=True)
        if task.frame_order == "ordered" and task.clip["clip_id"] in store
    ]
    unusable = [(task.clip["clip_id"], str(answer.note)) for task, answer in of_clips if answer.score_K is None]
    return {"asked": len(of_clips), "unusable": len(unusable), "first": unusable[:NUM_NAMED]}


def _cost(method: FrameMethod, num_clips: int) -> Row:
    """Return the cost of a test clip: all requests of the run, shared among its test clips."""
    cost = method.cost()
    counts = {"requests": cost.requests, "prompt_tokens": cost.prompt_tokens, "answer_tokens": cost.answer_tokens}
    shared = {f"{name}_per_clip": count / num_clips if num_clips else None for name, count in counts.items()}
    usd = None if cost.usd is None or not num_clips else cost.usd / num_clips
    none = {"trained_parameters": 0, "new_parameters": 0, "train_seconds": 0.0, "train_clips_seen": 0}
    return {**none, **shared, "usd_per_clip": usd}


def _train_clips(train: Split) -> dict[str, int]:
    return {} if train.captioned else dict(Counter(row["label"] for row in train.rows))

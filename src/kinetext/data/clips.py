"""index_clips: what a data set has, as one table: each clip with its file, its split, its label or captions, its shard."""

import os
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from kinetext import registry, tables
from kinetext.config import DatasetOptions
from kinetext.data import datasets
from kinetext.data.datasets import Clip

SPLITS = ("train", "val", "test")


def index_clips(name: str, options: DatasetOptions, output: Path, shards: Path, media: Path) -> None:
    """Write the table `clips` to `output` and the names of its shards, one a line, to `shards`.

    `media` is the data set's own folder, for files that it makes. The table's metadata has `labels`, the class names in
    order, and `pairs`, the pairs that the data set declares confusable. Absent files stay listed: they become failed
    rows of `frames`. Raises ValueError if the data set's clips contradict each other, its labels or `novel`.
    """
    module = registry.load(datasets, options.module or name)
    config = registry.configure(module, options.options)
    clips = list(module.list_clips(config, media))
    labels = module.labels(config)
    if labels is None:
        labels = sorted({clip.label for clip in clips if clip.label is not None})
    pairs = [list(pair) for pair in module.given_pairs(config)]
    _check(name, clips, labels)
    _check_known(f"{name}: a given pair has", (label for pair in pairs for label in pair), labels)
    _check_known(f"datasets.{name}.novel: there is", options.novel, labels)
    rows = [
        {**vars(clip), "path": os.path.abspath(clip.path), "shard": f"{number // options.shard_clips:05d}"}
        for number, clip in enumerate(clips)
    ]
    tables.write_table("clips", rows, output, {"labels": labels, "pairs": pairs})
    shard_names = list(dict.fromkeys(row["shard"] for row in rows))
    with tables.written_whole(shards) as part:
        part.write_text("".join(f"{shard}\n" for shard in shard_names))
    absent = [row["path"] for row in rows if not os.path.exists(row["path"])]
    counts = Counter(clip.split for clip in clips)
    splits = ", ".join(f"{split} {counts[split]}" for split in SPLITS)
    note = f", first {absent[0]}" if absent else ""
    print(
        f"index_clips {name}: {len(clips)} clips ({splits}), {len(labels)} classes, {len(shard_names)} shards, "
        f"{len(absent)} absent files{note}",
        file=sys.stderr,
    )


def _check(name: str, clips: list[Clip], labels: list[str]) -> None:
    if not clips:
        raise ValueError(f"{name}: no clips found; check the data set's options")
    twice = [clip_id for clip_id, count in Counter(clip.clip_id for clip in clips).items() if count > 1]
    if twice:
        raise ValueError(f"{name}: clip_id '{twice[0]}' stands twice; each clip needs a name of its own")
    for clip in clips:
        if clip.split not in SPLITS:
            raise ValueError(f"{name}: clip {clip.clip_id} has split '{clip.split}'; it must be one of {SPLITS}")
        if clip.label is None and not clip.captions:
            raise ValueError(f"{name}: clip {clip.clip_id} has neither a label nor captions; give it one of them")
    _check_known(f"{name}: a clip has", (clip.label for clip in clips if clip.label is not None), labels)


def _check_known(what: str, used: Iterable[str], labels: list[str]) -> None:
    for label in used:
        if label not in labels:
            raise ValueError(f"{what} '{label}', which is no class{registry.nearest(label, labels)}")

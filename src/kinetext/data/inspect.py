"""inspect: what a data set has, in words and in one picture, before anything is made of it.

Counts come from the lists, absent, unlisted and equal files from the disk, durations and codecs from a sample of the
clips, which is demuxed and not decoded. A bad file is a line that says so; nothing here raises for it.
"""

import csv
import os
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from kinetext.config.data import DatasetOptions, FrameOptions
from kinetext.data.datasets.base import Clip
from kinetext.data.duplicates import find_duplicates
from kinetext.data.index import SPLITS, checksums, compare_sizes, list_dataset, missing_and_unlisted
from kinetext.data.lists import printable
from kinetext.data.measure import Measured, measure
from kinetext.data.sheet import Cell, draw_sheet, picture
from kinetext.video.pool import Lost, watched
from kinetext.video.sampling import uniform_indices

FIRST = 5  # files and classes that are named; the others are in the files
CELLS = 48  # clips of the contact sheet


def inspect(name: str, options: DatasetOptions, media: Path, output: Path, num_clips: int = 200) -> None:
    """Print what the data set has and write to the folder `output`: classes.csv, absent.txt, unlisted.txt,
    duplicates.txt and the contact sheet sheet.png.

    `media` is the data set's own folder, for files that it makes. Durations are those of `num_clips` clips, evenly spaced.
    Raises ValueError, as index_clips does, where lists contradict each other.
    """
    dataset, clips, labels = list_dataset(name, options, media)
    output.mkdir(parents=True, exist_ok=True)
    absent, unlisted = missing_and_unlisted(clips, dataset)
    _write_classes(clips, labels, output / "classes.csv")
    _write_lines(absent, output / "absent.txt")
    _write_lines(unlisted, output / "unlisted.txt")

    def found() -> Iterator[str]:
        yield from _counted(name, clips, labels)
        for what, (number, published) in compare_sizes(clips, labels, dataset).items():
            yield f"{what}: {number} listed, {'as published' if number == published else f'{published} published'}"
        yield from (f"list {path}: sha256 {digest}" for path, digest in checksums(dataset).items())
        yield f"absent files: {_named(absent)}"
        yield f"files in no list: {_named(unlisted)}"
        yield from _compared(clips, set(absent), output / "duplicates.txt")
        yield from _measured(_evenly(clips, num_clips), options.frames)
        yield from _pictured(_spread(clips), options.frames, output / "sheet.png")
        yield f"all of it: {output}"

    for line in found():
        print(printable(line), flush=True)


def _counted(name: str, clips: list[Clip], labels: list[str]) -> Iterator[str]:
    """How many clips, per split and per class, and how many captions."""
    counts = Counter(clip.split for clip in clips)
    yield f"{name}: {len(clips)} clips: " + ", ".join(f"{split} {counts[split]}" for split in SPLITS)
    if labels:
        of = Counter((clip.label, clip.split) for clip in clips)
        each = [f"{split} {_range(of[label, split] for label in labels)}" for split in SPLITS if counts[split]]
        yield f"{len(labels)} classes; clips of a class (least / median / most): {', '.join(each)}"
        sizes = Counter(clip.label for clip in clips)
        ordered = sorted(labels, key=lambda label: sizes[label])
        for what, some in (("smallest", ordered[:FIRST]), ("largest", ordered[: -FIRST - 1 : -1])):
            yield f"{what} classes: " + ", ".join(f"{label} {sizes[label]}" for label in some)
    captions = [len(clip.captions) for clip in clips if clip.captions]
    if captions:
        words = _range(len(caption.split()) for clip in clips for caption in clip.captions)
        yield f"captions: {sum(captions)}; of a clip {_range(captions)}, words in each {words} (least / median / most)"
    refused = Counter((clip.error or "").partition(":")[0] for clip in clips if clip.error)
    if refused:
        yield f"clips that must not be read: {_common(refused)}"


def _write_classes(clips: list[Clip], labels: list[str], output: Path) -> None:
    counts = Counter((clip.label, clip.split) for clip in clips)
    with output.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        rows = ([label, *(counts[label, split] for split in SPLITS)] for label in labels)
        csv.writer(file).writerows([["class", *SPLITS], *rows])


def _write_lines(lines: Iterable[str], output: Path) -> None:
    output.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", errors="surrogateescape")


def _compared(clips: list[Clip], absent: set[str], output: Path) -> Iterator[str]:
    """Files that are empty, unreadable, equal, or in several splits; the equal ones also in `output`."""
    splits: dict[str, set[str]] = defaultdict(set)
    for clip in clips:
        if clip.error is None and os.path.abspath(clip.path) not in absent:
            splits[os.path.abspath(clip.path)].add(clip.split)
    groups, unreadable = find_duplicates(splits)
    if unreadable:
        yield f"files that cannot be read: {_named(sorted(unreadable))}"
    several = [f"{path} ({', '.join(sorted(found))})" for path, found in splits.items() if len(found) > 1]
    if several:
        yield f"files with clips in several splits: {_named(several)}"
    told = [(sorted({split for path in group for split in splits[path]}), group) for group in groups]
    told.sort(key=lambda each: (-len(each[0]), each[1]))
    crossing = sum(len(found) > 1 for found, _ in told)
    yield f"files equal to another: {sum(map(len, groups))} in {len(groups)} groups, {crossing} of them across splits"
    lines = [f"{', '.join(found)}: {' = '.join(group)}" for found, group in told]
    yield from (f"  {line}" for line in lines[:FIRST])
    _write_lines(lines, output)


def _measured(clips: list[Clip], options: FrameOptions) -> Iterator[str]:
    """Durations and formats of these clips."""
    results = list(_in_workers(measure, options, clips, "packets"))
    found = [result for result in results if isinstance(result, Measured)]
    yield f"of {len(clips)} clips, evenly spaced, {len(found)} can be read; least / median / most:"
    if found:
        yield f"  seconds {_range(each.duration_s for each in found)}"
        yield f"  frames {_range(each.num_frames for each in found)}"
        yield f"  frames a second {_range(each.num_frames / max(each.duration_s, 1e-9) for each in found)}"
        yield f"  sizes {_common(Counter(each.resolution for each in found))}"
        yield f"  codecs {_common(Counter(each.codec for each in found))}"
        yield f"  variable frame rate: {sum(each.vfr for each in found)}"
    bad = [f"{c.clip_id} ({r.reason})" for c, r in zip(clips, results, strict=True) if isinstance(r, Lost)]
    if bad:
        yield f"  cannot be read: {_named(bad)}"


def _pictured(clips: list[Clip], options: FrameOptions, output: Path) -> Iterator[str]:
    """Draw the contact sheet of these clips; how many could be decoded."""
    cells = []
    for clip, result in zip(clips, _in_workers(picture, options, clips, "pictures"), strict=True):
        said = clip.label or (clip.captions[0] if clip.captions else clip.clip_id)
        cell = Cell("failed", result.reason) if isinstance(result, Lost) else result
        cells.append((said, f"{clip.split}  {Path(clip.clip_id).name}", cell))
    draw_sheet(cells, output)
    yield f"pictures of {len(clips)} clips: {_common(Counter(cell.status for *_, cell in cells))}"
    bad = [f"{clip.clip_id} ({cell.error})" for clip, (*_, cell) in zip(clips, cells, strict=True) if cell.error]
    if bad:
        yield f"  not ok: {_named(bad)}"


def _in_workers(function: Any, options: FrameOptions, clips: list[Clip], what: str) -> Iterator[Any]:
    """The function of each clip, in processes that may hang or crash without harm."""
    workers = max(1, min(len(clips), len(os.sched_getaffinity(0))))
    results = watched(partial(function, options), clips, options.clip_limit_s, workers, preload=[__name__])
    return iter(tqdm(results, what, len(clips), unit="clip", disable=None, leave=False))


def _evenly(clips: Sequence[Clip], number: int) -> list[Clip]:
    return [clips[i] for i in uniform_indices(len(clips), min(number, len(clips)))]


def _spread(clips: list[Clip]) -> list[Clip]:
    """Up to CELLS clips, as many of each class, or of each split where there are no classes."""
    groups: dict[str, list[Clip]] = defaultdict(list)
    for clip in clips:
        groups[clip.label or clip.split].append(clip)
    some = [list(groups.values())[i] for i in uniform_indices(len(groups), min(CELLS, len(groups)))]
    return [clip for group in some for clip in _evenly(group, CELLS // len(some))]


def _range(values: Iterable[float]) -> str:
    found = list(values)
    return f"{min(found):.4g} / {statistics.median(found):.4g} / {max(found):.4g}"


def _common(counts: Counter[str]) -> str:
    others = f", {len(counts) - FIRST} others" if len(counts) > FIRST else ""
    return ", ".join(f"{value} ({count})" for value, count in counts.most_common(FIRST)) + others


def _named(items: Sequence[str]) -> str:
    """How many, and the first of them."""
    return (
        str(len(items)) + (f": {', '.join(items[:FIRST])}" if items else "") + (", ..." if len(items) > FIRST else "")
    )

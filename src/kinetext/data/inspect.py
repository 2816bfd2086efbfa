"""inspect: describe a data set in words and in a contact sheet before anything is computed from it.

Counts come from the lists. Absent, unlisted and equal files come from the disk. Durations and codecs come from a sample
of clips, which are demuxed but not decoded. A bad video raises no error: the output has a line about it.
"""

import os
import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from kinetext.config.data import DatasetOptions, FrameOptions
from kinetext.core.escape import for_terminal, write_csv
from kinetext.data.datasets.base import Clip
from kinetext.data.duplicates import find_duplicates
from kinetext.data.index import SPLITS, checksums, compare_sizes, equal_labels, list_dataset, missing_and_unlisted
from kinetext.data.lists import printable
from kinetext.data.measure import Measured, measure
from kinetext.data.near_equal import hash_clips, near_equal
from kinetext.data.sheet import Cell, draw_sheet, read_cell
from kinetext.video.pool import NoResult, map_with_timeout
from kinetext.video.sampling import uniform_indices

NUM_NAMED = 5  # files and classes named in the output; the written files name all
NUM_CELLS = 48  # clips in the contact sheet


TokenLimits = dict[str, tuple[int, Callable[[str], int]]]  # backbone -> tokens that it reads, counter of tokens


def inspect(
    name: str,
    options: DatasetOptions,
    media: Path,
    output: Path,
    num_clips: int = 200,
    token_limits: TokenLimits | None = None,
) -> None:
    """Print a description of the data set and write the complete lists to the folder `output`.

    The files are classes.csv, absent.txt, unlisted.txt, skipped.txt, duplicates.txt, near_equal.txt and the contact
    sheet sheet.png. `media` is the folder for files that the data set renders. Durations are those of `num_clips`
    clips, evenly spaced in the list. For each backbone in `token_limits`, the output states how many class names and
    captions have too many tokens. Raises ValueError under the conditions of index_clips.
    """
    dataset, clips, labels = list_dataset(name, options, media)
    output.mkdir(parents=True, exist_ok=True)
    absent, unlisted = missing_and_unlisted(clips, dataset)
    _write_classes(clips, labels, output / "classes.csv")
    _write_lines(absent, output / "absent.txt")
    _write_lines(unlisted, output / "unlisted.txt")
    skipped = dataset.skipped()
    _write_lines(skipped, output / "skipped.txt")

    def lines() -> Iterator[str]:
        yield from _count_lines(name, clips, labels)
        yield from _cut_lines(clips, labels, token_limits or {})
        for key, (number, published) in compare_sizes(clips, labels, dataset).items():
            yield f"{key}: {number} listed, {'as published' if number == published else f'{published} published'}"
        yield from (f"list {path}: sha256 {digest}" for path, digest in checksums(dataset).items())
        yield f"absent files: {_first_of(absent)}"
        yield f"files in no list: {_first_of(unlisted)}"
        yield f"folders and files that give no clip: {_first_of(skipped)}"
        yield from (f"warning: {names}" for names in equal_labels(labels))
        yield from _duplicate_lines(clips, set(absent), output / "duplicates.txt")
        if labels:
            sets = sorted((media.parent / "frames").glob("*/"))  # any of them
            shards = sorted(sets[0].glob("*.arrow")) if sets else []
            yield from _near_equal_lines(clips, shards, output / "near_equal.txt")
        yield from _measure_lines(evenly_spaced(clips, num_clips), options.frames)
        yield from _sheet_lines(_sample_classes(clips), options.frames, output / "sheet.png")
        yield f"all files: {output}"

    for line in lines():
        print(for_terminal(printable(line)), flush=True)


def _count_lines(name: str, clips: list[Clip], labels: list[str]) -> Iterator[str]:
    """Yield lines with the number of clips per split and per class, and the number and length of captions."""
    counts = Counter(clip.split for clip in clips)
    yield f"{name}: {len(clips)} clips: " + ", ".join(f"{split} {counts[split]}" for split in SPLITS)
    if labels:
        by_class = Counter((label, clip.split) for clip in clips for label in clip.classes)
        ranges = [f"{split} {_range(by_class[label, split] for label in labels)}" for split in SPLITS if counts[split]]
        yield f"{len(labels)} classes; clips per class (min / median / max): {', '.join(ranges)}"
        sizes = Counter(label for clip in clips for label in clip.classes)
        ordered = sorted(labels, key=lambda label: sizes[label])
        for size, some in (("smallest", ordered[:NUM_NAMED]), ("largest", ordered[: -NUM_NAMED - 1 : -1])):
            yield f"{size} classes: " + ", ".join(f"{label} {sizes[label]}" for label in some)
    captions = [len(clip.captions) for clip in clips if clip.captions]
    if captions:
        words = _range(len(caption.split()) for clip in clips for caption in clip.captions)
        yield f"captions: {sum(captions)}; per clip {_range(captions)}, words per caption {words} (min / median / max)"
    refused = Counter((clip.error or "").partition(":")[0] for clip in clips if clip.error)
    if refused:
        yield f"clips that must not be read: {_most_common(refused)}"


def _cut_lines(clips: list[Clip], labels: list[str], token_limits: TokenLimits) -> Iterator[str]:
    """Yield a warning for each backbone that reads fewer tokens than some class names or captions have."""
    texts = [*labels, *(caption for clip in clips for caption in clip.captions)]
    for backbone, (limit, count) in token_limits.items():
        cut = [text for text in texts if len(text.encode()) + 2 > limit and count(text) > limit]
        if cut:
            yield f"warning: {len(cut)} of {len(texts)} texts are longer than the {limit} tokens of {backbone}, which cuts their end: {cut[0]}"


def _write_classes(clips: list[Clip], labels: list[str], output: Path) -> None:
    counts = Counter((label, clip.split) for clip in clips for label in clip.classes)
    rows = ({"class": label, **{split: counts[label, split] for split in SPLITS}} for label in labels)
    write_csv(output, rows, ["class", *SPLITS])


def _write_lines(lines: Iterable[str], output: Path) -> None:
    output.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", errors="surrogateescape")


def _duplicate_lines(clips: list[Clip], absent: set[str], output: Path) -> Iterator[str]:
    """Yield lines about files that are unreadable, have clips in several splits, or are equal.

    The groups of equal files are written to `output`.
    """
    splits: dict[str, set[str]] = defaultdict(set)
    for clip in clips:
        if clip.error is None and os.path.abspath(clip.path) not in absent:
            splits[os.path.abspath(clip.path)].add(clip.split)
    groups, unreadable = find_duplicates(splits)
    if unreadable:
        yield f"files that cannot be read: {_first_of(sorted(unreadable))}"
    several = [f"{path} ({', '.join(sorted(names))})" for path, names in splits.items() if len(names) > 1]
    if several:
        yield f"files with clips in several splits: {_first_of(several)}"
    duplicates = [(sorted({split for path in group for split in splits[path]}), group) for group in groups]
    duplicates.sort(key=lambda duplicate: (-len(duplicate[0]), duplicate[1]))
    crossing = sum(len(names) > 1 for names, _ in duplicates)
    yield f"files equal to another: {sum(map(len, groups))} in {len(groups)} groups, {crossing} of them across splits"
    lines = [f"{', '.join(names)}: {' = '.join(group)}" for names, group in duplicates]
    yield from (f"  {line}" for line in lines[:NUM_NAMED])
    _write_lines(lines, output)


def _near_equal_lines(clips: list[Clip], shards: list[Path], output: Path) -> Iterator[str]:
    """Yield lines about test clips that look like training clips, and write all such pairs to `output`.

    This needs extracted frames; without them, the line states that the number is unknown.
    """
    if not shards:
        yield "test clips that look like training clips: unknown until the frames are extracted"
        return
    ids = {split: {clip.clip_id for clip in clips if clip.split == split} for split in ("train", "test")}
    pairs = near_equal(hash_clips(shards, ids["train"]), hash_clips(shards, ids["test"]))
    yield f"test clips that look like training clips: {len(pairs)}"
    lines = [f"{pair.train} ~ {pair.test} ({pair.bits:g} of 64 bits differ)" for pair in pairs]
    yield from (f"  {line}" for line in lines[:NUM_NAMED])
    _write_lines(lines, output)


def _measure_lines(clips: list[Clip], options: FrameOptions) -> Iterator[str]:
    """Yield lines with the durations and formats of these clips."""
    results = list(in_workers(measure, options, clips, "packets"))
    readable = [result for result in results if isinstance(result, Measured)]
    yield f"of {len(clips)} clips, evenly spaced, {len(readable)} can be read; min / median / max:"
    if readable:
        yield f"  seconds {_range(clip.duration_s for clip in readable)}"
        yield f"  frames {_range(clip.num_frames for clip in readable)}"
        yield f"  frames per second {_range(clip.num_frames / max(clip.duration_s, 1e-9) for clip in readable)}"
        yield f"  sizes {_most_common(Counter(clip.resolution for clip in readable))}"
        yield f"  codecs {_most_common(Counter(clip.codec for clip in readable))}"
        yield f"  variable frame rate: {sum(clip.vfr for clip in readable)}"
        ratios = Counter(f"{clip.pixel_aspect:.4g}" for clip in readable if clip.pixel_aspect != 1)
        if ratios:
            yield f"  pixels that are not square, width / height: {_most_common(ratios)}; aspect: {options.aspect}"
    bad = [f"{c.clip_id} ({r.reason})" for c, r in zip(clips, results, strict=True) if isinstance(r, NoResult)]
    if bad:
        yield f"  cannot be read: {_first_of(bad)}"


def _sheet_lines(clips: list[Clip], options: FrameOptions, output: Path) -> Iterator[str]:
    """Draw the contact sheet of these clips, then yield lines about how many could be decoded."""
    cells = []
    for clip, result in zip(clips, in_workers(read_cell, options, clips, "pictures"), strict=True):
        title = ", ".join(clip.classes) or (clip.captions[0] if clip.captions else clip.clip_id)
        cell = Cell("failed", result.reason) if isinstance(result, NoResult) else result
        cells.append((title, f"{clip.split}  {Path(clip.clip_id).name}", cell))
    draw_sheet(cells, output)
    yield f"pictures of {len(clips)} clips: {_most_common(Counter(cell.status for *_, cell in cells))}"
    bad = [f"{clip.clip_id} ({cell.error})" for clip, (*_, cell) in zip(clips, cells, strict=True) if cell.error]
    if bad:
        yield f"  not ok: {_first_of(bad)}"


def in_workers(function: Any, options: FrameOptions, clips: list[Clip], title: str) -> Iterator[Any]:
    """Yield the result of the function for each clip, computed in worker processes.

    If a process hangs or crashes, the result of that clip is a NoResult.
    """
    workers = max(1, min(len(clips), len(os.sched_getaffinity(0))))
    results = map_with_timeout(partial(function, options), clips, options.clip_limit_s, workers, preload=[__name__])
    return iter(tqdm(results, title, len(clips), unit="clip", disable=None, leave=False))


def evenly_spaced(clips: Sequence[Clip], number: int) -> list[Clip]:
    return [clips[i] for i in uniform_indices(len(clips), min(number, len(clips)))]


def _sample_classes(clips: list[Clip]) -> list[Clip]:
    """Return up to NUM_CELLS clips, equally many per class, or per split if there are no classes.

    If there are more than NUM_CELLS classes, some are left out.
    """
    groups: dict[str, list[Clip]] = defaultdict(list)
    for clip in clips:
        groups[clip.classes[0] if clip.classes else clip.split].append(clip)
    some = [list(groups.values())[i] for i in uniform_indices(len(groups), min(NUM_CELLS, len(groups)))]
    return [clip for group in some for clip in evenly_spaced(group, NUM_CELLS // len(some))]


def _range(values: Iterable[float]) -> str:
    numbers = list(values)
    return f"{min(numbers):.4g} / {statistics.median(numbers):.4g} / {max(numbers):.4g}"


def _most_common(counts: Counter[str]) -> str:
    others = f", {len(counts) - NUM_NAMED} others" if len(counts) > NUM_NAMED else ""
    return ", ".join(f"{value} ({count})" for value, count in counts.most_common(NUM_NAMED)) + others


def _first_of(items: Sequence[str]) -> str:
    """Return a text with the number of items and the first NUM_NAMED of them."""
    return (
        str(len(items))
        + (f": {', '.join(items[:NUM_NAMED])}" if items else "")
        + (", ..." if len(items) > NUM_NAMED else "")
    )

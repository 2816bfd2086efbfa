"""Survey a user's videos: classes and splits from the lists, lengths and read errors from a sample of files."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from kinetext.config.data import DatasetOptions
from kinetext.data.datasets.base import Clip
from kinetext.data.index import SPLITS, equal_labels, list_dataset
from kinetext.data.inspect import evenly_spaced, in_workers
from kinetext.data.lists import printable
from kinetext.data.measure import Measured, measure
from kinetext.video.pool import NoResult

MAX_MEASURED = 200  # clips whose length is read
MAX_NAMED = 3


@dataclass(frozen=True)
class Survey:
    """Facts about a user's clips, before any of them is decoded."""

    module: str  # folder or csv
    options: dict[str, Any]
    counts: dict[tuple[str | None, str], int]  # (class, split) -> clips
    labels: tuple[str, ...]  # empty if clips have captions
    seconds: tuple[float, ...] = ()  # lengths of the measured clips that can be read
    unreadable: tuple[str, ...] = ()  # of the measured clips: name and reason
    skipped: tuple[str, ...] = ()  # folders and files that give no clip, each with the reason
    warnings: tuple[str, ...] = ()

    def clips(self, split: str) -> int:
        """Return the number of clips in a split."""
        return sum(count for (_, name), count in self.counts.items() if name == split)

    @property
    def total(self) -> int:
        """The number of clips."""
        return sum(self.counts.values())

    @property
    def train_per_class(self) -> float:
        """The median number of training clips per class; the number of all training clips if clips have captions."""
        return median(self.counts.get((label, "train"), 0) for label in self.labels or (None,))

    @property
    def unreadable_share(self) -> float:
        """The fraction of the measured clips that cannot be read; 0 if none was measured."""
        measured = len(self.seconds) + len(self.unreadable)
        return len(self.unreadable) / measured if measured else 0.0


def survey(source: Path, root: Path | None = None) -> Survey:
    """Return a survey of a folder of class folders, or of a csv list of clips.

    `root` is the folder of the list's videos. Raises ValueError, with the remedy, if there is nothing to train on or to
    test, or only one class.
    """
    module, values = dataset_of(source, root)
    options = DatasetOptions(module=module, options=values)
    with TemporaryDirectory() as media:
        dataset, clips, labels = list_dataset("data", options, Path(media))
    counts = Counter((clip.label, clip.split) for clip in clips)
    splits = Counter(clip.split for clip in clips)
    for split in ("train", "test"):
        if not splits[split]:
            raise ValueError(
                f"{source}: has no clips of the split {split}; add some, for example {_example(module, split)}"
            )
    if labels and len(labels) < 2:
        raise ValueError(f"{source}: has the class '{labels[0]}' only; a comparison needs two classes or more")
    sample = evenly_spaced(clips, MAX_MEASURED)
    results = list(in_workers(measure, options.frames, sample, "lengths"))
    pairs = list(zip(sample, results, strict=True))
    return Survey(
        module,
        values,
        dict(counts),
        tuple(labels),
        tuple(result.duration_s for _, result in pairs if isinstance(result, Measured)),
        tuple(printable(f"{clip.clip_id} ({result.reason})") for clip, result in pairs if isinstance(result, NoResult)),
        tuple(map(printable, dataset.skipped())),
        tuple(warnings_of(clips, labels)),
    )


def dataset_of(source: Path, root: Path | None) -> tuple[str, dict[str, Any]]:
    """Return the module of data/datasets that reads a folder or a list, and the options of the module.

    Raises ValueError if the source does not exist, or if a root is passed with a folder.
    """
    if source.is_dir():
        if root is not None:
            raise ValueError(f"--root: is for a list of clips, and {source} is a folder; remove it")
        return "folder", {"root": str(source.absolute())}
    if not source.is_file():
        raise ValueError(f"{source}: there is no such folder or file; name a folder of class folders, or a csv list")
    values = {"root": str((root or source.parent).absolute()), "list": str(source.absolute())}
    delimiter = guess_delimiter(source)
    return "csv", values | ({"delimiter": delimiter} if delimiter != "," else {})


def guess_delimiter(path: Path) -> str:
    """Return the most frequent delimiter in the first line of a csv file."""
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        header = file.readline()
    return max(",\t;|", key=header.count)


def warnings_of(clips: list[Clip], labels: list[str]) -> Iterator[str]:
    """Yield warnings on equal class names, classes without test clips or with one training clip, and missing files."""
    yield from equal_labels(labels)
    counts = Counter((clip.label, clip.split) for clip in clips)
    for wrong, remedy in (
        ([label for label in labels if not counts[label, "test"]], "no test clips; their accuracy is unknown"),
        (
            [label for label in labels if counts[label, "train"] == 1],
            "one training clip; add some, or remove the class",
        ),
    ):
        if wrong:
            yield f"{len(wrong)} of {len(labels)} classes have {remedy}: {first_of(wrong)}"
    absent = [clip.clip_id for clip in clips if not clip.error and not clip.path.exists()]
    if absent:
        yield f"{len(absent)} of {len(clips)} listed files are absent: {first_of(absent)}; is the root right?"


def first_of(items: list[str] | tuple[str, ...]) -> str:
    """Return the first MAX_NAMED items, separated by commas."""
    return ", ".join(items[:MAX_NAMED]) + (", ..." if len(items) > MAX_NAMED else "")


def split_counts(counts: Survey) -> str:
    """Return the number of clips per split in words."""
    return ", ".join(f"{split} {counts.clips(split)}" for split in SPLITS)


def _example(module: str, split: str) -> str:
    return f"a folder {split}/CLASS/ with videos" if module == "folder" else f"rows with the split {split}"

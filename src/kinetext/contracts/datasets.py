"""Contract checks of data sets. The options of the data set should list only a few clips."""

from contextlib import redirect_stderr
from io import StringIO
from itertools import islice

from kinetext.config.data import DatasetOptions, FrameOptions
from kinetext.contracts import Case, require
from kinetext.core import plugins, tables
from kinetext.data.datasets.base import Clip, Dataset
from kinetext.data.frames import extract_clip
from kinetext.data.index import SPLITS, index_clips


def options_are_accepted(case: Case) -> None:
    """Check that the data set accepts the options, and the files that it lists exist."""
    dataset = _dataset(case)
    dataset.check()
    for path in dataset.list_files():
        require(path.is_file(), f"list_files names {path}, which does not exist")


def attributes_have_known_values(case: Case) -> None:
    """Check that `captioned` is True, False or None, and that the published sizes are numbers."""
    dataset = _dataset(case)
    require(dataset.captioned in (True, False, None), f"captioned is {dataset.captioned!r}; take True, False or None")
    for key, size in dataset.published().items():
        require(key in (*SPLITS, "classes"), f"published() has '{key}'; take {', '.join(SPLITS)} or classes")
        require(isinstance(size, int) and size >= 0, f"published() has {size!r} for {key}; take a number")


def clips_are_complete(case: Case) -> None:
    """Check that each clip has a unique id, a known split, and either a class or captions."""
    dataset, clips = _dataset(case), _clips(case)
    require(bool(clips), "list_clips yields nothing")
    ids = set()
    for clip in clips:
        require(isinstance(clip, Clip), f"list_clips yields a {type(clip).__name__}; take {Clip.__module__}.Clip")
        require(clip.clip_id not in ids, f"two clips have the id '{clip.clip_id}'")
        ids.add(clip.clip_id)
        require(clip.split in SPLITS, f"clip '{clip.clip_id}' has split '{clip.split}'; take {', '.join(SPLITS)}")
        require(
            not (clip.classes and clip.captions), f"clip '{clip.clip_id}' has a label and captions; give it one of them"
        )
        require(bool(clip.classes or clip.captions), f"clip '{clip.clip_id}' has neither label nor captions")
        several = "labels" if clip.label is None else "label"
        require(
            not clip.classes or (several == "labels") == dataset.multi_label,
            f"clip '{clip.clip_id}' has its class in `{several}`, and multi_label is {dataset.multi_label}",
        )
        if clip.start_s is not None and clip.end_s is not None:
            require(clip.start_s < clip.end_s, f"clip '{clip.clip_id}' ends at {clip.end_s} s, before it starts")
    require(any(clip.split == "train" for clip in clips), "no clip has split 'train'")


def clips_repeat(case: Case) -> None:
    """Check that listing the clips twice gives the same clips in the same order."""
    require(_clips(case) == _clips(case), "the second time the clips or their order are different")


def labels_are_consistent(case: Case) -> None:
    """Check that labels() lists each class once, and that clips and declared pairs have no other classes."""
    dataset, clips = _dataset(case), _clips(case)
    used = {label for clip in clips for label in clip.classes}
    labels = dataset.labels() or sorted(used)
    if dataset.captioned is not None:
        have = "labels" if labels else "captions"
        require(dataset.captioned == (not labels), f"captioned is {dataset.captioned}, and the clips have {have}")
    require(len(set(labels)) == len(labels), "labels() has a class twice")
    for label in sorted(used):
        require(label in labels, f"a clip has the label '{label}', which labels() lacks")
    for label, rival in dataset.declared_pairs():
        require(label != rival, f"declared_pairs() pairs '{label}' with itself")
        for one in (label, rival):
            require(one in labels, f"declared_pairs() has '{one}', which is not a class{plugins.nearest(one, labels)}")


def clips_can_be_indexed_and_read(case: Case) -> None:
    """Check that the clips can be indexed, and frames extracted from the first readable one."""
    output, media = case.folder / "clips.parquet", case.folder / "media"
    options = DatasetOptions(module=case.module, options=case.options)
    with redirect_stderr(StringIO()):
        index_clips("checked", options, output, case.folder / "shards.txt", media, case.folder / "cache")
    readable = (row for row in tables.read_rows("clips", output) if row["error"] is None)
    errors = []
    for row in islice(readable, 10):
        frames = extract_clip(row, FrameOptions(num_frames=2, size_px=32))
        if frames["status"] != "failed":
            require(len(frames["images"]) == 2, f"clip '{row['clip_id']}' gives {len(frames['images'])} frames of 2")
            return
        errors.append(f"'{row['clip_id']}': {frames['error']}")
    raise ValueError(
        f"none of the first {len(errors)} clips can be read, {errors[0] if errors else 'each has an error'}"
    )


CHECKS = (
    options_are_accepted,
    attributes_have_known_values,
    clips_are_complete,
    clips_repeat,
    labels_are_consistent,
    clips_can_be_indexed_and_read,
)


def _dataset(case: Case) -> Dataset:
    dataset: Dataset = case.cls(case.config)
    return dataset


def _clips(case: Case) -> list[Clip]:
    media = case.folder / "media"
    media.mkdir(exist_ok=True)
    return list(_dataset(case).list_clips(media))

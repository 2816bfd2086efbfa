"""Your own list, a csv file with a header: columns `path`, `split` (train, val, test) and `label` or `caption`; if need be
`start_s` and `end_s`, where the clip lies in its file, `clip_id`, its name, and `group`, what it was cut from or who is in it.

Paths start at the root. A clip may have several rows, a caption each: rows of the same clip_id, or without one of the
same path, start and end, are one clip. Classes are called as written, underscores read as spaces.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from pydantic import Field

from kinetext.core.plugins import Options, nearest
from kinetext.data.datasets import Clip
from kinetext.data.lists import Videos, known_class, need_folder, need_path, read_csv, seconds

SPLITS = ["train", "val", "test"]
CAPTIONED = None  # the list says


class Config(Options):
    """Where the videos and the list are."""

    root: str = Field(description="folder of the videos; paths in the list start here")
    list: str = Field(description="the csv file, UTF-8")
    delimiter: str = Field(",", min_length=1, max_length=1, description="what stands between two values, one character")


def check(config: Config) -> None:
    """Raise ValueError if the folder or the list is missing."""
    need_folder(config.root, "root")
    list_files(config)


def list_files(config: Config) -> list[Path]:
    """The list."""
    return [need_path(config.list, "list")]


def list_clips(config: Config, folder: Path) -> Iterator[Clip]:
    """The clips in the order of their first rows. Raises ValueError, with file and line, if a row is wrong, contradicts an
    earlier one, or tests a class that no clip trains, where any are trained.
    """
    (path,) = list_files(config)
    videos = Videos(need_folder(config.root, "root"))
    clips: dict[str, Clip] = {}
    lines: dict[str, int] = {}
    captioned: tuple[int, bool] | None = None
    for line, row in read_csv(path, "path", "split", delimiter=config.delimiter):
        clip = _clip(row, f"{path}:{line}", videos)
        captioned = captioned or (line, bool(clip.captions))
        if bool(clip.captions) != captioned[1]:
            raise ValueError(
                f"{path}:{line}: has a {'caption' if clip.captions else 'label'}, line {captioned[0]} has not; a list has "
                "labels or captions, not both"
            )
        first = clips.get(clip.clip_id)
        if first is None:
            clips[clip.clip_id], lines[clip.clip_id] = clip, line
        elif clip.label is not None or replace(first, captions=clip.captions) != clip:
            raise ValueError(
                f"{path}:{line}: clip '{clip.clip_id}' stands in line {lines[clip.clip_id]} already; only the captions of "
                "its rows may differ"
            )
        else:
            first.captions.extend(clip.captions)
    trained = {clip.label for clip in clips.values() if clip.split == "train" and clip.label is not None}
    for clip in clips.values():
        if trained and clip.label is not None:
            known_class(clip.label, trained, f"{path}:{lines[clip.clip_id]}", "the training clips")
        yield clip


def _clip(row: dict[str, str], place: str, videos: Videos) -> Clip:
    """The clip of one row."""
    path, split, label, caption, start, end, clip_id, group = (
        (row.get(column) or "").strip()
        for column in ("path", "split", "label", "caption", "start_s", "end_s", "clip_id", "group")
    )
    if not path:
        raise ValueError(f"{place}: path is empty; it must name a video below {videos.root}")
    if split not in SPLITS:
        raise ValueError(f"{place}: split is '{split}'{nearest(split, SPLITS)}")
    if bool(label) == bool(caption):
        raise ValueError(
            f"{place}: {'a label and a caption' if label else 'no label and no caption'}; give one of them"
        )
    start_s = seconds(start, place, "start_s") if start else None
    end_s = seconds(end, place, "end_s") if end else None
    if end_s is not None and end_s <= (start_s or 0):
        raise ValueError(f"{place}: end_s is {end}, not after the start; it must be")
    window = f":{start or 0}-{end}" if start or end else ""
    file, error = videos.find(path)
    name = " ".join(label.replace("_", " ").split()) or None
    captions = [caption] if caption else []
    return Clip(clip_id or path + window, file, split, name, captions, start_s, end_s, error, group or None)

"""List the clips of your own data set in a csv file with a header.

Columns: `path`, `split` (train, val, test) and `label` or `caption`. Optional: `start_s` and `end_s` (a segment of the
file), `clip_id`, `group` (the recording that the clip was cut from, or the person in it), and `kind` (the kind of motion,
by which accuracy is measured as well).

Paths are relative to the root. A clip may have several rows with one caption each. Rows are of one clip if they have
the same clip_id, or, without a clip_id, the same path, start and end. Underscores in labels are read as spaces.

With `multi_label: true` a clip has one label or several: in one row, separated by `label_separator` (`opening a
door|walking`), or in several rows of the clip, or both.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from pydantic import Field, model_validator

from kinetext.core.plugins import Options, nearest
from kinetext.data.datasets.base import Clip, Dataset
from kinetext.data.lists import known_class, need_folder, need_path, read_csv, seconds
from kinetext.data.videos import Videos

SPLITS = ["train", "val", "test"]


class CsvDataset(Dataset):
    """A data set that is listed in a CSV file."""

    class Config(Options):
        """The folder of the videos, the csv file, and how the file is read."""

        root: str = Field(description="folder of the videos; paths in the list start here")
        list: str = Field(description="the csv file, UTF-8")
        delimiter: str = Field(",", min_length=1, max_length=1, description="the character between two values")
        multi_label: bool = Field(False, description="whether a clip may have several labels")
        label_separator: str = Field(
            "|", min_length=1, description="between two labels of a clip in one row; no effect without multi_label"
        )

        @model_validator(mode="after")
        def _separators_differ(self) -> "CsvDataset.Config":
            if self.multi_label and self.delimiter in self.label_separator:
                raise ValueError(f"label_separator: contains the delimiter {self.delimiter!r}; choose another one")
            return self

    config: Config
    captioned = None

    def list_files(self) -> list[Path]:
        """Return the CSV file."""
        return [need_path(self.config.list, "list")]

    def list_clips(self, folder: Path) -> Iterator[Clip]:
        """Yield the clips in the order of their first rows.

        Raises ValueError, with file and line, if a row is wrong or contradicts an earlier one, or if a test clip has a
        class without training clips although other classes have some.
        """
        (path,) = self.list_files()
        clips, lines = self._read_clips(path)
        trained = {label for clip in clips.values() if clip.split == "train" for label in clip.classes}
        for clip in clips.values():
            for label in clip.classes if trained else ():
                known_class(label, trained, f"{path}:{lines[clip.clip_id]}", "the training clips")
            yield clip

    @property
    def multi_label(self) -> bool:
        """Return the option `multi_label`."""
        return self.config.multi_label

    def _read_clips(self, path: Path) -> tuple[dict[str, Clip], dict[str, int]]:
        """Return two dicts by clip_id: the clips, and the line number of the first row of each clip."""
        videos = Videos(need_folder(self.config.root, "root"))
        separator = self.config.label_separator if self.config.multi_label else None
        return _merge_rows(
            (line, _clip(row, f"{path}:{line}", videos, separator), path)
            for line, row in read_csv(path, "path", "split", delimiter=self.config.delimiter)
        )


def _merge_rows(rows: Iterable[tuple[int, Clip, Path]]) -> tuple[dict[str, Clip], dict[str, int]]:
    """Merge the rows (line, clip, file) of each clip.

    Return two dicts by clip_id: the clips, and the line numbers of their first rows. Raises ValueError if rows of one
    clip contradict each other, or if some rows have labels and others captions.
    """
    clips: dict[str, Clip] = {}
    lines: dict[str, int] = {}
    first: tuple[int, bool] | None = None  # line of the first row, whether it has a caption
    for line, clip, path in rows:
        first = first or (line, bool(clip.captions))
        if bool(clip.captions) != first[1]:
            raise ValueError(
                f"{path}:{line}: has a {'caption' if clip.captions else 'label'}, line {first[0]} has not; a list has "
                "labels or captions, not both"
            )
        earlier = clips.get(clip.clip_id)
        if earlier is None:
            clips[clip.clip_id], lines[clip.clip_id] = clip, line
        elif clip.label is not None or replace(earlier, captions=clip.captions, labels=clip.labels) != clip:
            raise ValueError(
                f"{path}:{line}: clip '{clip.clip_id}' is already in line {lines[clip.clip_id]}; rows of one clip may "
                "differ only in their captions, or in their labels with multi_label: true"
            )
        else:
            earlier.captions.extend(clip.captions)
            earlier.labels.extend(label for label in clip.labels if label not in earlier.labels)
    return clips, lines


def _clip(row: dict[str, str], where: str, videos: Videos, separator: str | None) -> Clip:
    """Return the clip of one row. With a `separator`, the clip has a list of labels.

    Raises ValueError if a value is wrong. `where` (file and line) is quoted in the message.
    """
    path, split, label, caption, start, end, clip_id, group, kind = (
        (row.get(column) or "").strip()
        for column in ("path", "split", "label", "caption", "start_s", "end_s", "clip_id", "group", "kind")
    )
    if not path:
        raise ValueError(f"{where}: path is empty; it must name a video below {videos.root}")
    if "\\" in path and path not in videos.names:
        raise ValueError(f"{where}: path is '{path}'; write / between folders, not \\")
    if split not in SPLITS:
        raise ValueError(f"{where}: split is '{split}'{nearest(split, SPLITS)}")
    if bool(label) == bool(caption):
        raise ValueError(
            f"{where}: {'a label and a caption' if label else 'no label and no caption'}; give one of them"
        )
    start_s = seconds(start, where, "start_s") if start else None
    end_s = seconds(end, where, "end_s") if end else None
    if end_s is not None and end_s <= (start_s or 0):
        raise ValueError(f"{where}: end_s is {end}, not after the start; it must be")
    segment = f":{start or 0}-{end}" if start or end else ""
    file, error = videos.find(path)
    names = [" ".join(name.replace("_", " ").split()) for name in (label.split(separator) if separator else [label])]
    names = list(dict.fromkeys(filter(None, names)))
    if separator and caption:
        raise ValueError(f"{where}: has a caption, but multi_label is true; remove the option, or give labels")
    if label and not names:
        raise ValueError(f"{where}: label is '{label}', which has no name; write it, or remove the row")
    clip = Clip(
        clip_id or path + segment, file, split, None, [], start_s, end_s, error, group or None, kind=kind or None
    )
    if caption:
        return replace(clip, captions=[caption])
    return replace(clip, labels=names) if separator else replace(clip, label=names[0])

"""Read your own videos from one folder per class: `root/{split}/{class}/*` or `root/{class}/*`.

The folders of the splits are train, val and test. Without them the clips of each class are split at random. The class
name is the folder name with underscores read as spaces; it should fit into a sentence.
"""

import random
import re
from collections.abc import Iterator
from pathlib import Path

from pydantic import Field, field_validator, model_validator

from kinetext.core.plugins import Options
from kinetext.data.datasets.base import Clip, Dataset
from kinetext.data.lists import known_class, need_folder
from kinetext.data.videos import is_video, refuse_loop

SPLITS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}


class FolderDataset(Dataset):
    """Videos sorted into class folders."""

    class Config(Options):
        """The folder of the videos, and how they are split if there are no split folders."""

        root: str = Field(description="folder of the class folders or of the folders train, val, test")
        seed: int = Field(0, ge=0, description="random seed of the split; no effect with folders train, val, test")
        val: float = Field(0.1, ge=0, lt=1, description="share of each class's clips for validation (random split)")
        test: float = Field(0.2, gt=0, lt=1, description="share for the test; at least one of three or more clips")
        group: str | None = Field(
            None,
            description="regular expression for file names; clips with the same match, or the same first group in "
            "parentheses, were cut from one recording and are never in two splits of the random split",
        )

        @field_validator("group")
        @classmethod
        def _compiles(cls, group: str | None) -> str | None:
            try:
                re.compile(group or "")
            except re.error as error:
                raise ValueError(f"'{group}' is not a regular expression: {error}") from None
            return group

        @model_validator(mode="after")
        def _leaves_training_clips(self) -> "FolderDataset.Config":
            if self.val + self.test >= 1:
                raise ValueError(f"val + test is {self.val + self.test:g}; keep it below 1 to leave training clips")
            return self

    config: Config

    def zero_validation_option(self) -> str | None:
        """Return None: a folder `val` may contain clips although the option `val` is zero."""
        return None

    def list_clips(self, folder: Path) -> Iterator[Clip]:
        """Yield a clip for each video below `root`, sorted by name. The clip_id is the path relative to `root`.

        Raises ValueError, with the path, if `root` is missing or has another layout, or if a class has no training
        clips although others have some.
        """
        clips = list(self._split_clips())
        trained = {clip.label for clip in clips if clip.split == "train" and clip.label is not None}
        for clip in clips:
            if trained and clip.label is not None:
                known_class(clip.label, trained, f"root: {clip.path.parent}", "the training clips")
            yield clip

    def skipped(self) -> list[str]:
        """Return class folders without a video and files that are not read as videos, each with the reason."""
        root = Path(self.config.root).expanduser()
        tops = _folders(root)
        with_splits = any(top.name.lower() in SPLITS for top in tops)
        classes = [folder for top in tops for folder in _folders(top)] if with_splits else tops
        empty = [folder for folder in classes if not any(is_video(path.name) for path in folder.iterdir())]
        outside = [path for folder in [root, *(tops if with_splits else [])] for path in _files(folder)]
        others = [path for folder in classes for path in _files(folder) if not is_video(path.name)]
        return [
            *(f"{folder.relative_to(root)}/ (a class folder without a video)" for folder in empty),
            *(f"{path.relative_to(root)} (not in a class folder)" for path in outside),
            *(f"{path.relative_to(root)} ({_why_not_read(path)})" for path in others),
        ]

    def _split_clips(self) -> Iterator[Clip]:
        """Yield each clip with its split: from the split folders, or at random if there are none."""
        need_folder(self.config.root, "root")
        root = Path(self.config.root).expanduser()
        tops = _folders(root)
        if not tops:
            raise ValueError(f"root: {root} has no folders; put the videos into one folder per class")
        splits = [top for top in tops if top.name.lower() in SPLITS]
        if splits and len(splits) < len(tops):
            other = next(top for top in tops if top not in splits)
            raise ValueError(
                f"root: {root} has the split folder {splits[0].name}/ beside {other.name}/; have either split folders "
                "or class folders there"
            )
        for top in splits:
            for label, videos in _classes(top):
                for video in videos:
                    yield self._clip(root, video, SPLITS[top.name.lower()], label)
        if splits:
            return
        classes = list(_classes(root))
        if self.config.group and not any(self._group(video) for _, videos in classes for video in videos):
            raise ValueError(f"group: '{self.config.group}' matches no file name in the class folders of {root}")
        split_of: dict[str, str] = {}  # by recording, which may have clips of several classes
        for label, videos in classes:
            recordings = [self._group(video) or str(video) for video in videos]
            new = list(dict.fromkeys(name for name in recordings if name not in split_of))
            split_of |= dict(zip(new, _random_splits(len(new), label, self.config), strict=True))
            for video, recording in zip(videos, recordings, strict=True):
                yield self._clip(root, video, split_of[recording], label)

    def _group(self, video: Path) -> str | None:
        """Return the recording that a video was cut from; None if `group` is not set or does not match."""
        match = re.search(self.config.group, video.name) if self.config.group else None
        return (match and (match[1] if match.re.groups else match[0])) or None

    def _clip(self, root: Path, video: Path, split: str, label: str) -> Clip:
        name = video.relative_to(root).as_posix()
        return Clip(name, video.absolute(), split, label, group=self._group(video))


def _classes(parent: Path) -> Iterator[tuple[str, list[Path]]]:
    """Yield each class below a folder with its videos, sorted by name."""
    folder_of: dict[str, Path] = {}
    for folder in _folders(parent):
        label = " ".join(folder.name.replace("_", " ").split())
        if not label:
            raise ValueError(f"root: {folder} names no class; rename it")
        if label in folder_of:
            raise ValueError(f"root: {folder_of[label]} and {folder} are both the class '{label}'; join them")
        folder_of[label] = folder
        deeper = _folders(folder)
        if deeper:
            raise ValueError(f"root: {deeper[0]} is a folder inside a class folder; put its videos into {folder}")
        yield label, sorted(path for path in folder.iterdir() if is_video(path.name))


def _folders(parent: Path) -> list[Path]:
    folders = sorted(path for path in parent.iterdir() if path.is_dir() and path.name[0] != ".")
    for folder in folders:
        if folder.is_symlink():
            refuse_loop(str(folder))
    return folders


def _why_not_read(path: Path) -> str:
    """Return why a file in a class folder is not read. A video with another suffix is recognised by its first bytes."""
    try:
        with path.open("rb") as file:
            start = file.read(12)
    except OSError:
        start = b""
    kinds = {"MP4": start[4:8] == b"ftyp", "AVI": start[:4] == b"RIFF" and start[8:12] == b"AVI "}
    kinds |= {"Matroska": start[:4] == b"\x1a\x45\xdf\xa3", "ASF": start[:4] == b"\x30\x26\xb2\x75"}
    kind = next((kind for kind, is_kind in kinds.items() if is_kind), None)
    return (
        f"a video, {kind} by its content, with a suffix of none; rename it"
        if kind
        else "its suffix is not that of a video"
    )


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if not path.is_dir() and path.name[0] != ".")


def _random_splits(num_clips: int, label: str, config: FolderDataset.Config) -> list[str]:
    """Return a random split for each clip of a class.

    The splits depend only on the number of clips, the class and the options.
    """
    num_test = min(max(round(config.test * num_clips), int(num_clips >= 3)), num_clips - 1)  # leave one to train on
    num_val = min(round(config.val * num_clips), max(num_clips - num_test - 1, 0))
    splits = ["test"] * num_test + ["val"] * num_val
    splits += ["train"] * (num_clips - len(splits))
    random.Random(f"{config.seed} {label}").shuffle(splits)  # seeded by class: no class's draw depends on another's
    return splits

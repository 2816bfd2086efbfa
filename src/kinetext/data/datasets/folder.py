"""Your own videos in one folder per class: `root/{split}/{class}/*` with splits train, val, test, or `root/{class}/*`.

Without split folders the clips of each class are split at random. A class is named as its folder, underscores read as
spaces: choose names that fit into a sentence.
"""

import random
from collections.abc import Iterator
from pathlib import Path

from pydantic import Field, model_validator

from kinetext.core.plugins import Options
from kinetext.data.datasets.base import Clip, Dataset
from kinetext.data.lists import is_video, need_folder

SPLITS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}


class FolderDataset(Dataset):
    """Videos sorted into class folders."""

    class Config(Options):
        """Where the videos are, and how they are split if no folders say so."""

        root: str = Field(description="folder of the class folders or of the folders train, val, test")
        seed: int = Field(0, ge=0, description="of the random split; no effect with folders train, val, test")
        val: float = Field(0.1, ge=0, lt=1, description="share of each class's clips for validation (random split)")
        test: float = Field(0.2, gt=0, lt=1, description="share for the test; at least one of three or more clips")

        @model_validator(mode="after")
        def _leaves_training_clips(self) -> "FolderDataset.Config":
            if self.val + self.test >= 1:
                raise ValueError(f"val + test is {self.val + self.test:g}; keep it below 1 to leave training clips")
            return self

    config: Config

    def list_clips(self, folder: Path) -> Iterator[Clip]:
        """Yield each video below `root`, sorted by name; its clip_id is its path relative to `root`.

        Raises ValueError, with the path, if `root` is missing or has another layout. A link that leads out of `root` is
        listed with an error.
        """
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
                    yield _clip(root, video, SPLITS[top.name.lower()], label)
        if not splits:
            for label, videos in _classes(root):
                for video, split in zip(videos, _random_splits(len(videos), label, self.config), strict=True):
                    yield _clip(root, video, split, label)


def _clip(root: Path, video: Path, split: str, label: str) -> Clip:
    error = None
    if not video.resolve().is_relative_to(root.resolve()):
        error = f"outside_root: a link to {video.resolve()}, out of {root}; copy the video or move the root"
    return Clip(video.relative_to(root).as_posix(), video.absolute(), split, label, error=error)


def _classes(parent: Path) -> Iterator[tuple[str, list[Path]]]:
    """Yield each class below a folder with its videos, sorted by name."""
    folder_of: dict[str, Path] = {}
    for folder in _folders(parent):
        label = " ".join(folder.name.replace("_", " ").split())
        if label in folder_of:
            raise ValueError(f"root: {folder_of[label]} and {folder} are both the class '{label}'; join them")
        folder_of[label] = folder
        deeper = _folders(folder)
        if deeper:
            raise ValueError(f"root: {deeper[0]} is a folder inside a class folder; put its videos into {folder}")
        yield label, sorted(path for path in folder.iterdir() if is_video(path.name))


def _folders(parent: Path) -> list[Path]:
    return sorted(path for path in parent.iterdir() if path.is_dir() and path.name[0] != ".")


def _random_splits(num_clips: int, label: str, config: FolderDataset.Config) -> list[str]:
    """Return a split for each clip of a class; it depends on the number of clips, the seed and the class only."""
    num_test = min(max(round(config.test * num_clips), int(num_clips >= 3)), num_clips - 1)  # leave one to train on
    num_val = min(round(config.val * num_clips), max(num_clips - num_test - 1, 0))
    splits = ["test"] * num_test + ["val"] * num_val
    splits += ["train"] * (num_clips - len(splits))
    random.Random(f"{config.seed} {label}").shuffle(splits)  # seeded by class: no class's draw depends on another's
    return splits

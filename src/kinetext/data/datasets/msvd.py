"""MSVD (Chen and Dolan 2011): YouTube clips with about 40 sentences each; at the test each sentence is a query of its own.

Files, as CLIP4Clip's msvd_data.zip has them: train_list.txt, val_list.txt, test_list.txt (a file's stem a line; stems may
begin with '-' and differ by case only), raw-captions.pkl (stem -> sentences, each a list of words), or instead of that
X-Pool's captions_msvd.json (stem -> sentences). Videos are `root/{stem}.avi`.
"""

import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import Field

from kinetext.core.plugins import Options
from kinetext.data.captions import Captions, captioned_clips, pick
from kinetext.data.datasets import Clip
from kinetext.data.lists import Videos, need_file, need_folder, read_json, read_lines

SPLITS = ("train", "val", "test")
HARMLESS = ("dict", "list", "tuple", "set", "frozenset", "str", "unicode")
CAPTIONED = True


class Config(Options):
    """Where videos and lists are."""

    root: str = Field(description="folder of the videos, {stem}.avi")
    annotations: str = Field(description="folder of the three lists and of raw-captions.pkl or captions_msvd.json")


def check(config: Config) -> None:
    """Raise ValueError if a folder or a list is missing."""
    need_folder(config.root, "root")
    list_files(config)


def list_files(config: Config) -> list[Path]:
    """The three lists and the captions."""
    folder = need_folder(config.annotations, "annotations")
    lists = [need_file(folder, f"{split}_list.txt") for split in SPLITS]
    return [*lists, need_file(folder, "raw-captions.pkl", "captions_msvd.json")]


def list_clips(config: Config, folder: Path) -> Iterator[Clip]:
    """The videos of the three lists, in their order."""
    *lists, file = list_files(config)
    said = _captions(file, _unpickled(file) if file.suffix == ".pkl" else read_json(file, dict))
    videos = Videos(need_folder(config.root, "root"))
    splits = {
        split: pick(said, (stem.strip() for _, stem in read_lines(path)))
        for split, path in zip(SPLITS, lists, strict=True)
    }
    yield from captioned_clips(splits, lambda stem: videos.find(f"{stem}.avi"), file.parent)


def published(config: Config) -> dict[str, int]:
    """The lists' sizes."""
    # collaborative-experts, misc/datasets/msvd/README.md; 1970 keys in X-Pool's captions_msvd.json
    return {"train": 1200, "val": 100, "test": 670}


class _Unpickler(pickle.Unpickler):
    """Reads containers and texts, and refuses all else: what a pickle names is imported, and may be run, while reading."""

    def find_class(self, module: str, name: str) -> Any:
        if module not in ("builtins", "__builtin__") or name not in HARMLESS:
            raise ValueError(f"asks for {module}.{name}, and captions need only containers and texts")
        return super().find_class(module, name)


def _unpickled(path: Path) -> Any:
    with path.open("rb") as file:
        try:
            return _Unpickler(file, encoding="utf-8", errors="replace").load()
        except Exception as error:  # a damaged pickle can raise anything
            raise ValueError(
                f"{path}: is no pickle of captions: {error}; take the file as published or use captions_msvd.json"
            ) from None


def _captions(path: Path, content: Any) -> Captions:
    """The sentences of each stem; lists of words are joined. Raises ValueError for anything else."""
    captions: Captions = {}
    for stem, sentences in content.items() if isinstance(content, dict) else [("the file", None)]:
        try:
            if not isinstance(sentences, list | tuple):
                raise TypeError
            captions[stem] = [said if isinstance(said, str) else " ".join(said) for said in sentences]
        except TypeError:
            raise ValueError(
                f"{path}: {stem}: no list of sentences; take the file as its authors published it"
            ) from None
    return captions

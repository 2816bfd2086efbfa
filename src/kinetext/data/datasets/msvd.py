"""MSVD (Chen and Dolan 2011): YouTube clips with about 40 sentences each. Each test sentence is a separate query.

Files, as in CLIP4Clip's msvd_data.zip: train_list.txt, val_list.txt, test_list.txt (one file stem per line; stems may
begin with '-' and may differ only by case) and raw-captions.pkl (stem -> sentences, each a list of words). Instead of
raw-captions.pkl, X-Pool's captions_msvd.json can be used (stem -> sentences). Videos are `root/{stem}.avi`.
"""

import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import Field

from kinetext.core.plugins import Options
from kinetext.data.captions import Captions, captioned_clips, select
from kinetext.data.datasets.base import Clip, Dataset
from kinetext.data.lists import need_file, need_folder, read_json, read_lines
from kinetext.data.videos import Videos

SPLITS = ("train", "val", "test")
HARMLESS = ("dict", "list", "tuple", "set", "frozenset", "str", "unicode")


class MSVD(Dataset):
    """MSVD: videos with many captions each."""

    class Config(Options):
        """Folders of videos and lists."""

        root: str = Field(description="folder of the videos, {stem}.avi")
        annotations: str = Field(description="folder of the three lists and of raw-captions.pkl or captions_msvd.json")

    config: Config
    captioned = True

    def list_files(self) -> list[Path]:
        """Return the paths of the training list, the validation list, the test list and the captions, in this order."""
        folder = need_folder(self.config.annotations, "annotations")
        lists = [need_file(folder, f"{split}_list.txt") for split in SPLITS]
        return [*lists, need_file(folder, "raw-captions.pkl", "captions_msvd.json")]

    def list_clips(self, folder: Path) -> Iterator[Clip]:
        """Yield the videos of the training list, the validation list and the test list, in this order."""
        *lists, file = self.list_files()
        captions = _captions(file, _unpickled(file) if file.suffix == ".pkl" else read_json(file, dict))
        videos = Videos(need_folder(self.config.root, "root"))
        splits = {
            split: select(captions, (stem.strip() for _, stem in read_lines(path)))
            for split, path in zip(SPLITS, lists, strict=True)
        }
        yield from captioned_clips(splits, lambda stem: videos.find(f"{stem}.avi"), file.parent)

    def published(self) -> dict[str, int]:
        """Return the published sizes of the three lists."""
        # collaborative-experts, misc/datasets/msvd/README.md; 1970 keys in X-Pool's captions_msvd.json
        return {"train": 1200, "val": 100, "test": 670}


class _Unpickler(pickle.Unpickler):
    """Load containers and texts only. A plain unpickler would import, and could run, any code that the file names."""

    def find_class(self, module: str, name: str) -> Any:
        if module not in ("builtins", "__builtin__") or name not in HARMLESS:
            raise ValueError(f"it needs {module}.{name}, but captions need only containers and texts")
        return super().find_class(module, name)


def _unpickled(path: Path) -> Any:
    with path.open("rb") as file:
        try:
            return _Unpickler(file, encoding="utf-8", errors="replace").load()
        except Exception as error:  # a damaged pickle can raise anything
            raise ValueError(
                f"{path}: not a pickle of captions ({error}); use the file as published or captions_msvd.json"
            ) from None


def _captions(path: Path, content: Any) -> Captions:
    """Return the sentences of each stem. Sentences that are lists of words are joined.

    Raises ValueError if the content has another structure.
    """
    captions: Captions = {}
    for stem, sentences in content.items() if isinstance(content, dict) else [("the file", None)]:
        try:
            if not isinstance(sentences, list | tuple):
                raise TypeError
            captions[stem] = [words if isinstance(words, str) else " ".join(words) for words in sentences]
        except TypeError:
            raise ValueError(f"{path}: {stem} has no list of sentences; use the file as published") from None
    return captions

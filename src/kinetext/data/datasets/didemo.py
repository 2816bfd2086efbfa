"""DiDeMo (Hendricks et al. 2017) as retrieval of a video by its paragraph: all descriptions, in the order of the file.

Files: train_data.json, val_data.json, test_data.json of github.com/LisaAnne/LocalizingMoments (a description each, with
`video` and `description`), and train_list.txt, val_list.txt, test_list.txt of collaborative-experts (a file name a line).
Videos are `root/{name}`; the suffix on disk may be another. The annotated moments are not used.
"""

import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from pydantic import Field

from kinetext.core.plugins import Options
from kinetext.data.captions import Captions, captioned_clips, pick, read_captions
from kinetext.data.datasets import Clip
from kinetext.data.lists import Videos, need_file, need_folder, read_json, read_lines

log = logging.getLogger(__name__)

SPLITS = ("train", "val", "test")
CAPTIONED = True


class Config(Options):
    """Where videos and lists are, and how much of a video is seen."""

    root: str = Field(description="folder of the videos, named as in the lists but for the suffix")
    annotations: str = Field(description="folder of the three lists and of the three JSON files")
    end_s: float | None = Field(
        31.0, gt=0, description="second at which a video ends: annotators saw 30, CLIP4Clip reads 31; null: all of it"
    )


def check(config: Config) -> None:
    """Raise ValueError if a folder or a list is missing."""
    need_folder(config.root, "root")
    list_files(config)


def list_files(config: Config) -> list[Path]:
    """The three lists, then the three files of descriptions."""
    folder = need_folder(config.annotations, "annotations")
    return [need_file(folder, f"{split}_{kind}") for kind in ("list.txt", "data.json") for split in SPLITS]


def list_clips(config: Config, folder: Path) -> Iterator[Clip]:
    """The videos of the three lists, in their order, one paragraph each."""
    files = list_files(config)
    splits: dict[str, Captions] = {}
    for split, names, descriptions in zip(SPLITS, files[:3], files[3:], strict=True):
        said = read_captions(descriptions, read_json(descriptions, list), "video", "description")
        splits[split] = pick(said, (name.strip() for _, name in read_lines(names)))
        unlisted = [video for video in said if video not in splits[split]]
        if unlisted:
            log.warning("%s: %d described videos are not in it, first %s", names, len(unlisted), unlisted[0])
    videos = Videos(need_folder(config.root, "root"))
    for clip in captioned_clips(splits, videos.find, files[0].parent, paragraph=True):
        yield replace(clip, end_s=config.end_s)


def published(config: Config) -> dict[str, int]:
    """The lists' sizes."""
    # collaborative-experts, misc/datasets/didemo/README.md, which says that the paper's training split has three more
    return {"train": 8392, "val": 1065, "test": 1004}

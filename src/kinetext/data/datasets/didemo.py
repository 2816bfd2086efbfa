"""DiDeMo (Hendricks et al. 2017) as paragraph-to-video retrieval: the descriptions of a video are joined in file order.

Files: train_data.json, val_data.json, test_data.json of github.com/LisaAnne/LocalizingMoments (objects with `video` and
`description`), and train_list.txt, val_list.txt, test_list.txt of collaborative-experts (one file name per line).
Videos are `root/{name}`, possibly with another suffix. The annotated moments are not used.
"""

import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from pydantic import Field

from kinetext.core.plugins import Options
from kinetext.data.captions import Captions, captioned_clips, read_captions, select
from kinetext.data.datasets.base import Clip, Dataset
from kinetext.data.lists import need_file, need_folder, read_json, read_lines
from kinetext.data.videos import Videos

log = logging.getLogger(__name__)

SPLITS = ("train", "val", "test")


class DiDeMo(Dataset):
    """DiDeMo for video-paragraph retrieval."""

    class Config(Options):
        """Folders of videos and lists, and the part of each video that is used."""

        root: str = Field(description="folder of the videos, named as in the lists except for the suffix")
        annotations: str = Field(description="folder of the three lists and of the three JSON files")
        end_s: float | None = Field(
            31.0,
            gt=0,
            description="second at which a video ends: annotators saw 30, CLIP4Clip reads 31; null: all of it",
        )

    config: Config
    captioned = True

    def list_files(self) -> list[Path]:
        """Return the paths of the train, val and test lists, then of the train, val and test descriptions."""
        folder = need_folder(self.config.annotations, "annotations")
        return [need_file(folder, f"{split}_{kind}") for kind in ("list.txt", "data.json") for split in SPLITS]

    def list_clips(self, folder: Path) -> Iterator[Clip]:
        """Yield the videos of the three lists in order, each with all descriptions joined to one caption."""
        files = self.list_files()
        splits: dict[str, Captions] = {}
        for split, names, descriptions in zip(SPLITS, files[:3], files[3:], strict=True):
            captions = read_captions(descriptions, read_json(descriptions, list), "video", "description")
            splits[split] = select(captions, (name.strip() for _, name in read_lines(names)))
            unlisted = [video for video in captions if video not in splits[split]]
            if unlisted:
                log.warning("%s: %d described videos are not in it, first %s", names, len(unlisted), unlisted[0])
        videos = Videos(need_folder(self.config.root, "root"))
        for clip in captioned_clips(splits, videos.find, files[0].parent, paragraph=True):
            yield replace(clip, end_s=self.config.end_s)

    def published(self) -> dict[str, int]:
        """Return the published numbers of videos."""
        # collaborative-experts, misc/datasets/didemo/README.md; it counts three more in the paper's training split
        return {"train": 8392, "val": 1065, "test": 1004}

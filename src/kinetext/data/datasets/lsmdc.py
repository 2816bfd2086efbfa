"""LSMDC 2016 (Rohrbach et al. 2017): film clips, each with what a describer says of it; names are SOMEONE.

Files, for which MPII gives permission: LSMDC16_annos_training.csv, LSMDC16_annos_val.csv and, for retrieval,
LSMDC16_challenge_1000_publictect.csv. They are tab-separated, without a header, quotes being text: clip_id, start and end
as aligned, start and end as cut out, sentence. Videos are `root/{movie}/{clip_id}.avi`, the movie being the clip_id up to
its first dot less three characters (the hours). A clip_id of several lines is one clip with several captions.
"""

from collections.abc import Iterator
from pathlib import Path

from pydantic import Field

from kinetext.core.plugins import Options
from kinetext.data.captions import Captions, captioned_clips
from kinetext.data.datasets import Clip
from kinetext.data.lists import Videos, need_file, need_folder, read_lines

FILES = {
    "train": "LSMDC16_annos_training.csv",
    "val": "LSMDC16_annos_val.csv",
    "test": "LSMDC16_challenge_1000_publictect.csv",
}
SKIPPED = "1012_Unbreakable_00.05.16.065-00.05.21.941"
CAPTIONED = True


class Config(Options):
    """Where videos and lists are."""

    root: str = Field(description="folder of the movies' folders")
    annotations: str = Field(description="folder of the three LSMDC16 csv files")
    skip_as_xpool: bool = Field(False, description=f"leave out clip {SKIPPED}, as X-Pool's code does without a reason")


def check(config: Config) -> None:
    """Raise ValueError if a folder or a list is missing."""
    need_folder(config.root, "root")
    list_files(config)


def list_files(config: Config) -> list[Path]:
    """The three lists."""
    folder = need_folder(config.annotations, "annotations")
    return [need_file(folder, name) for name in FILES.values()]


def list_clips(config: Config, folder: Path) -> Iterator[Clip]:
    """The clips of the three lists, each where its name first stands."""
    splits = {split: _read(path) for split, path in zip(FILES, list_files(config), strict=True)}
    if config.skip_as_xpool:
        for captions in splits.values():
            captions.pop(SKIPPED, None)
    videos = Videos(need_folder(config.root, "root"))
    yield from captioned_clips(splits, lambda clip_id: videos.find(_place(clip_id)), Path(config.annotations))


def published(config: Config) -> dict[str, int]:
    """The test list's size. Of the others the authors state only lines (101 079 and 7 408), and names repeat in them."""
    return {"test": 1000}  # the challenge's name; lines: the README of LSMDC 2016


def _read(path: Path) -> Captions:
    captions: Captions = {}
    for number, line in read_lines(path):
        if line.startswith('"'):  # no clip_id does: a spreadsheet put quotes around the line
            line = line[1:].removesuffix('"').replace('""', '"')
        fields = line.split("\t", 5)
        if len(fields) < 6:
            raise ValueError(
                f"{path}:{number}: {len(fields)} of 6 tab-separated fields; take the file as its authors published it"
            )
        captions.setdefault(fields[0].strip(), []).append(fields[5])
    return captions


def _place(clip_id: str) -> str:
    """Where a clip is: 1012_Unbreakable_00.05.16.065-00.05.21.941 in 1012_Unbreakable."""
    return f"{clip_id.split('.')[0][:-3]}/{clip_id}.avi"

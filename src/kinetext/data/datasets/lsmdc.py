"""LSMDC 2016 (Rohrbach et al. 2017): film clips with sentences from audio descriptions; names of people are SOMEONE.

The files need permission from MPII: LSMDC16_annos_training.csv, LSMDC16_annos_val.csv and, for retrieval,
LSMDC16_challenge_1000_publictect.csv. They are tab-separated and have no header; quotes in them are part of the text.
The columns are clip_id, aligned start and end, extracted start and end, and sentence. Videos are
`root/{movie}/{clip_id}.avi`. The movie is the part of the clip_id before its first dot, without the last three
characters (the hours). A clip_id in several lines is one clip with several captions.
"""

from collections.abc import Iterator
from pathlib import Path

from pydantic import Field

from kinetext.core.plugins import Options
from kinetext.data.captions import Captions, captioned_clips
from kinetext.data.datasets.base import Clip, Dataset
from kinetext.data.lists import need_file, need_folder, read_lines
from kinetext.data.videos import Videos

FILES = {
    "train": "LSMDC16_annos_training.csv",
    "val": "LSMDC16_annos_val.csv",
    "test": "LSMDC16_challenge_1000_publictect.csv",
}
SKIPPED = "1012_Unbreakable_00.05.16.065-00.05.21.941"


class LSMDC(Dataset):
    """LSMDC 2016: clips of films with captions."""

    class Config(Options):
        """Folders of videos and lists."""

        root: str = Field(description="folder of the movies' folders")
        annotations: str = Field(description="folder of the three LSMDC16 csv files")
        skip_as_xpool: bool = Field(False, description=f"leave out clip {SKIPPED}, as X-Pool's code does")

    config: Config
    captioned = True

    def list_files(self) -> list[Path]:
        """Return the paths of the training list, the validation list and the test list, in this order."""
        folder = need_folder(self.config.annotations, "annotations")
        return [need_file(folder, name) for name in FILES.values()]

    def list_clips(self, folder: Path) -> Iterator[Clip]:
        """Yield the clips of the training, validation and test list, in the order of their first lines."""
        splits = {split: _read(path) for split, path in zip(FILES, self.list_files(), strict=True)}
        if self.config.skip_as_xpool:
            for captions in splits.values():
                captions.pop(SKIPPED, None)
        videos = Videos(need_folder(self.config.root, "root"))
        lists = Path(self.config.annotations)
        yield from captioned_clips(splits, lambda clip_id: videos.find(_file_name(clip_id)), lists)

    def published(self) -> dict[str, int]:
        """Return the published number of test clips.

        For the other splits the authors publish numbers of lines, and a clip may have several lines.
        """
        return {"test": 1000}  # the challenge's name; lines (101 079 and 7 408): the README of LSMDC 2016


def _read(path: Path) -> Captions:
    captions: Captions = {}
    for number, line in read_lines(path):
        if line.startswith('"'):  # no clip_id does: a spreadsheet put quotes around the line
            line = line[1:].removesuffix('"').replace('""', '"')
        fields = line.split("\t", 5)
        if len(fields) < 6:
            raise ValueError(f"{path}:{number}: {len(fields)} of 6 tab-separated fields; use the file as published")
        captions.setdefault(fields[0].strip(), []).append(fields[5])
    return captions


def _file_name(clip_id: str) -> str:
    """Return the path of a clip: 1012_Unbreakable_00.05.16.065-00.05.21.941 is in the folder 1012_Unbreakable."""
    return f"{clip_id.split('.')[0][:-3]}/{clip_id}.avi"

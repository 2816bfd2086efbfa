"""MSR-VTT (Xu et al. 2016) in the split 1k-A (Yu et al. 2018, JSFusion), with 1 sentence per test video.

Training videos have 20 sentences each. Files, as in CLIP4Clip's msrvtt_data.zip: MSRVTT_data.json (`sentences`:
video_id, caption), MSRVTT_train.9k.csv or MSRVTT_train.7k.csv (video_id), MSRVTT_JSFUSION_test.csv (key, vid_key,
video_id, sentence). Videos are `root/{video_id}.mp4`, with the two official folders merged into one. 1k-A has no
validation split; papers choose on the test split.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from pydantic import Field

from kinetext.core.plugins import Options
from kinetext.data.captions import Captions, captioned_clips, read_captions, select
from kinetext.data.datasets.base import Clip, Dataset, set_aside
from kinetext.data.lists import need_file, need_folder, read_csv, read_json
from kinetext.data.videos import Videos


class MSRVTT(Dataset):
    """MSR-VTT with the test list 1k-A."""

    class Config(Options):
        """Folders of videos and lists, and which training list is used."""

        root: str = Field(description="folder of the videos, video0.mp4 to video9999.mp4")
        annotations: str = Field(description="folder of MSRVTT_data.json and the csv files")
        train: Literal["9k", "7k"] = Field(
            "9k", description="training list: 9k, as CLIP4Clip trains on, or 7k, a subset of 9k"
        )
        val_share: float = Field(
            0, ge=0, lt=1, description="share of the training videos for validation; 0: no validation"
        )
        seed: int = Field(
            0, ge=0, description="random seed for the choice of validation videos; no effect with val_share 0"
        )

    config: Config
    captioned = True

    def list_files(self) -> list[Path]:
        """Return the paths of the sentences, the training list and the test list, in this order."""
        folder = need_folder(self.config.annotations, "annotations")
        names = ("MSRVTT_data.json", f"MSRVTT_train.{self.config.train}.csv", "MSRVTT_JSFUSION_test.csv")
        return [need_file(folder, name) for name in names]

    def list_clips(self, folder: Path) -> Iterator[Clip]:
        """Yield training videos with all their sentences, then test videos with the one sentence of the test list."""
        sentences, train, test = self.list_files()
        captions = read_captions(sentences, read_json(sentences, dict).get("sentences"), "video_id", "caption")
        tested: Captions = {}
        for _, row in read_csv(test, "video_id", "sentence"):
            tested.setdefault(row["video_id"], []).append(row["sentence"])
        trained = select(captions, (row["video_id"] for _, row in read_csv(train, "video_id")))
        videos = Videos(need_folder(self.config.root, "root"))
        clips = captioned_clips(
            {"train": trained, "test": tested}, lambda video: videos.find(f"{video}.mp4"), sentences.parent
        )
        yield from set_aside(clips, self.config.val_share, self.config.seed)

    def published(self) -> dict[str, int]:
        """Return the sizes of the lists.

        The size of the training list is left out if some of its videos are used for validation.
        """
        # collaborative-experts, misc/datasets/msrvtt/README.md: 9000, 1000; rows of MSRVTT_train.7k.csv in X-Pool: 7010
        train = {"9k": 9000, "7k": 7010}[self.config.train]
        return {"test": 1000} if self.config.val_share else {"train": train, "test": 1000}

"""MSR-VTT (Xu et al. 2016) in the split 1k-A (Yu et al. 2018, JSFusion): 20 sentences a training video, one a test video.

Files, as CLIP4Clip's msrvtt_data.zip has them: MSRVTT_data.json (`sentences`: video_id, caption), MSRVTT_train.9k.csv or
MSRVTT_train.7k.csv (video_id), MSRVTT_JSFUSION_test.csv (key, vid_key, video_id, sentence). Videos are
`root/{video_id}.mp4`, those of both official folders together. 1k-A has no validation split; papers choose on the test.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from pydantic import Field

from kinetext.core.plugins import Options
from kinetext.data.captions import Captions, captioned_clips, pick, read_captions
from kinetext.data.datasets import Clip
from kinetext.data.lists import Videos, need_file, need_folder, read_csv, read_json, set_aside

CAPTIONED = True


class Config(Options):
    """Where videos and lists are, and which training list is meant."""

    root: str = Field(description="folder of the videos, video0.mp4 to video9999.mp4")
    annotations: str = Field(description="folder of MSRVTT_data.json and the csv files")
    train: Literal["9k", "7k"] = Field(
        "9k", description="training list: 9k, as CLIP4Clip trains on, or 7k, which is inside 9k"
    )
    val_share: float = Field(0, ge=0, lt=1, description="share of the training videos for validation; 0: no validation")
    seed: int = Field(0, ge=0, description="of which videos those are; no effect on val_share 0")


def check(config: Config) -> None:
    """Raise ValueError if a folder or a list is missing."""
    need_folder(config.root, "root")
    list_files(config)


def list_files(config: Config) -> list[Path]:
    """The sentences, the training list, the test pairs."""
    folder = need_folder(config.annotations, "annotations")
    names = ("MSRVTT_data.json", f"MSRVTT_train.{config.train}.csv", "MSRVTT_JSFUSION_test.csv")
    return [need_file(folder, name) for name in names]


def list_clips(config: Config, folder: Path) -> Iterator[Clip]:
    """Training videos with all their sentences, then test videos with the one of the test list."""
    sentences, train, test = list_files(config)
    said = read_captions(sentences, read_json(sentences, dict).get("sentences"), "video_id", "caption")
    tested: Captions = {}
    for _, row in read_csv(test, "video_id", "sentence"):
        tested.setdefault(row["video_id"], []).append(row["sentence"])
    splits = {"train": pick(said, (row["video_id"] for _, row in read_csv(train, "video_id"))), "test": tested}
    videos = Videos(need_folder(config.root, "root"))
    clips = captioned_clips(splits, lambda video: videos.find(f"{video}.mp4"), sentences.parent)
    yield from set_aside(clips, config.val_share, config.seed)


def published(config: Config) -> dict[str, int]:
    """The lists' sizes; the training list's only if nothing is set aside from it."""
    # collaborative-experts, misc/datasets/msrvtt/README.md: 9000 and 1000; rows of MSRVTT_train.7k.csv in X-Pool: 7010
    train = {"9k": 9000, "7k": 7010}[config.train]
    return {"test": 1000} if config.val_share else {"train": train, "test": 1000}

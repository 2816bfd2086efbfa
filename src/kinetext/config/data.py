"""Data sets and their frames as config.yaml describes them; protocols are defined in data/splits.py."""

import re
from typing import Any, Literal

from pydantic import Field, model_validator

from kinetext.config.base import Fraction
from kinetext.core.plugins import Options

# data/splits.py says what each means
PROTOCOL = re.compile(
    r"(?P<kind>supervised(?!_)|few_shot(?=_)|base_to_novel)(?:_(?P<shots>[1-9]\d*)(?:_draw(?P<draw>\d+))?)?"
    r"|zero_shot_from_(?P<source>.+)"
)


class FrameOptions(Options):
    """Which frames of a clip are kept, and how."""

    num_frames: int = Field(8, ge=1, le=512, description="frames per clip, T")
    size_px: int = Field(
        224, ge=16, le=1024, description="height and width after resizing the short side and centre crop"
    )
    crop: Literal["centre", "whole"] = Field(
        "centre",
        description="whole: the long side stays, for resized crops and several crops of a test clip; whoever asks for none sees "
        "the centre",
    )
    sampling: Literal["uniform", "uniform_time", "segment", "dense", "rate"] = Field(
        "uniform",
        description="uniform: centres of T equal segments (TSN, ECCV 2016); uniform_time: the same by time; segment: as "
        "STAN's released test code rounds them; dense: every `stride`-th frame around the middle; rate: `rate_fps` frames a "
        "second (CLIP4Clip), at most T",
    )
    stride: int = Field(16, ge=1, description="frames from one to the next under dense; 16 for T = 8 (AIM, ICLR 2023)")
    rate_fps: float = Field(1.0, gt=0, description="frames per second under rate")
    encoding: Literal["jpeg", "raw"] = Field(
        "jpeg", description="raw: RGB bytes, 7 times larger, exact; for small sets"
    )
    quality: int = Field(95, ge=50, le=100, description="JPEG quality; what it costs in grey levels: docs/data.md")
    chroma: Literal["444", "420"] = Field(
        "444", description="JPEG chroma subsampling; 420 is smaller and blurs colours"
    )
    clip_limit_s: float = Field(60.0, gt=0, description="seconds after which decoding a clip is given up")
    max_px: int = Field(
        40_000_000, ge=1, description="width x height over which a video is not decoded; 8K is 33 million"
    )
    max_duration_s: float = Field(7200.0, gt=0, description="seconds over which a video is not decoded")

    @property
    def frame_set(self) -> str:
        """Return the name of the folder of these frames: {size}-{resize mode}-{interpolation}."""
        return f"{self.size_px}-shortest-bicubic"  # as data/frames.py resizes

    @model_validator(mode="after")
    def _raw_is_square(self) -> "FrameOptions":
        if self.crop == "whole" and self.encoding == "raw":
            raise ValueError(
                "crop: whole frames are stored as JPEG, for raw bytes do not say their shape; take encoding: jpeg"
            )
        return self


class ProtocolOptions(Options):
    """What a data set says to the protocols."""

    novel: list[str] | Literal["half"] = Field(
        default_factory=list,
        description="classes without training clips under base_to_novel; half: those with the fewest training clips",
    )
    shots: dict[int, str] = Field(
        default_factory=dict, description="K -> a file that lists the training clips of K-shot protocols; else a draw"
    )


class DatasetOptions(ProtocolOptions):
    """A data set: a module of data/datasets and its options."""

    module: str | None = Field(None, description="module of data/datasets; absent: the data set's own name")
    options: dict[str, Any] = Field(default_factory=dict, description="the module's Config")
    frames: FrameOptions = FrameOptions()
    shard_clips: int = Field(1000, ge=1, description="clips per frame shard: one job each (video.md 3)")
    exclude: str | None = Field(None, description="a file of clip ids, one a line, that are left out of the data set")
    max_failed: Fraction = Field(0.05, description="stop before training when a larger share of clips has no frames")

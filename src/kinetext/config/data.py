"""Options of data sets and their frames; data/splits.py defines the protocols."""

import re
from typing import Any, Literal

from pydantic import Field, model_validator

from kinetext.config.base import Fraction
from kinetext.core.plugins import Options

PROTOCOL = re.compile(
    r"(?P<kind>supervised(?!_)|few_shot(?=_)|base_to_novel)(?:_(?P<shots>[1-9]\d*)(?:_draw(?P<draw>\d+))?)?"
    r"|zero_shot_from_(?P<source>.+)"
)


class FrameOptions(Options):
    """Which frames of a clip are stored, and how."""

    num_frames: int = Field(8, ge=1, le=512, description="frames per clip, T")
    size_px: int = Field(
        224, ge=16, le=1024, description="height and width in pixels, after resizing the short side and a centre crop"
    )
    crop: Literal["centre", "whole"] = Field(
        "centre",
        description="centre: store the centre crop; whole: store the whole frame, which random resized crops and several test "
        "crops need (without them the centre is used)",
    )
    sampling: Literal["uniform", "uniform_time", "segment", "dense", "rate"] = Field(
        "uniform",
        description="uniform: centres of T equal segments (TSN, ECCV 2016); uniform_time: the same in time instead of frame "
        "numbers; segment: uniform, rounded as in STAN's released test code; dense: every `stride`-th frame around the "
        "middle; rate: `rate_fps` frames per second, at most T (CLIP4Clip)",
    )
    stride: int = Field(16, ge=1, description="step between frames for dense sampling; 16 for T = 8 (AIM, ICLR 2023)")
    rate_fps: float = Field(1.0, gt=0, description="frames per second for rate sampling")
    encoding: Literal["jpeg", "raw"] = Field(
        "jpeg", description="raw: RGB bytes, lossless and 7 times larger; for small data sets"
    )
    quality: int = Field(95, ge=50, le=100, description="JPEG quality; docs/data.md has the error in grey levels")
    chroma: Literal["444", "420"] = Field(
        "444", description="JPEG chroma subsampling; 420 makes smaller files and blurs colours"
    )
    clip_limit_s: float = Field(60.0, gt=0, description="time limit for decoding a clip, seconds")
    max_px: int = Field(
        40_000_000,
        ge=1,
        description="largest width x height of a video, pixels; larger ones are skipped (8K has 33 million)",
    )
    max_duration_s: float = Field(7200.0, gt=0, description="longest video, seconds; longer ones are skipped")

    @property
    def frame_set(self) -> str:
        """Return the name of the folder of these frames: {size}-{resize mode}-{interpolation}."""
        return f"{self.size_px}-shortest-bicubic"  # as data/frames.py resizes

    @model_validator(mode="after")
    def _raw_is_square(self) -> "FrameOptions":
        if self.crop == "whole" and self.encoding == "raw":
            raise ValueError("crop: whole frames differ in shape, which raw bytes do not record; set encoding: jpeg")
        return self


class ProtocolOptions(Options):
    """What protocols need to know about a data set."""

    novel: list[str] | Literal["half", "vificlip"] = Field(
        default_factory=list,
        description="novel classes, without training clips, under base_to_novel; half: the half with the fewest training and "
        "validation clips; vificlip: ViFi-CLIP's, for HMDB51, UCF101, SSv2 and Kinetics-400",
    )
    shots: dict[int, str] = Field(
        default_factory=dict,
        description="K -> file that lists the training clips of the K-shot protocol; without one they are drawn",
    )


class DatasetOptions(ProtocolOptions):
    """A data set: its module and the module's options."""

    module: str | None = Field(None, description="module of data/datasets; absent: the data set's own name")
    options: dict[str, Any] = Field(default_factory=dict, description="options of the module")
    frames: FrameOptions = Field(FrameOptions(), description="which frames of a clip are stored, and how")
    shard_clips: int = Field(1000, ge=1, description="clips per frame shard; one job decodes one shard")
    exclude: str | None = Field(None, description="file of clip ids to leave out, one per line")
    max_failed: Fraction = Field(
        0.05, description="largest share of clips without frames; above it the workflow stops before training"
    )

"""Options of data sets and their frames; data/splits.py defines the protocols."""

import re
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from kinetext.config.base import Fraction
from kinetext.core.plugins import Options

PROTOCOL = re.compile(
    r"(?P<kind>supervised(?!_)|few_shot(?=_)|base_to_novel)(?:_(?P<shots>[1-9]\d*)(?:_draw(?P<draw>\d+))?)?"
    r"|zero_shot_from_(?P<source>.+)"
)


def draw_name(protocol: str) -> str:
    """Return the name of a protocol with the number of its draw: few_shot_4 becomes few_shot_4_draw0.

    Protocols without K shots, and names that have a draw, do not change.
    """
    match = PROTOCOL.fullmatch(protocol)
    return f"{protocol}_draw0" if match and match["shots"] and match["draw"] is None else protocol


def source_dataset(protocol: str) -> str | None:
    """Return the data set on which the protocol zero_shot_from_DATASET trains; None for other protocols.

    All data sets under such a protocol test the same trainings: one for each seed of a row.
    """
    match = PROTOCOL.fullmatch(protocol)
    return match["source"] if match else None


class FrameOptions(Options):
    """Which frames of a clip are stored, and how."""

    num_frames: int = Field(8, ge=1, le=512, description="frames per clip, T")
    size_px: int = Field(
        224,
        ge=16,
        le=1024,
        description="height and width in pixels; a data set that does not set it has the input size of each backbone, and "
        "backbones with equal size_px, resize_mode and interpolation share their frames",
    )
    resize_mode: Literal["shortest", "squash"] = Field(
        "shortest",
        description="shortest: resize the short side and crop, as for CLIP; squash: resize both sides to size_px without a crop, as "
        "for SigLIP and PE-Core; a data set that does not set it has the mode of each backbone",
    )
    interpolation: Literal["bicubic", "bilinear"] = Field(
        "bicubic",
        description="interpolation when frames are resized, with antialiasing (bilinear: PE-Core, MobileCLIP); a data set that does "
        "not set it has that of each backbone",
    )
    crop: Literal["centre", "whole"] = Field(
        "centre",
        description="centre: store the centre crop; whole: store the whole frame, which random resized crops and several test "
        "crops need (without them the centre is used)",
    )
    aspect: Literal["display", "storage"] = Field(
        "display",
        description="for videos whose pixels are not square; display: stretch frames to the width that players show; storage: "
        "take the pixels as they are stored",
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
        """Return the folder name of a set of stored frames: {size}-{resize mode}-{interpolation}."""
        return f"{self.size_px}-{self.resize_mode}-{self.interpolation}"

    def with_defaults(self, **values: Any) -> "FrameOptions":
        """Return the options with `values` for those that the configuration does not set.

        Raises ValueError if they contradict the others.
        """
        missing = {name: value for name, value in values.items() if name not in self.model_fields_set}
        return type(self)(**{**self.model_dump(), **missing})

    @model_validator(mode="after")
    def _raw_is_square(self) -> "FrameOptions":
        if self.crop == "whole" and self.encoding == "raw":
            raise ValueError("crop: whole frames differ in shape, which raw bytes do not record; set encoding: jpeg")
        if self.crop == "whole" and self.resize_mode == "squash":
            raise ValueError(
                "crop: whole keeps the shape of frames, and resize_mode: squash does not; set crop: centre"
            )
        return self


class ProtocolOptions(Options):
    """Properties of a data set on which protocols depend."""

    novel: list[str] | Literal["half", "vificlip"] = Field(
        default_factory=list,
        description="novel classes, without training clips, under base_to_novel; half: the half with the fewest training and "
        "validation clips; vificlip: ViFi-CLIP's, for HMDB51, UCF101, SSv2 and Kinetics-400",
    )
    shots: dict[str, str] = Field(
        default_factory=dict,
        description="protocol -> file that lists its training clips, e.g. few_shot_4_draw1; if none of the draws of a protocol "
        "has a list, clips are drawn, and if some have, a draw without one is refused",
    )

    @field_validator("shots", mode="before")
    @classmethod
    def _are_lists_of_draws(cls, shots: Any) -> Any:
        """Refuse keys that are not a protocol with K shots, and two keys for a draw (few_shot_4, few_shot_4_draw0)."""
        if not isinstance(shots, dict):
            return shots
        for protocol in shots:
            match = PROTOCOL.fullmatch(str(protocol))
            if not (match and match["shots"]):
                raise ValueError(f"'{protocol}' is no protocol with K shots; name one, e.g. few_shot_4_draw1: list.txt")
        draws = [draw_name(protocol) for protocol in shots]
        if len(set(draws)) < len(draws):
            raise ValueError("two lists of one draw: a protocol without _draw is its draw 0")
        return shots

    def shot_list(self, protocol: str) -> str | None:
        """Return the file that lists the training clips of a protocol, or None if the clips are drawn at random.

        Raises ValueError if only other draws of the protocol have lists.
        """
        lists = {draw_name(name): path for name, path in self.shots.items()}
        draw = draw_name(protocol)
        stem = draw.rpartition("_draw")[0]
        listed = sorted(name for name in lists if stem and name.rpartition("_draw")[0] == stem)
        if listed and draw not in lists:
            raise ValueError(f"shots: {draw} has no list, but there are lists for {', '.join(listed)}; add one")
        return lists.get(draw)


class DatasetOptions(ProtocolOptions):
    """A data set: its module, and the options of the module."""

    module: str | None = Field(None, description="module of data/datasets; absent: the data set's own name")
    options: dict[str, Any] = Field(default_factory=dict, description="options of the module")
    frames: FrameOptions = Field(FrameOptions(), description="which frames of a clip are stored, and how")
    shard_clips: int = Field(1000, ge=1, description="clips per frame shard; one job decodes one shard")
    exclude: str | None = Field(None, description="file of clip ids to leave out, one per line")
    links: Literal["refuse", "follow"] = Field(
        "refuse", description="links that lead out of the root: refuse (such clips fail with the reason) | follow"
    )
    detect_changes: Literal["stat", "content"] = Field(
        "stat",
        exclude_if=lambda value: value == "stat",  # keeps indexes from before this option existed
        description="how doctor and the preflight notice a changed video: stat: by size and modification time; content: also "
        "by a hash, for which every video is read whole",
    )
    max_failed: Fraction = Field(
        0.05, description="largest share of clips without frames; above it the workflow stops before training"
    )

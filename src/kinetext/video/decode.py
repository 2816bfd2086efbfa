"""Decode the wanted frames of a clip. The pixels are identical to those of decoding the whole file.

The file is demuxed once without decoding, and the wanted frames are found by counting packets, because headers are
unreliable. If container and codec allow it, only the groups of pictures (GOPs) with a wanted frame are decoded, without
frames that no other frame refers to. Otherwise, or if anything is unexpected, everything is decoded from the first
packet to the last.

Decoders conceal damage silently, and concealed errors spread to the frames that refer to damaged ones. After an error,
all packets up to the next entry point, in decode order, therefore count as tainted, and the nearest untainted frame is
taken instead. No function raises for a bad video: the result is a Decoded with the reason.

PyAV's logging keeps its defaults: av.logging.set_level together with threads can deadlock on close.
"""

import statistics
from bisect import bisect_left
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from kinetext.video.container import MOV, QUICK, UnusableError, has_quick_header, open_video, select_stream
from kinetext.video.demux import Video, count_without_edit_list, demux, too_long
from kinetext.video.integrity import find_break
from kinetext.video.passes import Image, ImageCollector, decode_all, decode_gops, display_order, nearest_untainted

LIMIT_PX = 40_000_000  # width * height; 8K is 33 million

Choose = Callable[[Sequence[float]], list[int]]
Resize = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Decoded:
    """A decoded clip: its frames, and its values for the table `frames`. It has no frames if `status` is "failed"."""

    status: str
    error: str | None = None
    frames_HWC: list[np.ndarray] = field(default_factory=list)  # uint8 RGB, as displayed
    frame_indices: list[int] = field(default_factory=list)  # in display order, from the file's first frame
    timestamps_s: list[float] = field(default_factory=list)  # from the file's first frame
    width_px: int | None = None  # as displayed
    height_px: int | None = None
    num_packets: int | None = None
    num_substituted: int | None = None
    rotation_deg: int | None = None
    pixel_aspect: float | None = None  # as the file declares
    vfr: bool | None = None
    codec: str | None = None
    stream: int | None = None  # index in the file


def decode_clip(
    path: Path,
    choose: Choose,
    start_s: float | None = None,
    end_s: float | None = None,
    resize: Resize = lambda frames_THWC: frames_THWC,
    limit_px: int = LIMIT_PX,
    limit_s: float | None = None,
    aspect: str = "display",
) -> Decoded:
    """Decode the frames of a clip that `choose` selects.

    `choose` gets the times of the clip's frames in seconds and returns indices in ascending order, possibly with
    repeats. The clip has the frames with start_s <= time < end_s. These are times of the file: 0 is the start of the
    container, which may be before the first frame. `resize` is applied to a few frames at a time, uint8 [T, H, W, 3],
    so that large frames are not all in memory. With `aspect` `storage`, frames whose pixels are not square are not
    stretched. Frames of more than `limit_px` pixels and clips of more than `limit_s` seconds are not decoded. Errors in
    the video are not raised; they are in `status` and `error`.
    """
    request = _Request(path, choose, start_s, end_s, resize, limit_px, limit_s, aspect)
    # a quick opening saves up to a tenth, but does not know where the file starts; after any surprise all is done again
    if request.whole_file and has_quick_header(path):
        with suppress(UnusableError), open_video(path, QUICK) as container:
            return _decode(request, container, gops_only=True)
    try:
        with open_video(path) as container:
            return _decode(request, container, gops_only=False)
    except UnusableError as error:
        return Decoded("failed", str(error))


@dataclass(frozen=True)
class _Request:
    """The arguments of decode_clip."""

    path: Path
    choose: Choose
    start_s: float | None
    end_s: float | None
    resize: Resize
    limit_px: int
    limit_s: float | None
    aspect: str

    @property
    def whole_file(self) -> bool:
        return self.start_s is None and self.end_s is None

    def select(self, times_s: list[float], first_s: float) -> tuple[range, list[int]]:
        """Return the ranks of all frames of the clip, and the ranks of the wanted frames.

        `first_s` is the time of the first frame in the file. Raises UnusableError if the clip has no frame or is too
        long.
        """
        window = window_ranks(times_s, first_s, self.start_s, self.end_s)
        length_s = times_s[window[-1]] - times_s[window[0]]
        if self.limit_s is not None and length_s > self.limit_s:
            raise too_long(length_s, self.limit_s)
        return window, [window.start + index for index in self.choose(times_s[window.start : window.stop])]

    def collector(self, video: Video) -> ImageCollector:
        return ImageCollector(video, self.resize, self.limit_px, self.aspect)


@dataclass(frozen=True)
class _Selection:
    """The frames of a clip by rank: all (`window`), the wanted ones, and those `taken`, which may replace damaged ones.

    `images` has the taken frames by rank.
    """

    times_s: list[float]
    window: range
    wanted: list[int]
    taken: list[int]
    images: dict[int, Image]

    @property
    def num_substituted(self) -> int:
        return sum(a != b for a, b in zip(self.taken, self.wanted, strict=True))


def _decode(request: _Request, container: Any, gops_only: bool) -> Decoded:
    """Return the result of `decode_clip`.

    Raises UnusableError if the clip cannot be decoded. With `gops_only`, UnusableError is also raised if everything has
    to be decoded, because that needs a fully opened container.
    """
    stream = select_stream(container, request.limit_px)
    video = demux(
        container, stream, request.limit_s if request.whole_file else None
    )  # a segment of a long file is short
    window, ranks = request.select(video.times_s, video.start_s)
    images = decode_gops(video, ranks, request.collector(video)) if video.by_gop else None
    if images is not None:
        selection = _Selection(video.times_s, window, ranks, ranks, images)
    elif gops_only:
        raise UnusableError("not_by_gop: everything has to be decoded")
    else:
        selection = _decode_sequentially(request, video)
    reasons = _reasons(request.path, container.format.name, stream.frames, video, selection)
    first = selection.images[selection.taken[0]]
    return Decoded(
        status=next(iter(reasons), "ok"),
        error="; ".join(reasons.values()) or None,
        frames_HWC=[selection.images[rank].frame_HWC for rank in selection.taken],
        frame_indices=selection.taken,
        timestamps_s=[selection.times_s[rank] for rank in selection.taken],
        width_px=first.width_px,
        height_px=first.height_px,
        num_packets=len(video.packets),
        num_substituted=selection.num_substituted,
        rotation_deg=first.rotation_deg,
        pixel_aspect=video.pixel_aspect,
        vfr=is_vfr(selection.times_s),
        codec=video.codec,
        stream=video.stream,
    )


def _decode_sequentially(request: _Request, video: Video) -> _Selection:
    """Decode everything. Decode a second time if damage or hidden frames change which frames are taken."""
    times_s = video.times_s
    window, ranks = request.select(times_s, video.start_s)
    positions, decoded_times_s, images = decode_all(video, set(ranks), request.collector(video))
    if video.bad:
        video.order = display_order(video, positions)
        taken = nearest_untainted(video, positions, window, ranks)
        arrivals = {rank: positions.index(video.order[rank]) for rank in taken}
        _, _, images = decode_all(video, set(arrivals.values()), request.collector(video))
        return _Selection(times_s, window, ranks, taken, {rank: images[at] for rank, at in arrivals.items()})
    if len(positions) != len(video.order):  # hidden or skipped pictures: count the shown ones
        times_s = decoded_times_s
        window, ranks = request.select(times_s, video.start_s)
        _, _, images = decode_all(video, set(ranks), request.collector(video))
    return _Selection(times_s, window, ranks, ranks, images)


def _reasons(path: Path, container: str, header_frames: int, video: Video, selection: _Selection) -> dict[str, str]:
    """Return what is wrong with a clip, as {status: message} with the worst status first."""
    reasons = {}
    if container == MOV and len(video.packets) < header_frames:
        # an edit list hides frames of intact files, too; what is missing without it is not in the file
        present = count_without_edit_list(path, video.stream)
        if present < header_frames:
            reasons["truncated"] = f"{present} of {header_frames} frames are in the file"
    if video.bad:
        replaced = f"{selection.num_substituted} of {len(selection.wanted)} frames replaced"
        reasons["damaged"] = f"{len(video.bad)} damaged packets, {replaced}"
    if file_break := find_break(path, container):
        status, message = file_break
        reasons[status] = "; ".join(filter(None, [reasons.get(status), message]))
    if len(selection.window) < len(selection.wanted):
        reasons["short"] = f"{len(selection.window)} frames for {len(selection.wanted)}, some repeated"
    return reasons


def window_ranks(times_s: list[float], first_s: float, start_s: float | None, end_s: float | None) -> range:
    """Return the ranks of the frames with start_s <= file time < end_s, with a tolerance of a microsecond.

    `times_s` are relative to the first frame, which is at the file time `first_s`. Raises UnusableError if no frame is
    in this range.
    """
    first = 0 if start_s is None else bisect_left(times_s, start_s - first_s - 1e-6)
    last = len(times_s) if end_s is None else bisect_left(times_s, end_s - first_s - 1e-6)
    if first >= last:
        raise UnusableError(
            f"no_frame: none from {start_s} to {end_s} s; the last one is at {first_s + times_s[-1]:.3f} s"
        )
    return range(first, last)


def is_vfr(times_s: list[float]) -> bool:
    """Return whether the frame rate is variable.

    It is if the 95th percentile of the times between frames is more than 1.5 times the 5th percentile.
    """
    if len(times_s) < 3:
        return False
    steps_s = (later - earlier for earlier, later in pairwise(times_s))
    low, *_, high = statistics.quantiles(steps_s, n=20, method="inclusive")
    return high > 1.5 * low

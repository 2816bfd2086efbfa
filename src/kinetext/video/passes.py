"""Run the decoder over the packets of a video: over some groups of pictures (GOPs), or over all packets."""

from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import av
import numpy as np

from kinetext.video.bitstream import is_zeroed
from kinetext.video.container import ALLOCATE, UnusableError
from kinetext.video.demux import Video, position_of, tag_packets
from kinetext.video.orientation import orientation_of

BATCH_BYTES = 2**22  # frames resized in one call, at most; a single one may be larger


@dataclass(frozen=True)
class Image:
    """A displayed and resized frame, with its size before resizing."""

    frame_HWC: np.ndarray
    width_px: int
    height_px: int
    rotation_deg: int


class ImageCollector:
    """Collect the wanted frames of a pass. Several are resized at a time, which is faster than one by one."""

    def __init__(
        self, video: Video, resize: Callable[[np.ndarray], np.ndarray], limit_px: int, aspect: str = "display"
    ) -> None:
        self._video, self._resize, self._limit_px, self._aspect = video, resize, limit_px, aspect
        self._waiting: dict[int, tuple[np.ndarray, int]] = {}  # frame, rotation in degrees; all of one shape
        self._done: dict[int, Image] = {}

    def add(self, key: int, frame: Any) -> None:
        """Add a frame of the decoder under a key. Raises UnusableError if it has more than `limit_px` pixels."""
        ratio = self._video.pixel_aspect if self._aspect == "display" else 1.0
        width_px = max(1, round(frame.width * ratio))
        if max(width_px, frame.width) * frame.height > self._limit_px:
            raise UnusableError(
                f"too_large: a frame of {width_px}x{frame.height} px, at most {self._limit_px} px are decoded"
            )
        orientation = orientation_of(frame)
        stretch = {} if width_px == frame.width else {"width": width_px, "interpolation": "BICUBIC"}
        frame_HWC = frame.to_ndarray(format="rgb24", threads=1, **stretch)  # the default starts threads for each frame
        frame_HWC = orientation.apply(frame_HWC)
        others = [image_HWC for image_HWC, _ in self._waiting.values()]
        if others and (others[0].shape != frame_HWC.shape or (len(others) + 1) * frame_HWC.nbytes > BATCH_BYTES):
            self._resize_waiting()
        self._waiting[key] = frame_HWC, orientation.rotation_deg

    def _resize_waiting(self) -> None:
        resized_THWC = self._resize(np.stack([frame_HWC for frame_HWC, _ in self._waiting.values()]))
        for frame_HWC, (key, (original_HWC, rotation_deg)) in zip(resized_THWC, self._waiting.items(), strict=True):
            height_px, width_px = original_HWC.shape[:2]
            self._done[key] = Image(frame_HWC, width_px, height_px, rotation_deg)
        self._waiting = {}

    def images(self) -> dict[int, Image]:
        """Resize the frames that are still waiting; return all frames by their keys."""
        if self._waiting:
            self._resize_waiting()
        return self._done


def decode_packets(video: Video, first: int, last: int, wanted: set[int] | None) -> Iterator[Any]:
    """Decode the packets from `first` to `last` and yield their frames. Add the positions of errors to `video.bad`.

    With `wanted`, frames are skipped if they are neither wanted nor referred to by other frames.
    """
    context, length_bytes = video.context, video.length_bytes
    context.open(strict=False)  # with the default skip_frame: dav1d reads it only here
    context.flush_buffers()
    for position in [*range(first, last + 1), None]:
        packet = None if position is None else video.packets[position]
        context.skip_frame = "DEFAULT" if wanted is None or position is None or position in wanted else "NONREF"
        try:
            frames = context.decode(packet)
        except (av.error.FFmpegError, ValueError):
            frames = []
            video.bad.add(last if position is None else position)
        if packet is not None and (packet.is_corrupt or (length_bytes and is_zeroed(bytes(packet), length_bytes))):
            video.bad.add(position)
        for frame in frames:
            if frame.is_corrupt:
                source = position_of(frame)
                video.bad.add(first if source is None else source)
            yield frame


def decode_gops(video: Video, ranks: list[int], collector: ImageCollector) -> dict[int, Image] | None:
    """Decode only the GOPs that contain the frames of these ranks.

    Return the frames by rank; None if anything is unexpected.
    """
    rank_of = {video.order[rank]: rank for rank in ranks}
    tag_packets(video.packets, rank_of)
    for first, last in _gop_ranges(video, list(rank_of)):
        for frame in decode_packets(video, first, last, set(rank_of)):
            position = position_of(frame)
            if position in rank_of:
                collector.add(rank_of[position], frame)
            if video.bad:
                return None
    images = collector.images()
    return images if len(images) == len(rank_of) and not video.bad else None


def _gop_ranges(video: Video, positions: list[int]) -> list[list[int]]:
    """Return the ranges of packet positions, [first, last], that must be decoded for the frames at these positions."""
    ranges = [(0, 0)] if video.codec == "mpeg4" else []  # the first packet names the encoder; decoders differ by it
    for position in positions:
        entry = bisect_right(video.entries, position) - 1
        if entry and video.stamps[position] < video.stamps[video.entries[entry]]:
            entry -= 1  # shown before the keyframe that it follows in the file: it also refers to the GOP before
        ranges.append((video.entries[entry], position))
    joined: list[list[int]] = []
    for first, last in sorted(ranges):
        if joined and first <= joined[-1][1] + 1:
            joined[-1][1] = max(last, joined[-1][1])
        else:
            joined.append([first, last])
    return joined


def decode_all(
    video: Video, arrivals: set[int], collector: ImageCollector
) -> tuple[list[int | None], list[float], dict[int, Image]]:
    """Decode all packets and return three values.

    They are the packet position of each frame in the order of arrival, the ascending times of the frames in seconds
    from the first one, and the images of the frames in `arrivals` (indices in the order of arrival). Raises
    UnusableError if no packet can be decoded.
    """
    positions: list[int | None] = []
    stamps: list[int | None] = []
    video.bad = set(video.broken)
    tag_packets(video.packets, range(len(video.packets)))
    for frame in decode_packets(video, 0, len(video.packets) - 1, None):
        if len(positions) in arrivals:
            collector.add(len(positions), frame)
        positions.append(position_of(frame))
        stamps.append(frame.pts)  # not frame.time, which is NaN for frames that the decoder returns when it is flushed
    if not positions:
        limit = f"damaged, or of more than {int(ALLOCATE['max_pixels'])} px"
        raise UnusableError(f"no_frame: no packet decodes to a picture; {len(video.bad)} packets are {limit}")
    return positions, _ascending_times(stamps, video.time_base_s, 1 / video.fps), collector.images()


def _ascending_times(stamps: list[int | None], unit_s: float, step_s: float) -> list[float]:
    """Return the times of frames in display order, in seconds from the first frame.

    A frame without a time stamp is put `step_s` after the frame before it. The times are sorted, because some
    containers (AVI) store time stamps in decode order.
    """
    times_s: list[float] = []
    for stamp in stamps:
        following_s = times_s[-1] + step_s if times_s else 0.0
        times_s.append(following_s if stamp is None else stamp * unit_s)
    times_s.sort()
    return [time_s - times_s[0] for time_s in times_s]


def display_order(video: Video, positions: list[int | None]) -> list[int]:
    """Return the packet positions of the frames in display order.

    `positions` are the packet positions in the order in which the decoder returned the frames. If time stamps are not
    in display order (AVI, raw streams, joined files), this order is returned. A packet without a frame is inserted
    before the first frame that follows it in the file.
    """
    if video.order_known:
        return video.order
    shown = set(video.order)
    order = list(dict.fromkeys(position for position in positions if position in shown))
    for position in sorted(shown - set(order)):
        following = (index for index, other in enumerate(order) if other > position)
        order.insert(next(following, len(order)), position)
    return order


def nearest_untainted(video: Video, positions: list[int | None], window: range, ranks: list[int]) -> list[int]:
    """Return for each rank the nearest rank of the window whose frame was decoded and is not tainted.

    Of two equally near ranks, the earlier is returned. Raises UnusableError if there is no such frame.
    """
    tainted: set[int] = set()
    for position in video.bad:
        following = bisect_right(video.entries, position)
        entry, after = [*video.entries, len(video.packets), len(video.packets)][following : following + 2]
        tainted.update(range(max(position - 1, 0), entry))  # the packet before is often cut without an error
        tainted.update(i for i in range(entry, after) if video.stamps[i] < video.stamps[entry])  # as in _gop_ranges
    intact = set(positions) - tainted
    candidates = [rank for rank in window if video.order[rank] in intact]
    if not candidates:
        raise UnusableError(f"damaged: {len(video.bad)} damaged packets leave no frame that is certainly intact")
    return [min(candidates, key=lambda candidate: abs(candidate - rank)) for rank in ranks]

"""A video file in, the wanted frames of a clip out, equal to the last bit to those of decoding the whole file.

The file is demuxed once, without decoding, and the wanted frames are picked by counting packets: headers lie. Where the
container and the codec allow it, only the groups of pictures (GOPs) that hold a wanted frame are decoded, and in them no
picture that nothing else refers to. Everything else, and every surprise, is decoded from the first packet to the last.

A decoder paints over damage without saying so, and what it paints spreads to the pictures that refer to it: after any
complaint all packets up to the next entry point count as tainted, in decode order, and the nearest untainted frame is
taken instead. Nothing raises: a bad video gives a Decoded that says why.

PyAV's logging stays as it is: av.logging.set_level together with threads can deadlock on close.
"""

import statistics
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np

from kinetext.video.demux import (
    MOV,
    QUICK,
    UnusableError,
    Video,
    count_without_edit_list,
    demux,
    is_zeroed,
    name_packets,
    opened,
    position_of,
    says_what_is_in_it,
    too_long,
    usable_stream,
)
from kinetext.video.integrity import find_break

LIMIT_PX = 40_000_000  # width * height; 8K is 33 million
TOGETHER_BYTES = 2**22  # frames that are shrunk in one call, at most; one alone may be larger


@dataclass(frozen=True)
class Decoded:
    """The frames of a clip and what the table `frames` says of it; without frames if the status is failed."""

    status: str
    error: str | None = None
    frames_HWC: list[np.ndarray] = field(default_factory=list)  # uint8 RGB, as displayed (rotated)
    frame_indices: list[int] = field(default_factory=list)  # in presentation order, from the file's first frame
    timestamps_s: list[float] = field(default_factory=list)  # from the file's first frame
    width_px: int | None = None  # as displayed
    height_px: int | None = None
    num_packets: int | None = None
    num_substituted: int | None = None
    rotation_deg: int | None = None
    vfr: bool | None = None
    codec: str | None = None


@dataclass(frozen=True)
class _Image:
    frame_HWC: np.ndarray
    width_px: int  # before shrinking
    height_px: int
    rotation_deg: int


class _Images:
    """The wanted frames of a pass as they are displayed, shrunk some at a time, which is faster than one by one."""

    def __init__(self, shrink: Callable[[np.ndarray], np.ndarray], limit_px: int) -> None:
        self._shrink, self._limit_px = shrink, limit_px
        self._waiting: dict[int, tuple[np.ndarray, int]] = {}  # of one shape
        self._done: dict[int, _Image] = {}

    def add(self, key: int, frame: Any) -> None:
        """Take a frame of the decoder. Raises UnusableError if it is too large."""
        if frame.width * frame.height > self._limit_px:
            raise UnusableError(
                f"too_large: a frame of {frame.width}x{frame.height} px, at most {self._limit_px} px are decoded"
            )
        turns = round(frame.rotation / 90) % 4  # no decoder applies the display matrix by itself
        frame_HWC = frame.to_ndarray(format="rgb24", threads=1)  # the default starts threads for each frame
        if turns:
            frame_HWC = np.rot90(frame_HWC, turns)
        others = [image_HWC for image_HWC, _ in self._waiting.values()]
        if others and (others[0].shape != frame_HWC.shape or (len(others) + 1) * frame_HWC.nbytes > TOGETHER_BYTES):
            self._shrink_waiting()
        self._waiting[key] = frame_HWC, turns

    def _shrink_waiting(self) -> None:
        shrunk_THWC = self._shrink(np.stack([frame_HWC for frame_HWC, _ in self._waiting.values()]))
        for frame_HWC, (key, (before_HWC, turns)) in zip(shrunk_THWC, self._waiting.items(), strict=True):
            height_px, width_px = before_HWC.shape[:2]
            self._done[key] = _Image(frame_HWC, width_px, height_px, 90 * turns)
        self._waiting = {}

    def all(self) -> dict[int, _Image]:
        """The frames by the keys that they were added with."""
        if self._waiting:
            self._shrink_waiting()
        return self._done


def decode_clip(
    path: Path,
    choose: Callable[[Sequence[float]], list[int]],
    start_s: float | None = None,
    end_s: float | None = None,
    shrink: Callable[[np.ndarray], np.ndarray] = lambda frames_THWC: frames_THWC,
    limit_px: int = LIMIT_PX,
    limit_s: float | None = None,
) -> Decoded:
    """Decode the frames of a clip that `choose(times of its frames in seconds)` names, ascending, repeats allowed.

    Only frames with start_s <= time < end_s are counted and chosen from. `shrink` is applied to a few frames at a time,
    uint8 [T, H, W, 3], so that large frames need not be held together. Frames of more than `limit_px` pixels and clips of
    more than `limit_s` seconds are not decoded. Never raises: what goes wrong is in `status` and `error`.
    """
    decode = partial(_decode, path, choose, start_s, end_s, shrink, limit_px, limit_s)
    if says_what_is_in_it(path):  # opening it quickly saves up to a tenth; with any surprise all is done again
        with suppress(UnusableError), opened(path, QUICK) as container:
            return decode(container, only_by_gop=True)
    try:
        with opened(path) as container:
            return decode(container, only_by_gop=False)
    except UnusableError as error:
        return Decoded("failed", str(error))


def _decode(
    path: Path,
    choose: Any,
    start_s: Any,
    end_s: Any,
    shrink: Any,
    limit_px: int,
    limit_s: float | None,
    container: Any,
    only_by_gop: bool,
) -> Decoded:
    """What `decode_clip` gives. Raises UnusableError, as it does with `only_by_gop` if all has to be decoded: that needs a
    container fully opened.
    """
    stream = usable_stream(container, limit_px)
    whole = start_s is None and end_s is None  # a clip within a file may be short and the file long
    video = demux(container, stream, limit_s if whole else None)
    images_of_pass = partial(_Images, shrink, limit_px)

    def wanted(times_s: list[float]) -> tuple[range, list[int]]:
        window = window_ranks(times_s, start_s, end_s)
        length_s = times_s[window[-1]] - times_s[window[0]]
        if limit_s is not None and length_s > limit_s:
            raise too_long(length_s, limit_s)
        return window, [window.start + index for index in choose(times_s[window.start : window.stop])]

    times_s = video.times_s
    window, ranks = wanted(times_s)
    taken = ranks
    images = _by_gop(video, ranks, images_of_pass()) if video.by_gop else None
    if images is None and only_by_gop:
        raise UnusableError("not_by_gop: all of it has to be decoded")
    if images is None:
        positions, seen_s, images = _sequentially(video, set(ranks), images_of_pass())
        if video.bad:
            taken = _nearest_untainted(video, positions, window, ranks)
            arrivals = {rank: positions.index(video.order[rank]) for rank in taken}
            _, _, images = _sequentially(video, set(arrivals.values()), images_of_pass())
            images = {rank: images[arrival] for rank, arrival in arrivals.items()}
        elif len(positions) != len(video.order):  # hidden or skipped pictures: count what is really shown
            times_s = seen_s
            window, ranks = wanted(times_s)
            taken = ranks
            _, _, images = _sequentially(video, set(ranks), images_of_pass())
    substituted = sum(a != b for a, b in zip(taken, ranks, strict=True))

    reasons = {}
    header_frames = stream.frames
    if container.format.name == MOV and len(video.packets) < header_frames:
        # an edit list hides frames of an intact file, too; what lacks without it is not in the file
        present = count_without_edit_list(path)
        if present < header_frames:
            reasons["truncated"] = f"{present} of {header_frames} frames are in the file"
    if video.bad:
        reasons["damaged"] = f"{len(video.bad)} damaged packets, {substituted} of {len(ranks)} frames replaced"
    if found := find_break(path, container.format.name):
        reasons[found[0]] = "; ".join(filter(None, [reasons.get(found[0]), found[1]]))
    if len(window) < len(ranks):
        reasons["short"] = f"{len(window)} frames for {len(ranks)}, some repeated"
    first = images[taken[0]]
    return Decoded(
        status=next(iter(reasons), "ok"),
        error="; ".join(reasons.values()) or None,
        frames_HWC=[images[rank].frame_HWC for rank in taken],
        frame_indices=taken,
        timestamps_s=[times_s[rank] for rank in taken],
        width_px=first.width_px,
        height_px=first.height_px,
        num_packets=len(video.packets),
        num_substituted=substituted,
        rotation_deg=first.rotation_deg,
        vfr=is_vfr(times_s),
        codec=video.codec,
    )


def window_ranks(times_s: list[float], start_s: float | None, end_s: float | None) -> range:
    """Ranks of the frames with start_s <= time < end_s, a microsecond forgiven."""
    first = 0 if start_s is None else bisect_left(times_s, start_s - 1e-6)
    last = len(times_s) if end_s is None else bisect_left(times_s, end_s - 1e-6)
    if first >= last:
        raise UnusableError(f"no_frame: none from {start_s} to {end_s} s; the last one is at {times_s[-1]:.3f} s")
    return range(first, last)


def _feed(video: Video, first: int, last: int, wanted: set[int] | None) -> Iterator[Any]:
    """Decode the packets first..last; notes in `video.bad` what the decoder complains about.

    With `wanted`, pictures that are neither wanted nor referred to are not decoded.
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
                place = position_of(frame)
                video.bad.add(first if place is None else place)
            yield frame


def _by_gop(video: Video, ranks: list[int], images: _Images) -> dict[int, _Image] | None:
    """The frames of these ranks from the GOPs that hold them; None if anything was not as expected."""
    rank_of = {video.order[rank]: rank for rank in ranks}
    spans = [(0, 0)] if video.codec == "mpeg4" else []  # there it says who encoded it: decoders differ by it
    for target in rank_of:
        entry = bisect_right(video.entries, target) - 1
        if entry and video.stamps[target] < video.stamps[video.entries[entry]]:
            entry -= 1  # shown before the keyframe that it follows in the file: it refers to the GOP before, too
        spans.append((video.entries[entry], target))
    ranges: list[list[int]] = []
    for first, last in sorted(spans):
        if ranges and first <= ranges[-1][1] + 1:
            ranges[-1][1] = max(last, ranges[-1][1])
        else:
            ranges.append([first, last])
    name_packets(video.packets, rank_of)
    for first, last in ranges:
        for frame in _feed(video, first, last, set(rank_of)):
            place = position_of(frame)
            if place in rank_of:
                images.add(rank_of[place], frame)
            if video.bad:
                return None
    found = images.all()
    return found if len(found) == len(rank_of) and not video.bad else None


def _sequentially(
    video: Video, arrivals: set[int], images: _Images
) -> tuple[list[int | None], list[float], dict[int, _Image]]:
    """Decode everything: each frame's packet and time as they arrive, and the images of the arrivals asked for."""
    positions: list[int | None] = []
    times_s: list[float] = []
    video.bad = set(video.broken)
    name_packets(video.packets, range(len(video.packets)))
    for frame in _feed(video, 0, len(video.packets) - 1, None):
        if len(positions) in arrivals:
            images.add(len(positions), frame)
        positions.append(position_of(frame))
        times_s.append(len(times_s) / video.rate if frame.time is None else frame.time)
    if not positions:
        raise UnusableError(f"no_frame: nothing decodes to a picture; {len(video.bad)} damaged packets")
    return positions, [time_s - times_s[0] for time_s in times_s], images.all()


def _nearest_untainted(video: Video, positions: list[int | None], window: range, ranks: list[int]) -> list[int]:
    """For each wanted rank the nearest rank of the window whose frame arrived and is not tainted, the earlier first."""
    tainted: set[int] = set()
    for position in video.bad:
        following = bisect_right(video.entries, position)
        entry, after = [*video.entries, len(video.packets), len(video.packets)][following : following + 2]
        tainted.update(range(max(position - 1, 0), entry))  # the one before is often cut, and believed
        tainted.update(i for i in range(entry, after) if video.stamps[i] < video.stamps[entry])  # as in _by_gop
    intact = set(positions) - tainted
    candidates = [rank for rank in window if video.order[rank] in intact]
    if not candidates:
        raise UnusableError(f"damaged: {len(video.bad)} damaged packets leave no frame that is sure to be intact")
    return [min(candidates, key=lambda candidate: abs(candidate - rank)) for rank in ranks]


def is_vfr(times_s: list[float]) -> bool:
    """Whether the steps between frames differ by more than half (95th against 5th percentile)."""
    if len(times_s) < 3:
        return False
    steps_s = (later - earlier for earlier, later in pairwise(times_s))
    low, *_, high = statistics.quantiles(steps_s, n=20, method="inclusive")
    return high > 1.5 * low

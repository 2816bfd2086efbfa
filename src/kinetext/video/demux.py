"""Demux a video file without decoding it: read its packets, their display order, and where decoding may start.

Frames are counted by packets, because the number of frames in the header can be wrong: in AVI files, in files with edit
lists, and in truncated files.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import av

from kinetext.video.bitstream import is_entry, mpeg4_entries, unit_length_bytes
from kinetext.video.container import MOV, OPEN, UnusableError

GOP_CONTAINERS = {MOV, "matroska,webm"}  # the others have unreliable time stamps (AVI) or rarely an index
GOP_CODECS = {"h264", "hevc", "vp9", "av1"}  # one packet is always one shown frame; VP8 and MPEG-4 may hide some
LIMIT_PACKETS = 1_000_000  # all are held in memory; 4.6 hours at 60 frames/s
CHUNK_PACKETS = 1000  # read between two checks of the limits
MAX_PIXEL_ASPECT = 10  # a declared ratio beyond it, or below its inverse, is an error of the file


@dataclass(frozen=True, slots=True)
class PacketTag:
    """The position of a packet, which PyAV passes on to the packet's frame.

    PyAV identifies the object by its address. A small int is the same object in all videos, so freeing the packet of
    one video would remove the tag from another video.
    """

    position: int


def tag_packets(packets: list[Any], positions: Iterable[int]) -> None:
    """Tag packets with their positions, so that `position_of` works for their frames."""
    for position in positions:
        packets[position].opaque = PacketTag(position)


def position_of(frame: Any) -> int | None:
    """Return the position of the packet that a frame was decoded from; None if the packet has no tag."""
    tag = frame.opaque
    return None if tag is None else tag.position


@dataclass
class Video:
    """A demuxed video. Positions count packets in decode order, ranks count frames in display order."""

    context: Any
    stream: int  # index in the file
    declared_aspect: Fraction | None  # pixel aspect ratio of the container, else that of the codec's header
    codec: str
    packets: list[Any]
    stamps: list[int]  # by position: presentation time if the file has it
    entries: list[int]  # positions at which decoding may start
    length_bytes: int  # size of the length field of NAL units; see unit_length_bytes
    order: list[int]  # by rank: the position of the frame's packet
    times_s: list[float]  # by rank, from the first frame
    start_s: float  # time of the first frame in the file: after the container's start, e.g. if sound begins earlier
    fps: float  # frame rate in the header, for frames without a time
    time_base_s: float  # unit of time stamps
    by_gop: bool  # whether parts may be decoded alone
    order_known: bool  # whether time stamps are in display order; else `order` is that of the file
    broken: frozenset[int]  # positions at which the demuxer found an error
    bad: set[int]  # those, and the ones at which the latest pass of the decoder found an error

    @property
    def pixel_aspect(self) -> float:
        """Return the width of a pixel divided by its height; 1 if the file declares none or an implausible one.

        After a quick opening, a ratio in the codec's header is known only when the first frame is decoded.
        """
        ratio = float(self.declared_aspect or self.context.sample_aspect_ratio or 1)
        return ratio if 1 / MAX_PIXEL_ASPECT <= ratio <= MAX_PIXEL_ASPECT else 1.0


def demux(container: Any, stream: Any, limit_s: float | None = None) -> Video:
    """Read all packets, then find their display order and where decoding may start.

    Raises UnusableError if no frame is shown, or if the stream is longer than `limit_s` seconds or LIMIT_PACKETS
    packets.
    """
    context = stream.codec_context
    context.thread_type, context.thread_count = "NONE", 1  # one process per core is faster, and AUTO hides errors
    context.copy_opaque = True  # see tag_packets
    codec = context.codec.canonical_name
    packets: list[Any] = []
    broken = set()
    try:
        _read(container, stream, limit_s, packets)
    except av.error.FFmpegError:
        broken.add(max(len(packets) - 1, 0))
    if not packets:
        raise UnusableError("no_frame: the video stream is empty")
    shown = [position for position, packet in enumerate(packets) if not packet.is_discard]  # an edit list hides some
    if not shown:
        raise UnusableError("no_frame: the file's edit list hides every frame")
    pts = [packet.pts for packet in packets]
    has_times = len({pts[position] for position in shown} - {None}) == len(shown)
    stamps = [stamp if has_times and stamp is not None else i for i, stamp in enumerate(pts)]
    order = sorted(shown, key=stamps.__getitem__)
    fps = float(stream.average_rate or 25)
    unit_s = float(stream.time_base) if has_times else 1 / fps
    times_s = [(stamps[position] - stamps[order[0]]) * unit_s for position in order]
    length_bytes = unit_length_bytes(codec, context.extradata)
    entries = [i for i, p in enumerate(packets) if i == 0 or (p.is_keyframe and is_entry(p, codec, length_bytes))]
    by_gop = has_times and container.format.name in GOP_CONTAINERS and codec in GOP_CODECS
    if codec == "mpeg4" and order == list(range(len(packets))) and (pictures := mpeg4_entries(packets)):
        by_gop, entries = True, pictures
    return Video(
        context=context,
        stream=stream.index,
        declared_aspect=stream.sample_aspect_ratio,
        codec=codec,
        packets=packets,
        stamps=stamps,
        entries=entries,
        length_bytes=length_bytes,
        order=order,
        times_s=times_s,
        start_s=_start_s(container, stream),
        fps=fps,
        time_base_s=float(stream.time_base),
        by_gop=by_gop,
        order_known=has_times and container.format.name != "avi" and _ascends(packets),
        broken=frozenset(broken),
        bad=broken,
    )


def _ascends(packets: list[Any]) -> bool:
    """Return whether decode times ascend. They do not in files that were joined from several."""
    dts = [packet.dts for packet in packets if packet.dts is not None]
    return all(earlier < later for earlier, later in pairwise(dts))


def _start_s(container: Any, stream: Any) -> float:
    """Return the time in seconds from the start of the container to the start of the stream; 0 if it is unknown."""
    if container.start_time is None or stream.start_time is None:
        return 0.0
    return max(0.0, float(stream.start_time * stream.time_base) - container.start_time / av.time_base)


def _read(container: Any, stream: Any, limit_s: float | None, packets: list[Any]) -> None:
    """Append the packets of a stream to `packets`.

    Raises UnusableError if there are more than LIMIT_PACKETS, or if their times span more than `limit_s` seconds.
    """
    limit = float("inf") if limit_s is None else float(limit_s / stream.time_base)
    filled = (packet for packet in container.demux(stream) if packet.size)
    extremes: list[int] = []  # the least and the greatest time stamp so far
    num_read = -1
    while num_read < len(packets):
        num_read = len(packets)
        packets.extend(islice(filled, CHUNK_PACKETS))
        if len(packets) > LIMIT_PACKETS:
            raise UnusableError(f"too_long: more than {LIMIT_PACKETS} packets")
        shown = (packet for packet in packets[num_read:] if not packet.is_discard)
        stamps = (packet.dts if packet.pts is None else packet.pts for packet in shown)
        extremes += (stamp for stamp in stamps if stamp is not None)
        extremes = [min(extremes), max(extremes)] if extremes else []
        if extremes and extremes[1] - extremes[0] > limit:
            raise too_long(float((extremes[1] - extremes[0]) * stream.time_base), limit_s)


def too_long(length_s: float, limit_s: float | None) -> UnusableError:
    """Return the error for a clip that has at least `length_s` seconds, more than the allowed `limit_s`."""
    return UnusableError(f"too_long: {length_s:.1f} s or more, at most {limit_s:g} s are decoded")


def count_without_edit_list(path: Path, stream: int) -> int:
    """Return the number of packets of a stream in the file, including those that an edit list hides."""
    with av.open(str(path.absolute()), options={"ignore_editlist": "1"}, **OPEN) as container:
        packets = container.demux(container.streams[stream])
        return sum(1 for packet in packets if packet.size)

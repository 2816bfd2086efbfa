"""Demux a video file without decoding it: its packets, their display order, and where decoding may start.

Frames are counted by packets, because headers are unreliable: the length in an AVI, edit lists, files cut short.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import av
from av.stream import Disposition

from kinetext.video.bitstream import is_entry, mpeg4_entries, unit_length_bytes

MOV = "mov,mp4,m4a,3gp,3g2,mj2"
GOP_CONTAINERS = {MOV, "matroska,webm"}  # the others have unreliable time stamps (AVI) or rarely an index
GOP_CODECS = {"h264", "hevc", "vp9", "av1"}  # one packet is always one shown frame; VP8 and MPEG-4 may hide some
ALLOCATE = {
    "max_pixels": "80000000"
}  # of a frame: FFmpeg's decoders allocate no larger one; decode.py refuses smaller ones
LIMIT_PACKETS = 1_000_000  # all are held in memory; 4.6 hours at 60 frames/s
CHUNK_PACKETS = 1000  # read between two checks of the limits
OPEN: dict[str, Any] = {"metadata_errors": "ignore"}  # a title in an old encoding is no reason to fail
QUICK = {"probesize": "32", "codec_whitelist": "none"}  # decode no frame to probe the file
PICTURES = (
    Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image
)  # streams that are no video
PROBED_PACKETS = 1000  # read of a file with several video streams: one with a single packet is a picture
MAX_PIXEL_ASPECT = 10  # a declared ratio beyond it, or below its inverse, is an error of the file
PLAYLIST = re.compile(
    rb"[\s\xef\xbb\xbf]*(#EXTM3U|ffconcat version|v=0\s|(<\?xml.*?)?<(MPD|CompositionPlaylist)\b)", re.DOTALL
)


class UnusableError(Exception):
    """The file gives no frame; the message says why."""


@dataclass(frozen=True, slots=True)
class PacketTag:
    """A packet's position, which PyAV carries to the packet's frame.

    PyAV keys what it carries by the object's identity. A small int is one object in all videos, so freeing one video's
    packet would remove it from another's.
    """

    position: int


def tag_packets(packets: list[Any], positions: Iterable[int]) -> None:
    """Mark packets so that `position_of` works for their frames."""
    for position in positions:
        packets[position].opaque = PacketTag(position)


def position_of(frame: Any) -> int | None:
    """Return the position of the packet that a frame comes from; None if that packet has no tag."""
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
        """Return the width of a pixel divided by its height; 1 if the file does not say.

        After a quick opening a ratio in the codec's header is known once the first frame is decoded.
        """
        ratio = float(self.declared_aspect or self.context.sample_aspect_ratio or 1)
        return ratio if 1 / MAX_PIXEL_ASPECT <= ratio <= MAX_PIXEL_ASPECT else 1.0


def has_quick_header(path: Path) -> bool:
    """Return whether the header alone has what decoding by GOP needs: MOV, MP4, Matroska and WebM."""
    try:
        if not path.is_file():  # opening a pipe would wait for its writer
            return False
        with path.open("rb") as file:
            start = file.read(8)
    except OSError:
        return False
    return start[4:] == b"ftyp" or start[:4] == b"\x1a\x45\xdf\xa3"


@contextmanager
def open_video(path: Path, options: dict[str, str] | None = None) -> Iterator[Any]:
    """Open the file's container. Raises UnusableError, with the reason, for any error in opening it or in the block."""
    try:
        if not path.exists():
            raise UnusableError("not_found: there is no such file")
        if not path.is_file():
            raise UnusableError("not_a_file: a folder or a device")
        if path.stat().st_size == 0:
            raise UnusableError("empty_file: zero bytes")
        if options is None and PLAYLIST.match(_start(path)):
            raise UnusableError("playlist: the file names other files; list the videos themselves")
        with av.open(str(path.absolute()), options={**ALLOCATE, **(options or {})}, **OPEN) as container:
            if container.format.name == "image2" and "%" in path.name:
                raise UnusableError("playlist: FFmpeg takes the % in the name for a pattern of names; rename the file")
            yield container
    except UnusableError:
        raise
    except (av.error.InvalidDataError, EOFError):
        raise UnusableError(
            "not_a_video: FFmpeg does not know the format, or the file is cut before its index"
        ) from None
    except Exception as error:
        raise UnusableError(f"{type(error).__name__}: {error}") from None


def _start(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(1024)


def select_stream(container: Any, limit_px: int) -> Any:
    """Return the stream to decode. Raises UnusableError without one, without a decoder, or if frames are too large."""
    stream = _video_stream(container)
    if stream is None:
        raise UnusableError("no_video_stream: only sound or a cover picture")
    if stream.codec_context is None:
        raise UnusableError("unknown_codec: FFmpeg has no decoder for this video stream")
    stream.codec_context.options = ALLOCATE
    if stream.width * stream.height > limit_px:
        raise UnusableError(f"too_large: {stream.width}x{stream.height} px, at most {limit_px} px are decoded")
    return stream


def _video_stream(container: Any) -> Any:
    """Return the video stream that players show: the default one, of several the largest; None without one.

    A stream of one picture, also one that is not marked as a cover, is taken only if there is no other.
    """
    streams = [stream for stream in container.streams.video if not stream.disposition & PICTURES]
    if len(streams) > 1:
        streams = _moving(container.name, streams) or streams
    return max(streams, key=_preference, default=None)


def _preference(stream: Any) -> tuple[bool, bool, int, int]:
    known = stream.codec_context is not None
    size_px = stream.width * stream.height if known else 0
    return known, bool(stream.disposition & Disposition.default), size_px, -stream.index


def _moving(path: str, streams: list[Any]) -> list[Any]:
    """Return the streams that have more than one packet near the start of the file."""
    counts: Counter[int] = Counter()
    with suppress(av.error.FFmpegError), av.open(path, **OPEN) as container:
        packets = container.demux([container.streams[stream.index] for stream in streams])
        counts.update(packet.stream_index for packet in islice(packets, PROBED_PACKETS) if packet.size)
    return [stream for stream in streams if counts[stream.index] > 1]


def demux(container: Any, stream: Any, limit_s: float | None = None) -> Video:
    """Read all packets; find their display order and where decoding may start.

    Raises UnusableError if there is nothing to decode, or more than `limit_s` seconds or LIMIT_PACKETS.
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
    """Return whether decode times ascend; they do not in joined files."""
    dts = [packet.dts for packet in packets if packet.dts is not None]
    return all(earlier < later for earlier, later in pairwise(dts))


def _start_s(container: Any, stream: Any) -> float:
    """Return the time from the start of the container to that of the stream; 0 if the file does not have both."""
    if container.start_time is None or stream.start_time is None:
        return 0.0
    return max(0.0, float(stream.start_time * stream.time_base) - container.start_time / av.time_base)


def _read(container: Any, stream: Any, limit_s: float | None, packets: list[Any]) -> None:
    """Append the packets of a stream to `packets`. Raises UnusableError if they are too many or too far apart."""
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
    """Return the error of a clip of at least `length_s` seconds."""
    return UnusableError(f"too_long: {length_s:.1f} s or more, at most {limit_s:g} s are decoded")


def count_without_edit_list(path: Path, stream: int) -> int:
    """Return the number of packets of a stream in the file, including those that an edit list hides."""
    with av.open(str(path.absolute()), options={"ignore_editlist": "1"}, **OPEN) as container:
        packets = container.demux(container.streams[stream])
        return sum(1 for packet in packets if packet.size)

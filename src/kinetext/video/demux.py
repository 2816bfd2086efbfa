"""What is in a video file without decoding it: packets, their order on the screen, where decoding may start.

Frames are counted by packets, because headers lie: of an AVI's length, of an edit list, of a file cut short.
"""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import av
from av.stream import Disposition

MOV = "mov,mp4,m4a,3gp,3g2,mj2"
GOP_CONTAINERS = {MOV, "matroska,webm"}  # the others' time stamps are not to be relied on (AVI) or seldom indexed
GOP_CODECS = {"h264", "hevc", "vp9", "av1"}  # one packet is one shown frame, always; VP8 and MPEG-4 may hide some
ENTRY_NALS = {"h264": {5}, "hevc": set(range(16, 22))}  # IDR; IRAP: whatever comes later refers to nothing before them
PICTURE = b"\0\0\1\xb6"  # where one begins in MPEG-4
LIMIT_PACKETS = 1_000_000  # all are held in memory; 4.6 hours at 60 frames a second
CHUNK_PACKETS = 1000  # read between two looks at the limits
OPEN: dict[str, Any] = {"metadata_errors": "ignore"}  # a title in an old encoding is no reason to fail
QUICK = {"probesize": "32", "codec_whitelist": "none"}  # no frame is decoded to see what is in the file


class UnusableError(Exception):
    """No frame can be had from this file; the message says why."""


@dataclass(frozen=True, slots=True)
class Place:
    """A packet's position, as PyAV carries it to the frame: it keys what it carries by the object's identity, and a small
    number is one object in all videos, so freeing one video's packet would take it from another's.
    """

    position: int


def name_packets(packets: list[Any], positions: Iterable[int]) -> None:
    """Let the frames of these packets tell which packet they come from."""
    for position in positions:
        packets[position].opaque = Place(position)


def position_of(frame: Any) -> int | None:
    """The position of the packet that a frame comes from; None if the packet has no name."""
    place = frame.opaque
    return None if place is None else place.position


@dataclass
class Video:
    """A demuxed video. Positions count packets in decode order, ranks count frames in presentation order."""

    context: Any
    codec: str
    packets: list[Any]
    stamps: list[int]  # by position: presentation time where the file has it
    entries: list[int]  # positions at which decoding may start
    length_bytes: int  # of each NAL unit's length; see unit_length_bytes
    order: list[int]  # by rank: the position of the frame's packet
    times_s: list[float]  # by rank, from the first frame
    rate: float  # frames a second as the header has it, for frames without a time
    by_gop: bool  # whether parts may be decoded alone
    bad: set[int]  # positions that the demuxer or, in the latest pass, the decoder complained about
    broken: frozenset[int]  # those of the demuxer


def says_what_is_in_it(path: Path) -> bool:
    """Whether this is a container whose header alone tells what decoding by GOP needs: MOV and MP4, Matroska and WebM."""
    try:
        if not path.is_file():  # opening a pipe would wait for its writer
            return False
        with path.open("rb") as file:
            start = file.read(8)
    except OSError:
        return False
    return start[4:] == b"ftyp" or start[:4] == b"\x1a\x45\xdf\xa3"


@contextmanager
def opened(path: Path, options: dict[str, str] | None = None) -> Iterator[Any]:
    """The file's container. Raises UnusableError, with the reason, for whatever goes wrong in opening it or inside."""
    try:
        if not path.exists():
            raise UnusableError("not_found: there is no such file")
        if not path.is_file():
            raise UnusableError("not_a_file: a folder or a device")
        if path.stat().st_size == 0:
            raise UnusableError("empty_file: zero bytes")
        with av.open(str(path.absolute()), options=options, **OPEN) as container:
            yield container
    except UnusableError:
        raise
    except (av.error.InvalidDataError, EOFError):
        raise UnusableError("not_a_video: no format that FFmpeg can read, or cut before its index") from None
    except Exception as error:
        raise UnusableError(f"{type(error).__name__}: {error}") from None


def usable_stream(container: Any, limit_px: int) -> Any:
    """The stream to decode. Raises UnusableError if there is none, no decoder for it, or if its pictures are too large."""
    stream = video_stream(container)
    if stream is None:
        raise UnusableError("no_video_stream: sound or a cover picture only")
    if stream.codec_context is None:
        raise UnusableError("unknown_codec: FFmpeg has no decoder for this video stream")
    if stream.width * stream.height > limit_px:
        raise UnusableError(f"too_large: {stream.width}x{stream.height} px, at most {limit_px} px are decoded")
    return stream


def video_stream(container: Any) -> Any:
    """The first video stream that is no cover picture, or None."""
    streams = (s for s in container.streams.video if not s.disposition & Disposition.attached_pic)
    return next(streams, None)


def demux(container: Any, stream: Any, limit_s: float | None = None) -> Video:
    """Read all packets and find out where decoding may start and in which order the frames are shown.

    Raises UnusableError if there is nothing to decode, or more than `limit_s` seconds or LIMIT_PACKETS.
    """
    context = stream.codec_context
    context.thread_type, context.thread_count = "NONE", 1  # one process a core is faster, and AUTO swallows errors
    context.copy_opaque = True  # see name_packets
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
    given = [packet.pts for packet in packets]
    stamped = len({given[position] for position in shown} - {None}) == len(shown)
    stamps = [pts if stamped and pts is not None else i for i, pts in enumerate(given)]
    order = sorted(shown, key=stamps.__getitem__)
    rate = float(stream.average_rate or 25)
    unit_s = float(stream.time_base) if stamped else 1 / rate
    times_s = [(stamps[position] - stamps[order[0]]) * unit_s for position in order]
    length_bytes = unit_length_bytes(codec, context.extradata)
    entries = [i for i, p in enumerate(packets) if i == 0 or (p.is_keyframe and _is_entry(p, codec, length_bytes))]
    by_gop = stamped and container.format.name in GOP_CONTAINERS and codec in GOP_CODECS
    if codec == "mpeg4" and order == list(range(len(packets))) and (plain := _plain_mpeg4(packets)):
        by_gop, entries = True, plain
    bad, broken_for_good = set(broken), frozenset(broken)
    return Video(
        context, codec, packets, stamps, entries, length_bytes, order, times_s, rate, by_gop, bad, broken_for_good
    )


def _read(container: Any, stream: Any, limit_s: float | None, packets: list[Any]) -> None:
    """Append the packets of a stream to `packets`. Raises UnusableError if they are too many or too far apart."""
    limit = float("inf") if limit_s is None else float(limit_s / stream.time_base)
    filled = (packet for packet in container.demux(stream) if packet.size)
    seen: list[int] = []  # the first and the last time stamp so far
    read = -1
    while read < len(packets):
        read = len(packets)
        packets.extend(islice(filled, CHUNK_PACKETS))
        if len(packets) > LIMIT_PACKETS:
            raise UnusableError(f"too_long: more than {LIMIT_PACKETS} packets")
        given = (packet.dts if packet.pts is None else packet.pts for packet in packets[read:] if not packet.is_discard)
        seen += (stamp for stamp in given if stamp is not None)
        seen = [min(seen), max(seen)] if seen else []
        if seen and seen[1] - seen[0] > limit:
            raise too_long(float((seen[1] - seen[0]) * stream.time_base), limit_s)


def too_long(length_s: float, limit_s: float | None) -> UnusableError:
    """The error of a clip that goes on for `length_s` seconds at least."""
    return UnusableError(f"too_long: {length_s:.1f} s or more, at most {limit_s:g} s are decoded")


def is_zeroed(data: bytes, length_bytes: int) -> bool:
    """Whether an H.264 or HEVC packet has zeros that no encoder writes, as where a sector was lost. Decoders make a
    picture of it and say nothing. `length_bytes` as `unit_length_bytes` gives it.
    """
    if length_bytes == 4 and data.find(b"\0\0\0", 1) < 0:  # nearly all; the first length may begin with three zeros
        return False
    for unit in _units(data, length_bytes):
        written = unit.rstrip(b"\0")
        if b"\0\0\0" in written or len(unit) - len(written) >= 16 or not unit:
            return True
    return False


def unit_length_bytes(codec: str, extradata: bytes | None) -> int:
    """How many bytes say how long a NAL unit is, in the packets of avcC and hvcC; 0 where packets are not so made."""
    if codec not in ENTRY_NALS or not extradata or extradata[0] != 1:
        return 0
    return (extradata[4 if codec == "h264" else 21] & 3) + 1


def _units(data: bytes, length_bytes: int) -> Iterator[bytes]:
    """The NAL units of a packet as avcC and hvcC have them: each is preceded by its length."""
    start = 0
    while start + length_bytes < len(data):
        length = int.from_bytes(data[start : start + length_bytes], "big")
        start += length_bytes + length
        yield data[start - length : start]


def _is_entry(packet: Any, codec: str, length_bytes: int) -> bool:
    """Whether decoding may start at a keyframe. An H.264 keyframe that is no IDR promises too little: a recovery point."""
    if codec not in ENTRY_NALS:
        return True
    data = bytes(packet)
    if length_bytes:
        headers = [unit[0] for unit in _units(data, length_bytes) if unit]
    else:
        headers = [data[match.end()] for match in re.finditer(b"\0\0\1(?=.)", data, re.DOTALL)]
    types = {header & 31 if codec == "h264" else header >> 1 & 63 for header in headers}
    return bool(types & ENTRY_NALS[codec])


def _plain_mpeg4(packets: list[Any]) -> list[int]:
    """Where decoding MPEG-4 may start: its I-pictures; empty unless each packet is one I- or P-picture that is shown."""
    entries = []
    for position, packet in enumerate(packets):
        data = bytes(packet)
        picture = data.find(PICTURE) + 4
        if picture < 4 or len(data) < picture + 8 or data.rfind(PICTURE) >= picture:
            return []  # none or two in a packet, or one that only says: the last one again
        kind = data[picture] >> 6  # 0: I, 1: P, 2: B
        if kind == 0:
            entries.append(position)
        elif kind != 1:
            return []
    return entries if entries[:1] == [0] else []


def count_without_edit_list(path: Path) -> int:
    """How many video packets the file holds, those that an edit list hides included."""
    with av.open(str(path.absolute()), options={"ignore_editlist": "1"}, **OPEN) as container:
        packets = container.demux(video_stream(container))
        return sum(1 for packet in packets if packet.size)

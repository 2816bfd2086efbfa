"""Whether a Matroska, WebM or AVI file is in one piece. FFmpeg jumps over what it cannot read in one and does not say so:
frames are then missing from the middle, and all later ones are counted wrongly.
"""

import mmap
import re
import struct
from collections.abc import Callable
from pathlib import Path

EBML, SEGMENT, CLUSTER = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67", b"\x1f\x43\xb6\x75"
VOID, CHECKSUM = b"\xec", b"\xbf"
IN_SEGMENT = {  # seek head, info, tracks, cues, chapters, tags, attachments (RFC 9559)
    bytes.fromhex(name) for name in ["114d9b74", "1549a966", "1654ae6b", "1c53bb6b", "1043a770", "1254c367", "1941a469"]
}
IN_CLUSTER = {bytes.fromhex(name) for name in ["e7", "5854", "a7", "ab", "a3", "a0", "af"]}  # its time, its blocks
ELEMENTS = {EBML, SEGMENT, CLUSTER, VOID, CHECKSUM} | IN_SEGMENT | IN_CLUSTER
CHUNK = re.compile(rb"[ -~]{4}")  # the name of a part of an AVI, in printable letters
NAME_AND_SIZE = struct.Struct("<4sI")

Break = tuple[str, str]  # a status, truncated or damaged, and where the file's parts stop following one another


def find_break(path: Path, container: str) -> Break | None:
    """Where the first break of a file is; None if it is in one piece or of another format than those above."""
    if container not in WALKS:
        return None
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return WALKS[container](data)


def _walk_matroska(data: mmap.mmap) -> Break | None:
    at, end = 0, len(data)
    while at < end:
        name, start, stop = _element(data, at)
        if name not in ELEMENTS or (stop is None and name not in (SEGMENT, CLUSTER)):
            return _damaged(at)
        if stop is not None and stop > len(data):
            return _truncated(stop - len(data))
        if name == SEGMENT and stop is not None:
            end = stop  # whatever follows is not played
        at = start if stop is None or name in (SEGMENT, CLUSTER) else stop
    return None


def _walk_avi(data: mmap.mmap) -> Break | None:
    at, known = 0, {b"RIFF", b"LIST"}
    while at + 8 <= len(data):
        name, size = NAME_AND_SIZE.unpack_from(data, at)
        if name not in known:
            if name == b"idx1":  # the index stands last
                return None
            if not CHUNK.match(name):
                return _damaged(at) if any(data[at:]) else None  # some are filled up with zeros
            known.add(name)
        if name == b"RIFF" or (name == b"LIST" and data[at + 8 : at + 12] in (b"movi", b"rec ")):
            at += 12
            continue
        stop = at + 8 + size
        if stop > len(data):
            return _truncated(stop - len(data))
        at = stop + size % 2  # as it should be, and seldom is not
        if at != stop and CHUNK.match(data, stop) and not CHUNK.match(data, at):
            at = stop
    return None


def _damaged(at: int) -> Break:
    return "damaged", f"no packet begins at byte {at} where one should; frames may be missing"


def _truncated(missing: int) -> Break:
    return "truncated", f"{missing} bytes are missing at the end of the file"


def _element(data: mmap.mmap, at: int) -> tuple[bytes, int, int | None]:
    """The name of the element at a byte, where its content starts and where it ends, None if it does not say."""
    name_bytes = 9 - data[at].bit_length()
    size_at = at + name_bytes
    if name_bytes > 4 or size_at >= len(data):
        return b"", at, None
    size_bytes = 9 - data[size_at].bit_length()
    start = size_at + size_bytes
    size = int.from_bytes(data[size_at:start], "big") & ((1 << 7 * size_bytes) - 1)
    unknown = size == (1 << 7 * size_bytes) - 1
    return data[at:size_at], start, None if unknown or size_bytes > 8 else start + size


WALKS: dict[str, Callable[[mmap.mmap], Break | None]] = {"matroska,webm": _walk_matroska, "avi": _walk_avi}

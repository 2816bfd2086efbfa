"""Find breaks in Matroska, WebM and AVI files.

FFmpeg silently skips unreadable parts of such files. Frames are then missing in the middle, and all later frames get
wrong indices.
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
CHUNK = re.compile(rb"[ -~]{4}")  # the name of an AVI chunk: printable characters
NAME_AND_SIZE = struct.Struct("<4sI")

Break = tuple[str, str]  # status (truncated or damaged), description with the offset


def find_break(path: Path, container: str) -> Break | None:
    """Return the first break of a file; None if it has none or if `container` is not Matroska, WebM or AVI."""
    if container not in WALKS:
        return None
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return WALKS[container](data)


def _walk_matroska(data: mmap.mmap) -> Break | None:
    offset, end = 0, len(data)
    while offset < end:
        name, start, stop = _element(data, offset)
        if name not in ELEMENTS or (stop is None and name not in (SEGMENT, CLUSTER)):
            return _damaged(offset)
        if stop is not None and stop > len(data):
            return _truncated(stop - len(data))
        if name == SEGMENT and stop is not None:
            end = stop  # players ignore what follows
        offset = start if stop is None or name in (SEGMENT, CLUSTER) else stop
    return None


def _walk_avi(data: mmap.mmap) -> Break | None:
    offset, known = 0, {b"RIFF", b"LIST"}
    while offset + 8 <= len(data):
        name, size = NAME_AND_SIZE.unpack_from(data, offset)
        if name not in known:
            if name == b"idx1":  # the index is the last chunk
                return None
            if not CHUNK.match(name):
                return _damaged(offset) if any(data[offset:]) else None  # some files are padded with zeros
            known.add(name)
        if name == b"RIFF" or (name == b"LIST" and data[offset + 8 : offset + 12] in (b"movi", b"rec ")):
            offset += 12
            continue
        stop = offset + 8 + size
        if stop > len(data):
            return _truncated(stop - len(data))
        offset = stop + size % 2  # chunks are padded to even sizes; a few writers do not
        if offset != stop and CHUNK.match(data, stop) and not CHUNK.match(data, offset):
            offset = stop
    return None


def _damaged(offset: int) -> Break:
    return "damaged", f"no packet begins at byte {offset} where one should; frames may be missing"


def _truncated(missing: int) -> Break:
    return "truncated", f"{missing} bytes are missing at the end of the file"


def _element(data: mmap.mmap, offset: int) -> tuple[bytes, int, int | None]:
    """Return (name, start of the content, end of the content) of the element at an offset.

    The end is None if it is unknown. The name is empty if no element begins there.
    """
    name_bytes = 9 - data[offset].bit_length()
    size_at = offset + name_bytes
    if name_bytes > 4 or size_at >= len(data):
        return b"", offset, None
    size_bytes = 9 - data[size_at].bit_length()
    start = size_at + size_bytes
    size = int.from_bytes(data[size_at:start], "big") & ((1 << 7 * size_bytes) - 1)
    unknown = size == (1 << 7 * size_bytes) - 1
    return data[offset:size_at], start, None if unknown or size_bytes > 8 else start + size


WALKS: dict[str, Callable[[mmap.mmap], Break | None]] = {"matroska,webm": _walk_matroska, "avi": _walk_avi}

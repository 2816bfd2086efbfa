"""Inspect packets: NAL units of H.264 and HEVC, frames of MPEG-4."""

import re
from collections.abc import Iterator
from typing import Any

ENTRY_NALS = {"h264": {5}, "hevc": set(range(16, 22))}  # IDR; IRAP: nothing later refers to anything before them
MPEG4_PICTURE = b"\0\0\1\xb6"  # start code of a picture


def is_zeroed(data: bytes, length_bytes: int) -> bool:
    """Return whether an H.264 or HEVC packet has zeros that no encoder writes, e.g. from a lost sector.

    Decoders return a frame for such a packet without an error. `length_bytes` comes from `unit_length_bytes`.
    """
    if length_bytes == 4 and data.find(b"\0\0\0", 1) < 0:  # nearly all; the first length may begin with three zeros
        return False
    for unit in _units(data, length_bytes):
        content = unit.rstrip(b"\0")
        if b"\0\0\0" in content or len(unit) - len(content) >= 16 or not unit:
            return True
    return False


def unit_length_bytes(codec: str, extradata: bytes | None) -> int:
    """Return the size in bytes of the length field before each NAL unit (avcC, hvcC); 0 if the packets have none."""
    if codec not in ENTRY_NALS or not extradata or extradata[0] != 1:
        return 0
    return (extradata[4 if codec == "h264" else 21] & 3) + 1


def _units(data: bytes, length_bytes: int) -> Iterator[bytes]:
    """Yield the NAL units of a packet in which each unit is preceded by its length (avcC, hvcC)."""
    start = 0
    while start + length_bytes < len(data):
        length = int.from_bytes(data[start : start + length_bytes], "big")
        start += length_bytes + length
        yield data[start - length : start]


def is_entry(packet: Any, codec: str, length_bytes: int) -> bool:
    """Return whether decoding may start at this packet, which belongs to a keyframe.

    An H.264 keyframe must be an IDR frame, because others are only recovery points. An HEVC keyframe must be an IRAP
    frame. For other codecs the result is always True.
    """
    if codec not in ENTRY_NALS:
        return True
    data = bytes(packet)
    if length_bytes:
        headers = [unit[0] for unit in _units(data, length_bytes) if unit]
    else:
        headers = [data[match.end()] for match in re.finditer(b"\0\0\1(?=.)", data, re.DOTALL)]
    types = {header & 31 if codec == "h264" else header >> 1 & 63 for header in headers}
    return bool(types & ENTRY_NALS[codec])


def mpeg4_entries(packets: list[Any]) -> list[int]:
    """Return the positions of the I-frames among MPEG-4 packets.

    The list is empty unless each packet is exactly one coded I- or P-frame and the first packet is an I-frame.
    """
    entries = []
    for position, packet in enumerate(packets):
        data = bytes(packet)
        picture = data.find(MPEG4_PICTURE) + 4
        if picture < 4 or len(data) < picture + 8 or data.rfind(MPEG4_PICTURE) >= picture:
            return []  # no picture or two in a packet, or one that only repeats the last one
        kind = data[picture] >> 6  # 0: I, 1: P, 2: B
        if kind == 0:
            entries.append(position)
        elif kind != 1:
            return []
    return entries if entries[:1] == [0] else []

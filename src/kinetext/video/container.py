"""Open a video file and choose the stream to decode."""

import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import Any

import av
from av.stream import Disposition

MOV = "mov,mp4,m4a,3gp,3g2,mj2"
# of a frame: FFmpeg's decoders allocate no larger one; decode.py refuses smaller ones
ALLOCATE = {"max_pixels": "80000000"}
OPEN: dict[str, Any] = {"metadata_errors": "ignore"}  # a title in an old encoding is no reason to fail
QUICK = {"probesize": "32", "codec_whitelist": "none"}  # decode no frame to probe the file
PICTURES = (
    Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image
)  # streams that are no video
PROBED_PACKETS = 1000  # read of a file with several video streams: one with a single packet is a picture
PLAYLIST = re.compile(
    rb"[\s\xef\xbb\xbf]*(#EXTM3U|ffconcat version|v=0\s|(<\?xml.*?)?<(MPD|CompositionPlaylist)\b)", re.DOTALL
)


class UnusableError(Exception):
    """The file gives no frame. The message states the reason."""


def has_quick_header(path: Path) -> bool:
    """Return whether the file is MOV, MP4, Matroska or WebM, whose header alone has what decoding single GOPs needs."""
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
    """Open the container of a video file.

    Raises UnusableError, with the reason, for any error in opening it or in the block of the `with` statement.
    """
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
    """Return the stream to decode.

    Raises UnusableError if there is no video stream, if FFmpeg has no decoder for it, or if its frames have more than
    `limit_px` pixels.
    """
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
    """Return the video stream that players show; None if there is none.

    Streams with a known codec are preferred, then the default stream, then the largest. Streams marked as a cover or
    another still image are ignored. An unmarked stream of one image is taken only if there is no other.
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
    """Return the streams that have more than one packet in the first PROBED_PACKETS packets of the file."""
    counts: Counter[int] = Counter()
    with suppress(av.error.FFmpegError), av.open(path, **OPEN) as container:
        packets = container.demux([container.streams[stream.index] for stream in streams])
        counts.update(packet.stream_index for packet in islice(packets, PROBED_PACKETS) if packet.size)
    return [stream for stream in streams if counts[stream.index] > 1]

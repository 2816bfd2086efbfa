"""Which video stream of a file is decoded, in which shape, and files that name other files."""

import resource
import struct
import zlib
from fractions import Fraction

import av
import numpy as np
import pytest
from av.stream import Disposition

from kinetext.config.data import FrameOptions
from kinetext.data.datasets.base import Clip
from kinetext.data.frames import extract_clip
from kinetext.data.measure import measure
from kinetext.video.decode import decode_clip
from kinetext.video.sampling import uniform_indices
from repository import ROOT
from videos import write_video, write_wide

ODD = ROOT.parent / "shared" / "data" / "odd"


def eight(times_s):
    return uniform_indices(len(times_s), 8)


def write_streams(path, *streams):
    """A file of streams, each (codec, width, frames, disposition), all 48 px high; frame i has the grey level 8 i."""
    with av.open(str(path), "w") as output:
        added = []
        for codec, width, num_frames, disposition in streams:
            stream = output.add_stream(codec, rate=25)
            stream.width, stream.height = width, 48
            stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
            stream.disposition = disposition
            added.append((stream, width, num_frames))
        for stream, width, num_frames in added:
            for i in range(num_frames):
                frame = av.VideoFrame.from_ndarray(np.full((48, width, 3), 8 * i, np.uint8), format="rgb24")
                output.mux(stream.encode(frame))
            output.mux(stream.encode(None))
    return path


H264, DEFAULT, NONE = "libx264", Disposition.default, Disposition(0)


@pytest.mark.parametrize(
    ("streams", "chosen"),
    [
        ([(H264, 64, 20, NONE), (H264, 32, 20, DEFAULT)], 1),
        ([(H264, 64, 20, NONE), (H264, 96, 20, NONE), (H264, 80, 20, NONE)], 1),
        ([(H264, 64, 20, DEFAULT), (H264, 96, 20, DEFAULT)], 1),
        ([("mjpeg", 96, 1, DEFAULT), (H264, 64, 20, NONE)], 1),
        ([(H264, 64, 20, NONE), ("mjpeg", 96, 1, DEFAULT)], 0),
        ([("mjpeg", 64, 20, DEFAULT), (H264, 96, 20, NONE)], 0),
        ([("mjpeg", 64, 1, DEFAULT)], 0),
    ],
)
def test_the_default_or_largest_stream_that_moves_is_decoded(tmp_path, streams, chosen):
    path = write_streams(tmp_path / "several.mkv", *streams)
    decoded = decode_clip(path, eight)
    assert decoded.frames_HWC, decoded.error
    assert (decoded.stream, decoded.width_px) == (chosen, streams[chosen][1])
    assert decoded.num_packets == streams[chosen][2]
    row = extract_clip({"clip_id": "a", "path": path, "start_s": None, "end_s": None, "error": None}, FrameOptions())
    assert row["stream"] == chosen


@pytest.mark.parametrize(
    "suffix", ["mp4", "mkv", "avi", "ts"]
)  # the ratio is in the container or in the codec's header
def test_pixels_that_are_not_square_are_displayed_as_players_do(tmp_path, suffix):
    path = write_wide(tmp_path / f"wide.{suffix}")
    shown = decode_clip(path, eight)
    assert (shown.width_px, shown.height_px, shown.pixel_aspect) == (128, 48, 2.0)
    bright_HW = shown.frames_HWC[0][..., 0] > 110
    assert abs(int(bright_HW[24].sum()) - 48) <= 2
    assert abs(int(bright_HW[:, 64].sum()) - 24) <= 2
    stored = decode_clip(path, eight, aspect="storage")
    assert (stored.width_px, stored.height_px, stored.pixel_aspect) == (64, 48, 2.0)
    assert abs(int((stored.frames_HWC[0][24, :, 0] > 110).sum()) - 24) <= 2
    assert measure(FrameOptions(), Clip("a", path, "test", "x")).pixel_aspect == 2.0
    clip = {"clip_id": "a", "path": path, "start_s": None, "end_s": None, "error": None}
    assert extract_clip(clip, FrameOptions())["pixel_aspect"] == 2.0


def test_a_stretched_frame_counts_towards_the_limit(tmp_path):
    path = write_wide(tmp_path / "wide.mp4")
    assert decode_clip(path, eight, limit_px=64 * 48).error.startswith("too_large: a frame of 128x48 px")
    assert decode_clip(path, eight, limit_px=64 * 48, aspect="storage").frames_HWC


def black_rows():
    """The pixels of a black PNG of 16 000 x 16 000 px as a zlib stream: one compressed part of 100 rows, repeated."""
    part, row_bytes = zlib.compressobj(wbits=-15), 1 + 3 * 16_000
    raw = part.compress(bytes(100 * row_bytes)) + part.flush(zlib.Z_FULL_FLUSH)  # after it a part can be repeated
    end = zlib.compressobj(wbits=-15).flush()
    checksum = (16_000 * row_bytes % 65_521) << 16 | 1  # Adler-32 of zeros
    return b"\x78\x9c" + 160 * raw + end + checksum.to_bytes(4, "big")


@pytest.mark.parametrize("suffix", ["mov", "avi"])
def test_a_picture_bomb_is_refused_before_memory_is_allocated(tmp_path, suffix):
    """A PNG of 16 000 x 16 000 px in 750 kB, declared as 64x64: decoded it takes 768 MB."""
    data = black_rows()
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", 16_000, 16_000, 8, 2, 0, 0, 0)), (b"IDAT", data), (b"IEND", b"")]
    parts = [struct.pack(">I", len(c)) + name + c + struct.pack(">I", zlib.crc32(name + c)) for name, c in chunks]
    path = tmp_path / f"bomb.{suffix}"
    with av.open(str(path), "w") as output:
        stream = output.add_stream("png", rate=5)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "rgb24"
        stream.codec_context.open()
        packet = av.Packet(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
        packet.stream, packet.pts, packet.dts, packet.time_base = stream, 0, 0, Fraction(1, 5)
        output.mux(packet)
    before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    decoded = decode_clip(path, eight)
    assert decoded.error.startswith(
        "no_frame: no packet decodes to a picture; 1 packets are damaged, or of more than 80"
    )
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb < 200_000


@pytest.mark.parametrize(
    "text",
    [
        "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{video}\n#EXT-X-ENDLIST\n",
        "ffconcat version 1.0\nfile '{video}'\n",
        "ffconcat version 1.0\nfile outside.ts\n",  # FFmpeg itself opens this one
        "\ufeff\nffconcat version 1.0\nfile '{video}'\n",
        '<?xml version="1.0"?>\n<MPD xmlns="urn:mpeg:dash:schema:mpd:2011">{video}</MPD>',
        "v=0\no=- 0 0 IN IP4 127.0.0.1\nc=IN IP4 127.0.0.1\n",
    ],
)
def test_a_file_that_names_other_files_is_refused_by_its_content(tmp_path, text):
    video = write_video(tmp_path / "outside.ts", 10)
    path = tmp_path / "clip.mp4"
    path.write_text(text.format(video=video))
    decoded = decode_clip(path, eight)
    assert decoded.error == "playlist: the file names other files; list the videos themselves"


def test_a_name_that_ffmpeg_takes_for_a_pattern_is_refused(tmp_path):
    write_streams(tmp_path / "1.jpg", ("mjpeg", 64, 1, NONE))
    (tmp_path / "%d.jpg").write_text("x")
    assert decode_clip(tmp_path / "%d.jpg", eight).error.startswith("playlist: ")
    assert decode_clip(tmp_path / "1.jpg", eight).frames_HWC


@pytest.mark.skipif(not ODD.is_dir(), reason=f"odd videos: not at {ODD}")
@pytest.mark.parametrize(
    ("name", "stream", "size", "ratio"),
    [
        ("two_streams.mkv", 1, (640, 480), 1.0),
        ("cover_plain_first.mkv", 1, (320, 240), 1.0),
        ("sar_2_1.mp4", 0, (320, 240), 2.0),
    ],
)
def test_odd_videos(name, stream, size, ratio):
    decoded = decode_clip(ODD / name, eight)
    assert (decoded.status, decoded.stream, decoded.pixel_aspect) == ("ok", stream, ratio)
    assert (decoded.width_px, decoded.height_px) == size

"""Small videos for tests: noise that drifts under a moving square, so that every frame differs from every other."""

import os
import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from kinetext.data.frames import extract_clip


def write_video(
    path: Path, num_frames: int = 30, codec: str = "libx264", size=(64, 48), container=None, **options
) -> Path:
    """A video of `num_frames` frames at 25 a second; `container` and the others are FFmpeg's options."""
    if codec == "libx264":
        options = {"mbtree": 0} | options  # with it the bytes differ now and then, on a busy machine once in 50 videos
    width, height = size
    random = np.random.default_rng(0)
    world_HWC = random.integers(0, 256, (2 * height, 2 * width, 3), dtype=np.uint8)
    with av.open(str(path), "w", options=container or {}) as output:
        stream = output.add_stream(codec, rate=25, options={key: str(value) for key, value in options.items()})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for i in range(num_frames):
            y, x = i % height, (2 * i) % width
            frame_HWC = world_HWC[y : y + height, x : x + width] // 2
            frame_HWC[:8, i % (width - 8) :][:, :8] = (8 * i % 256, 128, 255 - 5 * i % 256)
            output.mux(stream.encode(av.VideoFrame.from_ndarray(frame_HWC, format="rgb24")))
        output.mux(stream.encode(None))
    return path


def write_wide(path: Path) -> Path:
    """A video of 64x48 pixels that are twice as wide as high: a bright square of 24 px on black."""
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(2, 1)
        for _ in range(12):
            frame_HWC = np.zeros((48, 64, 3), np.uint8)
            frame_HWC[12:36, 20:44] = 220
            output.mux(stream.encode(av.VideoFrame.from_ndarray(frame_HWC, format="rgb24")))
        output.mux(stream.encode(None))
    return path


def write_delayed_video(path: Path, delay: int, num_frames: int, codec: str = "libx264") -> Path:
    """A video at 25 frames/s whose picture starts `delay` frames after the sound."""
    with av.open(str(path), "w") as output:
        video = output.add_stream(codec, rate=25)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        audio = output.add_stream("mp2" if path.suffix == ".ts" else "aac", rate=16000, layout="mono")
        samples = audio.codec_context.frame_size or 1024
        for i in range(16000 * (delay + num_frames) // 25 // samples + 1):
            kind, dtype = ("s16", np.int16) if path.suffix == ".ts" else ("fltp", np.float32)
            frame = av.AudioFrame.from_ndarray(np.zeros((1, samples), dtype), format=kind, layout="mono")
            frame.sample_rate, frame.pts = 16000, i * samples
            output.mux(audio.encode(frame))
        output.mux(audio.encode(None))
        for i in range(num_frames):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 8 * i, np.uint8), format="rgb24")
            frame.pts = delay + i
            output.mux(video.encode(frame))
        output.mux(video.encode(None))
    return path


def write_audio(path: Path) -> None:
    """A file with sound only."""
    with av.open(str(path), "w") as output:
        stream = output.add_stream("aac", rate=16000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 16000
        output.mux(stream.encode(frame))
        output.mux(stream.encode(None))


def all_frames(path: Path) -> list[np.ndarray]:
    """Every frame, decoded from the first packet to the last."""
    with av.open(str(path)) as video:
        return [frame.to_ndarray(format="rgb24") for frame in video.decode(video.streams.video[0])]


def packet_places(path: Path) -> list[tuple[int, int]]:
    """Where each video packet lies in the file: (byte, length), in decode order."""
    with av.open(str(path)) as video:
        return [(packet.pos, packet.size) for packet in video.demux(video.streams.video[0]) if packet.size]


def hangs_or_crashes(clip, options):
    """extract_clip with the decoders that we fear. Here, because worker processes import it: nothing heavy above."""
    if clip["clip_id"] == "hangs.mp4":
        time.sleep(600)
    if clip["clip_id"] == "crashes.mp4":
        os._exit(3)
    return extract_clip(clip, options)

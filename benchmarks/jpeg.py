"""What storing frames as JPEG costs: bytes and error for each quality and chroma subsampling, on real frames.

    python benchmarks/jpeg.py --videos FOLDER [--size 224]

Eight frames of each video, resized as for CLIP; the error is the mean absolute difference in grey levels (0 to 255).
"""

import argparse
import time
from pathlib import Path

import numpy as np

from kinetext.config.data import FrameOptions
from kinetext.data.frames import resize
from kinetext.data.images import decode_image, encode_image
from kinetext.data.videos import SUFFIXES
from kinetext.video.decode import decode_clip
from kinetext.video.sampling import sampler


def read_frames(videos: Path, size_px: int) -> list[np.ndarray]:
    """Eight frames of each video that has them, uint8 [H, W, 3]."""
    choose = sampler(FrameOptions())
    paths = sorted(path for path in videos.iterdir() if path.suffix in SUFFIXES)
    decoded = [decode_clip(path, choose, resize=lambda frames_THWC: resize(frames_THWC, size_px)) for path in paths]
    return [frame_HWC for clip in decoded for frame_HWC in clip.frames_HWC]


def main() -> None:
    """Print a row for each encoding."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--videos", type=Path, required=True, help="folder of video files")
    parser.add_argument("--size", type=int, default=224)
    options = parser.parse_args()
    frames = read_frames(options.videos, options.size)
    print(f"{len(frames)} frames of {options.size} px")
    print(f"{'encoding':14}{'KB':>8}{'mean error':>12}{'largest':>9}{'encode ms':>11}{'decode ms':>11}")
    choices = [("jpeg", q, c) for q in (85, 90, 95, 98, 100) for c in ("420", "444")]
    for encoding, quality, chroma in [*choices, ("raw", 100, "444")]:
        started = time.process_time()
        encoded = [encode_image(frame, encoding, quality, chroma) for frame in frames]
        between = time.process_time()
        decoded = [decode_image(data) for data in encoded]
        ended = time.process_time()
        errors = np.array([np.abs(a.astype(int) - b).mean() for a, b in zip(frames, decoded, strict=True)])
        name = "raw" if encoding == "raw" else f"q{quality} 4:{chroma[1]}:{chroma[2]}"
        kilobytes = np.mean([len(data) for data in encoded]) / 1000
        times_ms = [1000 * seconds / len(frames) for seconds in (between - started, ended - between)]
        print(
            f"{name:14}{kilobytes:8.1f}{errors.mean():12.2f}{errors.max():9.2f}{times_ms[0]:11.2f}{times_ms[1]:11.2f}"
        )


if __name__ == "__main__":
    main()

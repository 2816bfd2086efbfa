"""How many damaged frames get through when files are damaged: kinetext's decoder beside the plain loop over a container.

    python benchmarks/damage.py --videos FOLDER [--variants 30] [--seed 0] [CLIP ...]

Of each clip, variants are made by overwriting one to four stretches among its packets, 4 to 20 000 bytes long, with
random bytes or with zeros. Eight frames are sampled of each and compared with the clean file's:

    damaged   differs from every frame of the clean file by more than one grey level in the mean
    moved     is a clean frame, but not the one of the index that it claims to be: packets before it are gone
    lost      there is no frame, as the file could not be read so far
    silent    damaged or moved, and the clip's status is ok; must be 0

The plain loop decodes until the end or until something raises; nothing that it gives is flagged, so that all of its
frames that are damaged or moved are silent.
"""

import argparse
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np

from kinetext.video.decode import decode_clip
from kinetext.video.sampling import uniform_indices

ROOT = Path(__file__).parents[1]
CLIPS = (
    "Ask-Anything__example_hitting_baseball.mp4",
    "Ask-Anything__video_chat_text_video_chat_with_ChatGPT_images_making_cake.mp4",
    "decord__examples_flipping_a_pancake.mkv",
    "torchcodec__test_resources_nasa_13013.mp4",
)
NUM_FRAMES = 8
LENGTHS = (4, 30, 200, 2000, 20_000)  # bytes of a damaged stretch


def packets_range(path: Path) -> tuple[int, int]:
    """Return the first and last byte of the part of a file that has its video packets."""
    with av.open(str(path)) as video:
        places = [(packet.pos, packet.size) for packet in video.demux(video.streams.video[0]) if packet.size]
    return min(pos for pos, _ in places), max(pos + size for pos, size in places)


def damage(content: bytes, first: int, last: int, random: np.random.Generator) -> bytes:
    """Return the content with one to four stretches between first and last overwritten."""
    data = bytearray(content)
    for _ in range(random.integers(1, 5)):
        length = min(int(random.choice(LENGTHS)), last - first)
        start = int(random.integers(first, last - length + 1))
        data[start : start + length] = random.bytes(length) if random.random() < 0.7 else bytes(length)
    return bytes(data)


def plain_loop(path: Path) -> Iterator[np.ndarray]:
    """Yield the frames until the end or the first exception, as `for frame in container.decode()` gives them."""
    try:
        with av.open(str(path)) as video:
            for frame in video.decode(video.streams.video[0]):
                yield frame.to_ndarray(format="rgb24")
    except (av.error.FFmpegError, IndexError):
        return


def judge(frame_HWC: np.ndarray, index: int, clean: list[np.ndarray]) -> str:
    """Compare a frame with the clean file's frame `index`: right, moved or damaged."""
    if index < len(clean) and not _differs(frame_HWC, clean[index]):
        return "right"
    return "damaged" if all(_differs(frame_HWC, other_HWC) for other_HWC in clean) else "moved"


def _differs(frame_HWC: np.ndarray, clean_HWC: np.ndarray) -> bool:
    """Whether two frames differ by more than one grey level in the mean; a glance at a few pixels settles most."""
    if frame_HWC.shape != clean_HWC.shape:
        return True
    few, clean_few = frame_HWC[::16, ::16].astype(np.int16), clean_HWC[::16, ::16]
    return bool(np.abs(few - clean_few).mean() > 4 or np.abs(frame_HWC.astype(np.int16) - clean_HWC).mean() > 1)


def count(clip: Path, variants: int, random: np.random.Generator, folder: Path) -> Counter:
    """Count the results of the sampled frames of one clip's variants, for kinetext and for the plain loop."""
    clean = list(plain_loop(clip))
    content, (first, last) = clip.read_bytes(), packets_range(clip)
    wanted = uniform_indices(len(clean), NUM_FRAMES)
    counts: Counter = Counter()
    variant = folder / f"variant{clip.suffix}"
    for _ in range(variants):
        variant.write_bytes(damage(content, first, last, random))
        decoded = decode_clip(variant, lambda times_s: uniform_indices(len(times_s), NUM_FRAMES))
        counts["frames"] += NUM_FRAMES
        counts[f"status {decoded.status}"] += 1
        counts["lost"] += NUM_FRAMES - len(decoded.frames_HWC)
        for index, frame_HWC in zip(decoded.frame_indices, decoded.frames_HWC, strict=True):
            verdict = judge(frame_HWC, index, clean)
            counts[verdict] += 1
            counts["silent"] += verdict != "right" and decoded.status == "ok"
        number = -1
        for number, frame_HWC in enumerate(plain_loop(variant)):
            if number in wanted:
                counts["plain: " + judge(frame_HWC, number, clean)] += 1
        counts["plain: lost"] += sum(index > number for index in wanted)
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", nargs="*", default=CLIPS, help="names of clips in the folder")
    parser.add_argument("--videos", type=Path, required=True, help="folder of video files")
    parser.add_argument("--variants", type=int, default=30, help="damaged variants of each clip")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    total: Counter = Counter()
    columns = ("frames", "silent", "damaged", "moved", "lost", "plain: damaged", "plain: moved", "plain: lost")
    print(*columns, "statuses", sep=" | ")
    with tempfile.TemporaryDirectory() as folder:
        for number, name in enumerate(options.clips):
            random = np.random.default_rng([options.seed, number])
            counts = count(options.videos / name, options.variants, random, Path(folder))
            total += counts
            _print(counts, columns, name)
    _print(total, columns, "all")
    raise SystemExit(int(total["silent"] > 0))


def _print(counts: Counter, columns: tuple[str, ...], name: str) -> None:
    statuses = ", ".join(f"{n} {key.removeprefix('status ')}" for key, n in counts.items() if key.startswith("status"))
    print(*(counts[column] for column in columns), f"{statuses} ({name})", sep=" | ", flush=True)


if __name__ == "__main__":
    main()

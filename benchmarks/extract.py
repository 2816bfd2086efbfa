"""CPU seconds (user and system, children included) per clip of kinetext's extractor and of other ways to the same frames.

    python benchmarks/extract.py --videos FOLDER [--rounds 3] [--clips 8]

Every method takes the centres of 8 equal segments of each clip, at 224 px, with one thread in a process of its own that
has warmed up on all of them; the methods take turns, set by set and round by round, and the median of the rounds counts.

    kinetext        decode_clip and resize                      kinetext, JPEG  extract_clip: with encoding and hashes
    torchcodec      exact seek mode, torch's bicubic antialias  decord          and PIL's bicubic
    ffmpeg          the command: select, scale=bicubic, crop;   PyAV            plain: decode to the last frame wanted,
                    it gets the frames' numbers                              and PIL's bicubic

What a method differs by is the mean absolute difference, in grey levels, to decoding everything and PIL's bicubic.
decord and torchcodec are no part of .venv and are listed as missing, unless they are installed beside it:

    uv pip install --target /tmp/others --no-deps decord==0.6.0 torchcodec==0.17.0  # the one for torch 2.15
    apt-get install ffmpeg                                                          # the command, torchcodec's libraries
    PYTHONPATH=/tmp/others python benchmarks/extract.py
"""

import argparse
import csv
import importlib.util
import itertools
import multiprocessing
import os
import resource
import statistics
import subprocess
import tempfile
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from shutil import which
from typing import Any

import numpy as np
from PIL import Image

NUM_FRAMES, SIZE_PX = 8, 224
ENCODED: dict[str, tuple[str, str, tuple[int, int], int, int, dict[str, str]]] = {  # as in Kinetics, SSv2, UCF101
    "H.264 gop 12": ("mp4", "libx264", (340, 256), 30, 300, {"crf": "23", "g": "12"}),
    "H.264 gop 250": ("mp4", "libx264", (340, 256), 30, 300, {"crf": "23", "g": "250"}),
    "VP9 webm": ("webm", "libvpx-vp9", (426, 240), 12, 48, {"crf": "33", "b": "0", "g": "128", "cpu-used": "5"}),
    "MPEG-4 avi": ("avi", "mpeg4", (320, 240), 25, 160, {"b": "800k", "g": "12"}),
}


def centres(num_frames: int) -> list[int]:
    return [(2 * i + 1) * num_frames // (2 * NUM_FRAMES) for i in range(NUM_FRAMES)]


def resize_pil(frame_HWC: np.ndarray) -> np.ndarray:
    """CLIP's preprocessing as its authors do it."""
    image = Image.fromarray(frame_HWC)
    width, height = (int(SIZE_PX * side / min(image.size)) for side in image.size)
    left, top = round((width - SIZE_PX) / 2), round((height - SIZE_PX) / 2)
    image = image.resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(image.crop((left, top, left + SIZE_PX, top + SIZE_PX)))


def with_kinetext(path: Path, _: list[int]) -> list[np.ndarray]:  # only ffmpeg and PyAV use the frames' numbers
    from kinetext.data.frames import resize
    from kinetext.video.decode import decode_clip

    shrink = partial(resize, size_px=SIZE_PX)
    # the others do not stretch frames whose pixels are not square
    return decode_clip(path, lambda times_s: centres(len(times_s)), resize=shrink, aspect="storage").frames_HWC


def with_kinetext_jpeg(path: Path, _: list[int]) -> list[bytes]:
    from kinetext.config.data import FrameOptions
    from kinetext.data.frames import extract_clip

    clip = {"clip_id": path.name, "path": str(path), "start_s": None, "end_s": None, "error": None}
    return extract_clip(clip, FrameOptions(num_frames=NUM_FRAMES, size_px=SIZE_PX, aspect="storage"))["images"]


def with_torchcodec(path: Path, _: list[int]) -> np.ndarray:
    import torch
    from torchcodec.decoders import VideoDecoder

    decoder = VideoDecoder(str(path), seek_mode="exact", num_ffmpeg_threads=1)
    frames_TCHW = decoder.get_frames_at(centres(len(decoder))).data
    short = min(frames_TCHW.shape[2:])
    size = [int(SIZE_PX * side / short) for side in frames_TCHW.shape[2:]]
    if short != SIZE_PX:
        frames_TCHW = torch.nn.functional.interpolate(frames_TCHW, size=size, mode="bicubic", antialias=True)
    top, left = (round((side - SIZE_PX) / 2) for side in size)
    return frames_TCHW[:, :, top : top + SIZE_PX, left : left + SIZE_PX].permute(0, 2, 3, 1).contiguous().numpy()


def with_decord(path: Path, _: list[int]) -> list[np.ndarray]:
    from decord import VideoReader

    reader = VideoReader(str(path), num_threads=1)
    return [resize_pil(frame_HWC) for frame_HWC in reader.get_batch(centres(len(reader))).asnumpy()]


def with_ffmpeg(path: Path, indices: list[int]) -> np.ndarray:
    once = sorted(set(indices))
    select = "+".join(f"eq(n\\,{index})" for index in once)
    scale = f"scale={SIZE_PX}:{SIZE_PX}:force_original_aspect_ratio=increase:flags=bicubic,crop={SIZE_PX}:{SIZE_PX}"
    call = ["ffmpeg", "-v", "error", "-nostdin", "-threads", "1", "-i", str(path), "-an", "-sn", "-filter_threads", "1"]
    call += ["-vf", f"select={select},{scale}", "-fps_mode", "passthrough", "-frames:v", str(len(once))]
    call += ["-pix_fmt", "rgb24", "-f", "rawvideo", "-"]
    frames_THWC = np.frombuffer(subprocess.run(call, stdout=subprocess.PIPE, check=True).stdout, np.uint8)
    return frames_THWC.reshape(-1, SIZE_PX, SIZE_PX, 3)[[once.index(index) for index in indices]]


def with_pyav(path: Path, indices: list[int]) -> list[np.ndarray]:
    import av

    frames = {}
    with av.open(str(path), metadata_errors="ignore") as video:
        video.streams.video[0].thread_type = "NONE"
        for i, frame in enumerate(video.decode(video=0)):
            if i in indices:
                frames[i] = resize_pil(frame.to_ndarray(format="rgb24"))
            if i == indices[-1]:
                break
    return [frames[i] for i in indices]


METHODS: dict[str, Callable] = {"kinetext": with_kinetext, "kinetext, JPEG": with_kinetext_jpeg}
METHODS |= {"torchcodec": with_torchcodec, "decord": with_decord, "ffmpeg": with_ffmpeg, "PyAV": with_pyav}


def encode(source: Path, path: Path, codec: str, size: tuple[int, int], rate: int, count: int, options: Any) -> None:
    """Encode the video's frames, repeated until there are `count`."""
    import av

    with av.open(str(source)) as video:
        frames = [frame.reformat(*size, "yuv420p", dst_color_range="MPEG") for frame in video.decode(video=0)]
    with av.open(str(path), "w") as output:
        stream = output.add_stream(codec, rate=rate, options=options)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        for i, frame in enumerate(itertools.islice(itertools.cycle(frames), count)):
            frame.pts, frame.time_base, frame.pict_type = i, 1 / stream.codec_context.rate, 0
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))


def make_sets(videos: Path, num_clips: int, folder: Path) -> dict[str, list[Path]]:
    """Return the paths of each set: clips encoded into `folder`, and the real clips by their size."""
    with (videos / "manifest.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if not row["error"] and int(row["frames_decoded"]) > 25]
    rows = [row for row in rows if row["codec"] in ("h264", "hevc", "mpeg4") and "10" not in row["pix_fmt"]]
    sets: dict[str, list[Path]] = {"real, 10 s": [], "real, 2 s, 480p": [], "real, others": []}
    for row in rows:
        is_long = row["codec"] == "h264" and int(row["frames_decoded"]) >= 280
        title = "real, 10 s" if is_long else "real, 2 s, 480p" if row["height_px"] == "480" else "real, others"
        sets[title].append(videos / row["file"])
    for number, (name, (suffix, *kind)) in enumerate(ENCODED.items()):
        sources = sets["real, 10 s"][:num_clips]
        sets[name] = [folder / f"{number}-{i}.{suffix}" for i in range(len(sources))]
        for source, path in zip(sources, sets[name], strict=True):
            encode(source, path, *kind)
    return sets


def reference(path: Path) -> tuple[list[int], np.ndarray]:
    """Return the indices of the sampled frames, counted by a full decode, and the frames."""
    import av

    with av.open(str(path)) as video:
        indices = centres(sum(1 for _ in video.decode(video=0)))
    return indices, np.stack(with_pyav(path, indices))


def cpu_s() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(part.ru_utime + part.ru_stime for part in used)


def serve(connection: Any, name: str) -> None:
    """Receive clips and whether to time them; send the CPU seconds, or the results."""
    with suppress(EOFError):  # the parent is done
        while True:
            clips, timed = connection.recv()
            started = cpu_s()
            results = [METHODS[name](path, indices) for path, indices in clips]
            connection.send(cpu_s() - started if timed else results)


def start(name: str) -> Callable:
    """Start a child process and return the function that queries it."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    context.Process(target=serve, args=(theirs, name), daemon=True).start()
    return lambda *what: ours.send(what) or ours.recv()


def difference(images: list[Any], exact: list[np.ndarray]) -> float:
    """Mean absolute difference of a set's frames, grey levels."""
    from kinetext.data.images import decode_image

    pairs = ((image, e) for clip, es in zip(images, exact, strict=True) for image, e in zip(clip, es, strict=True))
    pairs = ((decode_image(image) if isinstance(image, bytes) else image, e) for image, e in pairs)
    return statistics.mean(float(np.abs(np.subtract(image, e, dtype=int)).mean()) for image, e in pairs)


def measure(sets: dict[str, list[Path]], names: list[str], rounds: int) -> dict[str, dict[str, tuple[float, float]]]:
    """By set and method: CPU seconds per clip, and the difference of its frames."""
    ask = {name: start(name) for name in names}
    exact = {title: [reference(path) for path in paths] for title, paths in sets.items()}
    clips = {title: [(path, exact[title][i][0]) for i, path in enumerate(paths)] for title, paths in sets.items()}
    off = {  # this warms up, too
        (title, name): difference(ask[name](clips[title], False), [frames for _, frames in exact[title]])
        for title, name in itertools.product(sets, names)
    }
    seconds: dict[tuple[str, str], list[float]] = {key: [] for key in off}
    for _, title, name in itertools.product(range(rounds), sets, names):
        seconds[title, name].append(ask[name](clips[title], True) / len(clips[title]))
    return {title: {n: (statistics.median(seconds[title, n]), off[title, n]) for n in names} for title in sets}


def report(by_title: dict[str, dict[str, tuple[float, float]]]) -> None:
    """Print a table by set and method, and the geometric means of the ratios over the sets."""
    print(f"{'set':16}{'method':18}{'CPU s/clip':>11}{'kinetext/it':>13}{'difference':>12}")
    ratios: dict[str, list[float]] = {}
    for title, methods in by_title.items():
        for name, (seconds, off) in methods.items():
            ratios.setdefault(name, []).append(methods["kinetext"][0] / seconds)
            print(f"{title:16}{name:18}{seconds:11.4f}{ratios[name][-1]:13.2f}{off:12.3f}")
    print(f"\n{'over all sets':16}{'kinetext/it: geometric mean, largest':>42}")
    for name, values in ratios.items():
        print(f"{name:16}{statistics.geometric_mean(values):33.2f}{max(values):9.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--videos", type=Path, required=True, help="folder of video files with a manifest.csv")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--clips", type=int, default=8, help="per encoded set, at most")
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    there = {name: importlib.util.find_spec(name) for name in ("torchcodec", "decord")} | {"ffmpeg": which("ffmpeg")}
    absent = [name for name, versions in there.items() if not versions]
    with tempfile.TemporaryDirectory(prefix="extract-") as folder:
        sets = make_sets(options.videos, options.clips, Path(folder))
        print(", ".join(f"{title}: {len(paths)} clips" for title, paths in sets.items()))
        report(measure(sets, [name for name in METHODS if name not in absent], options.rounds))
    print(*(f"{name} is missing: it is not installed; the top of benchmarks/extract.py says how" for name in absent))


if __name__ == "__main__":
    main()

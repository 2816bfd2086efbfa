"""Compare kinetext's frames of unusual videos with those of the ffmpeg command, which also makes the videos.

    uv pip install --target /tmp/iff imageio-ffmpeg  # an ffmpeg command
    python benchmarks/odd_videos.py --ffmpeg /tmp/iff/imageio_ffmpeg/binaries/ffmpeg-* [--videos FOLDER] [--only REGEX]

The files are listed in odd_videos.txt; cut, damaged and joined ones are made of these. Of each, the centres of 8 equal
segments are compared, with display matrix and pixel aspect applied. The command decodes the whole file
(`-fps_mode passthrough`, autorotation, `scale` by the pixel aspect). Columns:

    status, stream   of kinetext; in brackets the stream that the command chooses, where it is another
    frames           that kinetext counts in the file; in brackets the command's number, where it is another
    distinct         of the frames compared; short and damaged files repeat some
    mean             absolute difference of the frame that differs most, grey levels
    verdict          equal: each frame has the size of the command's frame of the same number, differs from it by less
                     than 1.0, and from no other frame by less; the numbers of frames and the streams are equal
                     refused: no frame, for the reason expected of this file, or the command has no frame either
                     DIFFERENT: neither; the exit status is 1
    rule             what decides where it is not the frames of this file as the command gives them by default

Chroma: where the command's default differs by 1.0 or more, it is given the chroma position, the interpolation or the
separate fields that PyAV's conversion uses. Damage: a damaged or cut file is compared with the frames of the same
numbers before the damage, because the command gives concealed frames and does not count lost ones. A frame that is not
among these (no error is reported for it, or packets before it are lost) must be one of the command's, in its order.
"""

import argparse
import math
import random
import re
import shlex
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import av
import numpy as np

from kinetext.video.decode import decode_clip
from kinetext.video.sampling import uniform_indices

LIST = Path(__file__).with_suffix(".txt")
NUM_FRAMES, LIMIT_MEAN = 8, 1.0  # grey levels
WORDS = {  # 2 s of frames that all differ, sound, and encoders
    "V": "-f lavfi -i testsrc2=s=160x120:r=25:d=2",
    "M": "-f lavfi -i testsrc2=s=160x120:r=25:d=2,negate,hflip",  # another film
    "ODD": "-f lavfi -i testsrc2=s=17x31:r=25:d=2",
    "DOT": "-f lavfi -i color=s=1x1:r=25:d=2,format=rgb24,geq=r=5*N:g=255-5*N:b=3*N",
    "COVER": "-f lavfi -i mandelbrot=s=320x320:r=1",
    "A": "-f lavfi -i sine=d=2",
    "X264": "-c:v libx264 -preset veryfast -bf 3 -g 12 -pix_fmt yuv420p",
    "MPEG2": "-c:v mpeg2video -bf 2 -g 12 -b:v 2M",
    "MPEG4": "-c:v mpeg4 -bf 2 -g 12 -b:v 1M",
    "VP9": "-c:v libvpx-vp9 -deadline realtime -cpu-used 8 -b:v 1M",
}
CUT = {  # file: the parts of its bytes that are kept
    "fast.mp4": (0.9, 0.5, 0.1), "fragments.mp4": (0.6,), "h264.mp4": (0.6,), "h264.mkv": (0.8, 0.3, 0.001),
    "vp9.webm": (0.5,), "mpeg4.avi": (0.7,), "h264.flv": (0.6,), "h264.ts": (0.5,), "wmv2.wmv": (0.6,),
    "mpeg2.vob": (0.6,), "theora.ogv": (0.6,), "raw.h264": (0.7,), "gif.gif": (0.6,),
}  # fmt: skip
BEGUN = {  # file: the part of its bytes that is gone from its start
    "mpeg2.ts": 0.3, "h264.ts": 0.3, "intra_refresh.ts": 0.4, "mpeg2.vob": 0.3, "raw.m2v": 0.4, "h264.mp4": 0.5,
}  # fmt: skip
DAMAGED = ["fast.mp4", "h264.mkv", "h264.avi", "h264.ts", "mpeg4.avi", "mpeg2.vob", "vp9.webm", "raw.h264", "hevc.mp4"]
JOINED = {
    "joined.ts": ("mpeg2.ts", "mpeg2_mirrored.ts"), "joined_h264.ts": ("h264.ts", "h264_mirrored.ts"),
    "joined.vob": ("mpeg2.vob", "mpeg1.mpg"), "joined.h264": ("raw.h264", "raw_mirrored.h264"),
    "joined_sizes.h264": ("raw.h264", "raw_larger.h264"), "joined.mkv": ("h264.mkv", "h264.mkv"),
    "named_wrongly.mp4": ("h264.mkv",), "named_wrongly.avi": ("mpeg2.ts",), "no_suffix": ("vp9.webm",),
}  # fmt: skip
TEXTS = {
    "text.mp4": b"This is no video.\n" * 99, "page.mp4": b"<!DOCTYPE html><html><body>404</body></html>",
    "empty.mp4": b"", "zeros.mp4": bytes(9999), "playlist.mp4": b"#EXTM3U\n#EXTINF:2,\nh264.ts\n",
    "concat.mp4": b"ffconcat version 1.0\nfile h264.mp4\n",
}  # fmt: skip
EXPECTED = {  # file, or its name without suffix: reason of the refusal, or what differs; why the command differs
    "sound": ("no_video_stream", ""), "sound_cover": ("no_video_stream", "a cover is no video"),
    "playlist": ("playlist", ""), "concat": ("playlist", ""), "empty": ("empty_file", ""), "text": ("not_a_video", ""),
    "zeros": ("not_a_video", ""), "page": ("not_a_video", ""), "from_50%_h264.mp4": ("not_a_video", ""),
    "cut_at_60%_h264.mp4": ("not_a_video", "its index is last"), "webp": ("no_frame", "no decoder in PyAV's FFmpeg 8"),
    "sar_99_1": ("ratio", "a pixel aspect beyond 10 is ignored"),
    "cover_plain_first": ("stream", "one picture is no video"),
    "joined_sizes": ("parts", "frames of its parts: the command scales all to the first size"),
}  # fmt: skip
CHROMA = ["", ":in_chroma_loc=left", ":flags=bilinear", ":flags=bilinear:in_chroma_loc=left", ":interl=-1"]
COLUMNS = {
    "file": "<28", "status": "<9", "stream": ">6", "frames": ">6", "distinct": ">8", "mean": ">5",
    "verdict": "<9", "rule": "",
}  # fmt: skip


def make(folder: Path, ffmpeg: str) -> dict[str, str]:
    """Make the files. Return the names of the damaged and cut ones with the name of the file before the damage."""
    rows = [row.split(" | ") for row in LIST.read_text().splitlines() if not row.startswith("#") and row]
    for name, arguments in rows:
        words = shlex.split(" ".join(WORDS.get(word, word) for word in arguments.split()))
        call = [ffmpeg, "-v", "error", "-nostdin", "-y", "-threads", "1", *words, "-bitexact", name]
        if status := subprocess.run(call, cwd=folder, stderr=subprocess.DEVNULL, check=False).returncode:
            (folder / name).unlink(missing_ok=True)
            print(f"{name} is missing: this ffmpeg command cannot make it (exit status {status})")
    before = {}
    for source, share in ((source, share) for source, shares in CUT.items() for share in shares):
        data = (folder / source).read_bytes()
        name = f"cut_at_{share:.0%}_{source}"
        (folder / name).write_bytes(data[: int(share * len(data))])
        before[name] = source
    for source, share in BEGUN.items():
        data = (folder / source).read_bytes()
        unit = 188 if source.endswith(".ts") else 1  # bytes of a packet
        (folder / f"from_{share:.0%}_{source}").write_bytes(data[int(share * len(data)) // unit * unit :])
    rng = random.Random(0)
    for source in DAMAGED:
        data = bytearray((folder / source).read_bytes())
        for part in (0.4, 0.6, 0.8):
            at = int((part + rng.uniform(-0.05, 0.05)) * len(data))
            data[at : at + 300] = rng.randbytes(300)
        (folder / f"damaged_{source}").write_bytes(data)
        before[f"damaged_{source}"] = source
    for name, sources in JOINED.items():
        (folder / name).write_bytes(b"".join((folder / source).read_bytes() for source in sources))
    for name, data in TEXTS.items():
        (folder / name).write_bytes(data)
    pack(folder / "one_b.avi", folder / "packed.avi")
    return before


def pack(source: Path, path: Path) -> None:
    """Rewrite MPEG-4 with single B-frames as DivX 5 does: P and B in one packet, then a packet without a picture."""
    with av.open(str(source)) as video, av.open(str(path), "w") as output:
        stream = output.add_stream_from_template(video.streams.video[0])
        packets = [bytes(packet) for packet in video.demux(video=0) if packet.size]
        kinds = [data[data.index(b"\0\0\1\xb6") + 4] >> 6 for data in packets]  # 0: I, 1: P, 2: B
        head = packets[0].index(b"\0\0\1\xb6")
        packets[0] = packets[0][:head] + b"\0\0\1\xb2DivX503b1393p\0" + packets[0][head:]
        for i, kind in enumerate(kinds):
            if kind == 2:
                packets[i - 1], packets[i] = packets[i - 1] + packets[i], b"\0\0\1\xb6\x51\x80\x7f"
        for i, data in enumerate(packets):
            packet = av.Packet(data)
            packet.stream, packet.pts, packet.dts = stream, i, i
            packet.time_base, packet.is_keyframe = 1 / video.streams.video[0].average_rate, kinds[i] == 0
            output.mux(packet)


def by_command(ffmpeg: str, path: Path, choice: list[str], scale: str) -> tuple[int | None, list[np.ndarray]]:
    """Return the index of the stream that the ffmpeg command decodes, and all of its frames."""
    call = [ffmpeg, "-nostdin", "-hide_banner", "-threads", "1", "-i", str(path), *choice, "-an", "-sn", "-dn"]
    call += ["-vf", scale, "-fps_mode", "passthrough", "-pix_fmt", "rgb24", "-c:v", "ppm", "-f", "image2pipe", "-"]
    done = subprocess.run(call, capture_output=True, check=False, timeout=300)
    frames, at = [], 0
    while header := re.compile(rb"P6\n(\d+) (\d+)\n255\n").match(done.stdout, at):
        width, height = int(header[1]), int(header[2])
        at = header.end() + width * height * 3
        frames.append(np.frombuffer(done.stdout[header.end() : at], np.uint8).reshape(height, width, 3))
    stream = re.search(rb"Stream #0:(\d+)\S* -> #0:0", done.stderr)
    return (int(stream[1]) if stream else None), frames


def distances(frame_HWC: np.ndarray, others: list[np.ndarray]) -> list[float]:
    """Return the mean absolute difference to each of the frames, in grey levels; infinite if its size is another."""
    subtract = partial(np.subtract, frame_HWC, dtype=np.int16)
    return [float(np.abs(subtract(o)).mean()) if o.shape == frame_HWC.shape else math.inf for o in others]


def compare(path: Path, before: Path | None, ffmpeg: str) -> dict[str, Any]:
    """Return a row of the table. `before` is the file before its damage, if it is damaged."""
    counts: list[int] = []

    def choose(times_s: Sequence[float]) -> list[int]:
        counts.append(len(times_s))
        return uniform_indices(len(times_s), NUM_FRAMES)

    decoded = decode_clip(path, choose)
    row: dict[str, Any] = {"file": path.name, "status": decoded.status, "verdict": "DIFFERENT"}
    reason, rule = EXPECTED.get(path.name) or EXPECTED.get(path.stem, ("", ""))
    if decoded.status == "failed" or reason not in ("", "ratio", "stream", "parts"):
        expected = bool(reason) and str(decoded.error).startswith(reason)
        if not reason and not by_command(ffmpeg, path, [], "null")[1]:
            expected, rule = True, "the command has no frame either"
        rule = "; ".join(filter(None, [decoded.error, rule]))
        return row | {"verdict": "refused" if expected else "DIFFERENT", "rule": rule}
    stretch = "iw:round(ih/sar)" if decoded.rotation_deg in (90, 270) else "max(1\\,round(iw*sar)):ih"
    size = "iw:ih" if reason == "ratio" else stretch
    sources = [path.with_name(name) for name in JOINED[path.name]] if reason == "parts" else [before or path]
    for chroma in CHROMA:
        get = partial(by_command, ffmpeg, scale=f"scale={size}{chroma}")
        stream = get(sources[0], [])[0]
        choice = [] if stream == decoded.stream else ["-map", f"0:{decoded.stream}"]
        frames = [frame_HWC for source in sources for frame_HWC in get(source, choice)[1]]
        row |= {"stream": f"{decoded.stream} ({stream})" if choice else decoded.stream, "frames": counts[-1]}
        if max(decoded.frame_indices) >= len(frames) or (counts[-1] != len(frames) and not before):
            return row | {"frames": f"{counts[-1]} ({len(frames)})", "rule": rule}
        table = [distances(frame_HWC, frames) for frame_HWC in decoded.frames_HWC]
        means = [line[index] for line, index in zip(table, decoded.frame_indices, strict=True)]
        if before or max(means) < LIMIT_MEAN:
            break
    rule = "; ".join(filter(None, [rule, chroma and f"the command with scale={chroma[1:]}"]))
    right = [mean < LIMIT_MEAN and mean == min(line) for mean, line in zip(means, table, strict=True)]
    if before:
        rule = f"{sum(right)} frames as before the damage"
    if before and not all(right):  # damage that no decoder reports: kinetext and the command show the same
        concealed = by_command(ffmpeg, path, choice, f"scale={size}")[1]
        lines = [distances(frame_HWC, concealed) for frame_HWC in decoded.frames_HWC]
        nearest = [line.index(min(line)) for line in lines]
        means = [mean if ok else min(line) for mean, ok, line in zip(means, right, lines, strict=True)]
        rule += f", {NUM_FRAMES - sum(right)} as the command gives them for the damaged file"
        right = [mean < LIMIT_MEAN for mean in means] + [nearest == sorted(nearest)]
    chosen = {frames[index].tobytes() for index in decoded.frame_indices}
    verdict = "equal" if all(right) and (not choice or reason == "stream") else "DIFFERENT"
    return row | {"distinct": len(chosen), "mean": f"{max(means):.2f}", "verdict": verdict, "rule": rule}


def text(row: dict[str, Any]) -> str:
    """Return a row of the table as text."""
    return "  ".join(f"{row.get(name, '')!s:{width}}" for name, width in COLUMNS.items())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--ffmpeg", default="ffmpeg", help="the command")
    parser.add_argument("--videos", type=Path, help="folder of further video files")
    parser.add_argument("--only", default="", help="regular expression: compare only the files whose names have it")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="odd-") as name:
        folder = Path(name)
        before = {folder / damaged: folder / source for damaged, source in make(folder, options.ffmpeg).items()}
        paths = sorted(folder.iterdir())
        if options.videos:
            further = [path for path in sorted(options.videos.iterdir()) if path.suffix not in (".md", ".csv")]
            before |= {path: path.with_name(path.name[4:]) for path in further if path.name.startswith("dmg_")}
            paths += further
        print(text({name: name for name in COLUMNS}))
        rows = []
        for path in paths:
            if re.search(options.only, path.name):
                rows.append(compare(path, before.get(path), options.ffmpeg))
                print(text(rows[-1]), flush=True)
    verdicts = Counter(row["verdict"] for row in rows)
    reasons = Counter(row["rule"].split(":")[0] for row in rows if row["verdict"] == "refused")
    print(f"\n{len(rows)} files: " + ", ".join(f"{count} {verdict}" for verdict, count in verdicts.most_common()))
    print("refused: " + ", ".join(f"{count} {reason}" for reason, count in reasons.most_common()))
    sys.exit(verdicts["DIFFERENT"] > 0)


if __name__ == "__main__":
    main()

"""Clips per second that FrameStore reads from a shard in memory, per core, and how that grows with a second process.

    python benchmarks/read.py --videos FOLDER [--clips 200] [--rounds 7]

A clip is 8 frames of 224 px, as JPEG or raw; every clip of the shard is read once in random order, in each round. Per
core is per CPU second of one thread, which other users of the machine hardly change. Two processes read at the same
time, each the whole shard: `wall` counts the seconds on the clock, `CPU` those of the processors; where the two
processes have no core each to themselves, only the second says how they scale. The best of the rounds counts.
"""

import argparse
import multiprocessing
import os
import random
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
STORED: dict[str, dict[str, Any]] = {  # FrameOptions
    "jpeg 4:4:4": {"encoding": "jpeg"},
    "jpeg 4:2:0": {"encoding": "jpeg", "chroma": "420"},
    "raw": {"encoding": "raw"},
}


def make_shard(videos: Path, num_clips: int, stored: dict[str, Any], path: Path) -> list[str]:
    """Write a shard that repeats the same real clips; return the clips' names."""
    from kinetext.config.data import FrameOptions
    from kinetext.core import tables
    from kinetext.data.frames import extract_clip

    options = FrameOptions(**stored)
    sources = sorted(path for path in videos.iterdir() if path.suffix in (".mp4", ".mkv"))
    blank = {"clip_id": "", "start_s": None, "end_s": None, "error": None}
    rows = [extract_clip(blank | {"path": str(path)}, options) for path in sources]
    rows = [row for row in rows if row["status"] == "ok"]
    rows = [rows[i % len(rows)] | {"clip_id": f"clip{i}"} for i in range(num_clips)]
    tables.write_shard("frames", (rows[i : i + 100] for i in range(0, num_clips, 100)), path)
    return [row["clip_id"] for row in rows]


def serve(connection: Any, shard: Path, clip_ids: list[str]) -> None:
    """Read every clip on each request and send (wall, CPU) seconds."""
    import torch

    from kinetext.data.store import FrameStore

    torch.set_num_threads(1)
    store, order = FrameStore([shard]), random.Random(0)
    while connection.recv():
        order.shuffle(clip_ids)
        wall_s, cpu_s = time.perf_counter(), time.process_time()
        for clip_id in clip_ids:
            store.frames(clip_id)
        connection.send((time.perf_counter() - wall_s, time.process_time() - cpu_s))


def best_rates(children: list[Any], num_clips: int, rounds: int) -> tuple[float, float]:
    """Clips per second of all children together, by the clock and by the processors; the best round."""
    rates = []
    for _ in range(rounds):
        for child in children:
            child.send(True)
        seconds = [child.recv() for child in children]
        rates.append([sum(num_clips / times[kind] for times in seconds) for kind in (0, 1)])
    wall, cpu = (max(rate[kind] for rate in rates) for kind in (0, 1))
    return wall, cpu


def start(shard: Path, clip_ids: list[str]) -> Any:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    context.Process(target=serve, args=(theirs, shard, clip_ids), daemon=True).start()
    return ours


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--videos", type=Path, required=True, help="folder of video files")
    parser.add_argument("--clips", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    print(f"{'':6}{'clips/s a core':>16}{'2 processes / 1: wall':>23}{'CPU':>7}")
    for name, stored in STORED.items():
        with tempfile.TemporaryDirectory(prefix="read-") as folder:
            shard = Path(folder) / "00000.arrow"
            clip_ids = make_shard(options.videos, options.clips, stored, shard)
            children = [start(shard, clip_ids) for _ in range(2)]
            best_rates(children, options.clips, 1)  # warms up
            one = best_rates(children[:1], options.clips, options.rounds)
            two = best_rates(children, options.clips, options.rounds)
            for child in children:
                child.send(False)
            print(f"{name:10}{one[1]:16.0f}{two[0] / one[0]:23.2f}{two[1] / one[1]:7.2f}")


if __name__ == "__main__":
    main()

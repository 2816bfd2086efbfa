"""Wall and CPU seconds and peak memory of index_clips on your own list of 300 000 lines (module csv).

    python benchmarks/index.py [--lines 300000]

Once with every listed file absent, and once with every second one there, as an empty file: nothing is decoded here.
Each in a process of its own; its imports do not count in the seconds but do in the memory.
"""

import argparse
import multiprocessing
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

FOLDERS = 400  # as many as Kinetics has classes


def make_list(lines: int, there: bool, folder: Path) -> None:
    """list.csv, and the folder `videos` with every second file of it or with none."""
    root = folder / "videos"
    for label in range(FOLDERS):
        (root / f"class_{label}").mkdir(parents=True)
    names = [f"class_{i % FOLDERS}/video_{i:06d}.mp4" for i in range(lines)]
    with (folder / "list.csv").open("w") as file:
        file.write("path,split,label\n")
        for i, name in enumerate(names):
            file.write(f"{name},{'test' if i // FOLDERS % 10 == 0 else 'train'},class_{i % FOLDERS}\n")
    for name in names[::2] if there else []:
        (root / name).touch()


def index(folder: Path, connection: Any) -> None:
    """Index in a child process and send (wall s, CPU s, peak MiB)."""
    from kinetext.config.data import DatasetOptions
    from kinetext.data.index import index_clips

    options = DatasetOptions(module="csv", options={"root": str(folder / "videos"), "list": str(folder / "list.csv")})
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    index_clips("own", options, folder / "clips.parquet", folder / "shards.txt", folder / "media", folder / "cache")
    seconds = time.perf_counter() - wall_s, time.process_time() - cpu_s
    connection.send((*seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--lines", type=int, default=300_000)
    lines = parser.parse_args().lines
    context = multiprocessing.get_context("spawn")
    measured = {}
    for what, there in {"all absent": False, "half present": True}.items():
        with tempfile.TemporaryDirectory(prefix="index-") as folder:
            make_list(lines, there, Path(folder))
            ours, theirs = context.Pipe()
            child = context.Process(target=index, args=(Path(folder), theirs))
            child.start()
            measured[what] = ours.recv()
            child.join()
    print(f"{lines} lines{'wall s':>17}{'CPU s':>9}{'peak MiB':>11}")
    for what, (wall_s, cpu_s, peak_mib) in measured.items():
        print(f"{what:18}{wall_s:12.1f}{cpu_s:9.1f}{peak_mib:11.0f}")


if __name__ == "__main__":
    main()

"""What a study takes: jobs, bytes, hours of GPU and CPU, seconds of Snakemake's graph. docs/scale.md has what it printed.

    python benchmarks/scale.py --videos FOLDER [--train-rate 245.7] [--forward-rate 654]

What a machine without a GPU can measure is measured here: CPU seconds and bytes of a clip's frames, memory and seconds of
opening them, bytes of scores, of a checkpoint and of a list of clips. The rest are rates of other benchmarks, given above
as arguments: clips a second of `train_throughput.py` (its `stan`, the dearer of two), and of one forward pass there.
"""

import argparse
import resource
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kinetext.config.data import FrameOptions
from kinetext.core import tables
from kinetext.data.frames import extract_clip
from kinetext.data.store import FrameStore

METHODS, SEEDS, VIEWS, SHARD_CLIPS, FRAMES = 12, 3, 4, 1000, 8
JOBS_A_RUN = 4  # plan_run, train_method, predict_clips, measure_run
JOBS_BESIDE = (
    10  # index_clips, check_frames, split_clips, prepare_backbone, embed_labels, mining, texts, log_run, tables, report
)


@dataclass(frozen=True)
class Study:
    """A data set under every method and seed."""

    name: str
    train: int  # clips
    test: int
    classes: int
    epochs: int


STUDIES = (  # clips and classes of the papers (arXiv 1705.06950, 1907.06987); epochs as X-CLIP and ViFi-CLIP train
    Study("Kinetics-400", 246_245, 20_000, 400, 30),
    Study("Kinetics-700", 545_317, 35_000, 700, 30),
    Study("10 million clips", 9_900_000, 100_000, 1000, 5),
)


@dataclass(frozen=True)
class Costs:
    """What one of each takes."""

    extract_cpu_s: float  # a clip
    frames_bytes: float  # a clip
    open_s: float  # a clip, in each process that reads frames
    open_bytes: float  # a clip, likewise, of memory
    score_bytes: float  # a score of one clip, frame order and class
    checkpoint_bytes: float


def measure(videos: Path) -> Costs:
    """Measure the costs that need no GPU."""
    extract_cpu_s, frames_bytes = frames_of_real_clips(videos)
    open_s, open_bytes = opening()
    return Costs(extract_cpu_s, frames_bytes, open_s, open_bytes, scores(), checkpoint())


def frames_of_real_clips(videos: Path) -> tuple[float, float]:
    """CPU seconds and stored bytes of a clip, over the real clips that can be read."""
    blank = {"clip_id": "", "start_s": None, "end_s": None, "error": None}
    clips = [
        blank | {"path": str(path)} for path in sorted(videos.iterdir()) if path.suffix in (".mp4", ".mkv", ".webm")
    ]
    extract_clip(clips[0], FrameOptions())
    began = time.process_time()
    rows = [extract_clip(clip, FrameOptions()) for clip in clips]
    took_s = time.process_time() - began
    rows = [row for row in rows if row["status"] == "ok"]
    return took_s / len(rows), sum(len(image) for row in rows for image in row["images"]) / len(rows)


def opening(clips: int = 300_000) -> tuple[float, float]:
    """Seconds and bytes of memory that a process takes for each clip of the shards it opens."""
    with tempfile.TemporaryDirectory(prefix="scale-") as folder:
        paths = [Path(folder) / f"{number}.arrow" for number in range(clips // SHARD_CLIPS)]
        blank = {"status": "ok", "frame_indices": [*range(FRAMES)], "timestamps_s": [0.0] * FRAMES}
        for number, path in enumerate(paths):
            rows = [
                blank | {"clip_id": f"train/a_class_of_videos/{number}-{i:011d}", "images": [b"x"] * FRAMES}
                for i in range(SHARD_CLIPS)
            ]
            tables.write_shard("frames", [rows], path)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        began = time.perf_counter()
        store = FrameStore(paths)
        took_s = time.perf_counter() - began
        grown = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
        assert all(f"train/a_class_of_videos/0-{i:011d}" in store for i in range(SHARD_CLIPS))
    return took_s / clips, grown / clips


def scores(clips: int = 1000, classes: int = 400) -> float:
    """Bytes of one score in predictions.parquet."""
    random = np.random.default_rng(0)
    rows = (
        {
            "clip_id": f"{i}",
            "split": "test",
            "frame_order": "ordered",
            "target": 0,
            "score_K": random.normal(size=classes).astype("f4"),
        }
        for i in range(clips)
    )
    with tempfile.TemporaryDirectory(prefix="scale-") as folder:
        path = Path(folder) / "predictions.parquet"
        tables.write_table("predictions", rows, path, {"labels": {}})
        return path.stat().st_size / clips / classes


def checkpoint() -> float:
    """Bytes of stan on ViT-B-16, text tower trained: as large as they get here."""
    from train_throughput import build

    return sum(4.0 * parameter.numel() for parameter in build("stan", "ViT-B-16", "cpu").parameters())


def show(study: Study, costs: Costs, train_rate: float, forward_rate: float, graph_ms: float) -> None:
    """Print the study's column of docs/scale.md."""
    runs, clips = METHODS * SEEDS, study.train + study.test
    shards = -(-clips // SHARD_CLIPS)
    jobs = 2 * shards + JOBS_A_RUN * runs + JOBS_BESIDE
    predicted = study.test * VIEWS * runs
    kept = {
        "frames": costs.frames_bytes * clips,
        "features": 2.0 * 512 * FRAMES * clips,
        "checkpoints": costs.checkpoint_bytes * runs,
        "scores": costs.score_bytes * predicted * study.classes,
    }
    gpu_h = {
        "embed": clips / forward_rate / 3600,
        "train": study.train * study.epochs * runs / train_rate / 3600,
        "predict": predicted / forward_rate / 3600,
    }
    print(f"\n{study.name}: {clips} clips, {study.epochs} epochs, {runs} runs")
    print(f"  jobs {jobs} (graph {jobs * graph_ms / 1000:.0f} s), shards {shards}")
    print(f"  extraction {costs.extract_cpu_s * clips / 3600:.0f} CPU h")
    print(
        "  GPU h " + ", ".join(f"{part} {hours:.0f}" for part, hours in gpu_h.items()) + f": {sum(gpu_h.values()):.0f}"
    )
    print(
        "  GB "
        + ", ".join(f"{part} {size / 1e9:.0f}" for part, size in kept.items())
        + f": {sum(kept.values()) / 1e9:.0f}"
    )
    print(
        f"  each process that reads frames: {costs.open_bytes * clips / 2**30:.1f} GiB, {costs.open_s * clips:.0f} s to open them"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=Path, required=True, help="folder of video files")
    parser.add_argument("--train-rate", type=float, default=245.7, help="clips a second, `train_throughput.py`")
    parser.add_argument("--forward-rate", type=float, default=654.0, help="clips a second, its `forward`")
    parser.add_argument("--graph-ms", type=float, default=1.19, help="a job, `dag.py`")
    options = parser.parse_args()
    costs = measure(options.videos)
    for name, value in vars(costs).items():
        print(f"{name:20}{value:.6g}")
    for study in STUDIES:
        show(study, costs, options.train_rate, options.forward_rate, options.graph_ms)


if __name__ == "__main__":
    main()

"""Measure how long the report of a large study takes: python benchmarks/render.py [--methods 12] [--seeds 3] [--classes 400] [--clips 20000]

The study is synthetic, in a temporary folder: one data set with frames of 64 px, confusable classes and two text sets.
Every run has predictions, metrics and curves. The script prints seconds and CPU seconds of `collect_metrics` and
`render_report`, and the size of the page.
"""

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import simplejpeg
import yaml

from kinetext.config.report import ReportOptions
from kinetext.core.tables import schema, write_shard, write_table
from kinetext.evaluation.metrics import all_metrics
from kinetext.evaluation.predictions import Predictions
from kinetext.report.collect import collect_metrics
from kinetext.report.render import render_report

FRAMES, SIZE_PX, SHARD_CLIPS = 8, 64, 1000
METRICS = ("top1", "top5", "mean_class_accuracy")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", type=int, default=12)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--classes", type=int, default=400)
    parser.add_argument("--clips", type=int, default=20_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder)
        labels = [f"class {k}" for k in range(options.classes)]
        target_B = np.arange(options.clips) % options.classes
        sources = make_data(results, labels, target_B)
        runs = [
            make_run(results, method, seed, labels, target_B)
            for method in range(options.methods)
            for seed in range(options.seeds)
        ]
        page, times = results / "report.html", [now()]
        collect_metrics(runs, results, results / "tables")
        times.append(now())
        render_report(results / "tables", ReportOptions(), *sources, page, results / "figures")
        times.append(now())
        size = page.stat().st_size
    print(f"{len(runs)} runs, {options.classes} classes, {options.clips} clips")
    for name, before, after in (("collected", *times[:2]), ("rendered", *times[1:])):
        seconds, cpu = (end - start for start, end in zip(before, after, strict=True))
        print(f"{name} in {seconds:.1f} s ({cpu:.1f} s of CPU time)")
    print(f"page of {size / 2**20:.1f} MiB")


def now() -> tuple[float, float]:
    """Return the time and the CPU time of this process, seconds."""
    return time.perf_counter(), time.process_time()


def make_data(results: Path, labels: list[str], target_B: np.ndarray) -> tuple[list[Any], list[Any], list[Path]]:
    """Write clips, frames, confusable classes and texts; return the files that `render_report` reads."""
    data = results / "data/d"
    image = np.tile(np.arange(SIZE_PX, dtype=np.uint8)[:, None, None], (1, SIZE_PX, 3))
    images = [simplejpeg.encode_jpeg(np.ascontiguousarray(np.roll(image, 8 * t, 0))) for t in range(FRAMES)]
    clips, shards = [], []
    for first in range(0, len(target_B), SHARD_CLIPS):
        rows, name = [], f"{first // SHARD_CLIPS:05d}"
        for b in range(first, min(first + SHARD_CLIPS, len(target_B))):
            about = {"clip_id": f"clip{b}", "split": "test", "label": labels[target_B[b]], "path": "x", "shard": name}
            clips.append(about)
            rows.append({"clip_id": f"clip{b}", "status": "ok", "images": images})
        shards.append(data / "frames" / f"{name}.arrow")
        write_shard("frames", [rows], shards[-1])
    write_table("clips", clips, data / "clips.parquet", {"labels": labels})
    mined = [
        {"label": label, "rival": labels[(k + step) % len(labels)], "score": 1 / step, "rule": rule, "rank": step}
        for rule in ("features", "text")
        for k, label in enumerate(labels)
        for step in range(1, 6)
    ]
    folder = data / "supervised/b"
    write_table("confusables", mined, folder / "confusables.parquet")
    texts = []
    for name, kind, sentences in (("names", "name", 1), ("motion", "motion", 8)):
        rows = [
            {"source": name, "kind": kind, "label": label, "sentence": f"{label} moves {n}", "status": "ok"}
            for label in labels
            for n in range(sentences)
        ]
        texts.append(folder / f"texts/{name}.parquet")
        write_table("texts", rows, texts[-1], {})
    confusables = [("d", "supervised", "b", folder / "confusables.parquet")]
    return [("d", data / "clips.parquet", shards)], confusables, texts


def make_run(results: Path, method: int, seed: int, labels: list[str], target_B: np.ndarray) -> Path:
    """Write the files of a run. Methods have two text sets in turn."""
    about = {"dataset": "d", "protocol": "supervised", "backbone": "b", "method": f"m{method // 2}"}
    about |= {"texts": ("names", "motion")[method % 2]}
    run = f"d/supervised/b/{about['method']}/{about['texts']}/seed{seed}"
    folder, random = results / "runs" / run, np.random.default_rng([method, seed])
    folder.mkdir(parents=True)
    spec = {**about, "seed": seed, "run": run, "method_module": "stan", "method_options": {}, "training": {}}
    spec |= {"dataset_options": {}, "backbone_options": {}, "text_options": {}, "fingerprint": run}
    (folder / "run.yaml").write_text(yaml.safe_dump(spec))
    clips, classes = len(target_B), len(labels)
    score_BK = random.standard_normal((clips, classes), dtype=np.float32)
    score_BK[np.arange(clips), target_B] += 2 + method / 10
    columns = {
        name: pa.nulls(clips, kind)
        for name, kind in zip(schema("predictions").names, schema("predictions").types, strict=True)
    }
    offsets = pa.array(np.arange(0, score_BK.size + 1, classes), pa.int32())
    columns |= {
        "clip_id": pa.array([f"clip{b}" for b in range(clips)]),
        "split": pa.repeat("test", clips),
        "frame_order": pa.repeat("ordered", clips),
        "target": pa.array(target_B, pa.int32()),
        "score_K": pa.ListArray.from_arrays(offsets, pa.array(score_BK.ravel())),
    }
    write_table("predictions", pa.table(columns), folder / "predictions.parquet", {"labels": {"test": labels}})
    sample, metrics = Predictions(labels, target_B, score_BK), all_metrics()
    rows = []
    for name in METRICS:
        value = metrics[name].measure(metrics[name].prepare(sample))
        ends = {"low": value - 0.01, "high": value + 0.01, "variance": 1e-5, "clips": clips, "groups": clips}
        chance = metrics[name].chance(sample)
        rows.append(
            {
                **about,
                "seed": seed,
                "split": "test",
                "frame_order": "ordered",
                "metric": name,
                "value": value,
                **ends,
                "chance": chance,
            }
        )
    write_table("metrics", rows, folder / "metrics.parquet")
    curve = {
        "epoch": [*range(1, 31)] * 2,
        "metric": ["train_loss"] * 30 + ["val_top1"] * 30,
        "value": random.random(60),
    }
    pq.write_table(pa.table(curve), folder / "curves.parquet")
    return folder


if __name__ == "__main__":
    main()

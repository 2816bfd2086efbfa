"""How long a thousand runs take to collect: python benchmarks/collect.py [--runs 1000] [--clips 2000] [--classes 20]
[--processes 2]

Ten data sets of ten methods with two texts and five seeds, made up in a temporary folder; every run has its predictions in
four frame orders. Printed: the size of the predictions, and the seconds of `kinetext collect-metrics` from start to end.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from kinetext.core.schemas import FRAME_ORDERS
from kinetext.core.tables import schema, write_table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--clips", type=int, default=2000)
    parser.add_argument("--classes", type=int, default=20)
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder)
        runs = [make_run(results, number, options.clips, options.classes) for number in range(options.runs)]
        size = sum((run / "predictions.parquet").stat().st_size for run in runs)
        command = [sys.executable, "-m", "kinetext", "collect-metrics", *map(str, runs), "--results", folder]
        command += ["--output", str(results / "tables"), "--processes", str(options.processes)]
        started = time.perf_counter()
        subprocess.run(command, check=True)
        seconds = time.perf_counter() - started
    print(f"{len(runs)} runs of {options.clips} clips, {size / 2**20:.0f} MiB of predictions: {seconds:.1f} s")


def make_run(results: Path, number: int, clips: int, classes: int) -> Path:
    dataset, row, seed = f"d{number // 100}", number % 100 // 5, number % 5
    about = {"dataset": dataset, "protocol": "supervised", "method": f"m{row // 2}", "texts": f"t{row % 2}"}
    about |= {"backbone": "b", "seed": seed}
    run = f"{dataset}/supervised/tiny/m{row // 2}/t{row % 2}/seed{seed}"
    folder = results / "runs" / run
    folder.mkdir(parents=True)
    spec = {**about, "run": run, "method_module": "stan", "method_options": {}, "training": {}, "fingerprint": run}
    spec |= {"dataset_options": {}, "backbone_options": {}, "text_options": {}}
    (folder / "run.yaml").write_text(yaml.safe_dump(spec))
    random = np.random.default_rng(number)
    target_B = np.arange(clips) % classes
    score_BK = random.normal(size=(clips, classes)).astype(np.float32)
    score_BK[np.arange(clips), target_B] += 1 + row / 20
    columns = dict.fromkeys(schema("predictions").names)
    columns.update(
        {
            "clip_id": [f"clip{b}" for b in range(clips)] * len(FRAME_ORDERS),
            "group": pa.nulls(clips * len(FRAME_ORDERS), pa.string()),
            "split": ["test"] * clips * len(FRAME_ORDERS),
            "frame_order": np.repeat(FRAME_ORDERS, clips),
            "target": pa.array(np.tile(target_B, len(FRAME_ORDERS)), pa.int32()),
            "score_K": pa.array(list(score_BK) * len(FRAME_ORDERS), pa.list_(pa.float32())),
        }
    )
    rows = clips * len(FRAME_ORDERS)
    table = pa.table({name: pa.nulls(rows) if column is None else column for name, column in columns.items()})
    labels = {"test": [f"class {k}" for k in range(classes)]}
    write_table("predictions", table, folder / "predictions.parquet", {"labels": labels})
    metric = {"split": "test", "metric": "top1", "value": 0.5, "low": 0.4, "high": 0.6, "clips": clips}
    write_table(
        "metrics",
        [{**about, **metric, "frame_order": order} for order in FRAME_ORDERS * 12],
        folder / "metrics.parquet",
    )
    curve = {"epoch": range(1, 21), "metric": ["train_loss"] * 20, "value": random.normal(size=20)}
    pq.write_table(pa.table(curve), folder / "curves.parquet")
    return folder


if __name__ == "__main__":
    main()

"""The tables of every run put together: `kinetext collect-metrics`.

`metrics` and `runs` are as tables.py declares them. `differences` says for each two rows of a comparison (method with
texts) by how much the one is above the other on the same clips: each clip's top1 (t2v_r1 where clips have captions) is
averaged over seeds, subtracted, and bootstrapped over clips. On the same clips, for two methods stumble over the same ones, and the interval of the
difference is then much narrower than two separate intervals suggest.
"""

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from kinetext.config import read_run
from kinetext.evaluation.measure import main_values
from kinetext.evaluation.predictions import read_predictions
from kinetext.tables import read_metadata, read_rows, read_table, schema, write_table

COST = (
    "new_parameters",
    "trained_parameters",
    "train_seconds",
    "train_clips_seen",
    "processes",
    "threads",
    "device",
    "commit",
)

Key = tuple[str, str]  # method, texts


def collect_metrics(runs: list[Path], output: Path) -> None:
    """Read the run folders; write metrics.parquet, runs.parquet and differences.parquet into the folder `output`.

    Only files of the folders handed over are read: what lies in results/ from an earlier configuration stays out.
    Raises ValueError if a run has not been measured.
    """
    unmeasured = [str(run) for run in runs if not (run / "metrics.parquet").is_file()]
    if unmeasured:
        raise ValueError(f"{unmeasured[0]}: metrics.parquet is missing; run `kinetext measure-run` for it first")
    write_table("runs", [_run_row(run) for run in runs], output / "runs.parquet")
    rows = _differences(runs)
    write_table("differences", rows, output / "differences.parquet")
    columns = schema("metrics").names
    parts = [read_table("metrics", run / "metrics.parquet").select(columns) for run in runs]
    whole = pa.concat_tables(parts).to_pylist() if parts else []
    write_table("metrics", whole, output / "metrics.parquet")


def _run_row(run: Path) -> dict[str, Any]:
    """One row of the table `runs`."""
    spec = read_run(run / "run.yaml")
    cost = json.loads((run / "cost.json").read_text()) if (run / "cost.json").is_file() else {}
    about = {
        key: getattr(spec, key)
        for key in ("run", "dataset", "protocol", "method", "texts", "backbone", "seed", "fingerprint")
    }
    about |= {f"test_{key}": value for key, value in spec.testing.model_dump().items()}
    predictions = run / "predictions.parquet"
    speed = read_metadata(predictions).get("predict_clips_per_s") if predictions.is_file() else None
    return {**about, **{key: cost.get(key) for key in COST}, "predict_clips_per_s": speed}


def _differences(runs: list[Path]) -> list[dict[str, Any]]:
    """The table `differences`: every ordered pair of rows of every comparison, under the ordered view."""
    seeds: dict[tuple[str, ...], dict[Key, list[dict[str, float]]]] = defaultdict(lambda: defaultdict(list))
    for run in runs:
        if (run / "predictions.parquet").is_file():
            spec = read_run(run / "run.yaml")
            for (split, metric), right in _right_clips(run / "predictions.parquet").items():
                seeds[spec.dataset, split, spec.protocol, metric][spec.method, spec.texts].append(right)
    found = []
    for (dataset, split, protocol, metric), made in seeds.items():
        about = {"dataset": dataset, "split": split, "protocol": protocol, "metric": metric}
        found += [{**about, **row} for row in _paired(made)]
    return found


def _right_clips(predictions: Path) -> dict[tuple[str, str], dict[str, float]]:
    """For each split under the ordered view, and the name of what is compared, its value for each clip by name."""
    table = read_table("predictions", predictions)
    names: dict[tuple[str, str], list[str]] = defaultdict(list)
    columns = (table[column].to_pylist() for column in ("split", "view", "clip_id"))
    for split, view, clip_id in zip(*columns, strict=True):
        names[split, view].append(clip_id)  # in the order of the table, as read_predictions has them
    found = {}
    for (split, view), made in read_predictions(predictions).items():
        if view == "ordered":
            metric, value_B = main_values(made)
            found[split, metric] = dict(zip(names[split, view], value_B.tolist(), strict=True))
    return found


def _paired(made: dict[Key, list[dict[str, float]]], draws: int = 1000, seed: int = 0) -> list[dict[str, Any]]:
    """Differences of all pairs of rows N over the clips B that all have, one bootstrap draw of clips for all rows."""
    keys = sorted(made)
    clips = sorted(set.intersection(*(set(right) for key in keys for right in made[key])))
    if not clips:
        return []
    value_BN = np.array([[np.mean([right[clip] for right in made[key]]) for key in keys] for clip in clips])
    random = np.random.default_rng(seed)
    drawn_DN = np.stack([value_BN[random.integers(len(clips), size=len(clips))].mean(axis=0) for _ in range(draws)])
    mean_N, rows = value_BN.mean(axis=0), []
    for a, ours in enumerate(keys):
        for b, theirs in enumerate(keys):
            if a != b:
                low, high = np.quantile(drawn_DN[:, a] - drawn_DN[:, b], [0.025, 0.975])
                row: dict[str, Any] = {
                    "method": ours[0],
                    "texts": ours[1],
                    "than_method": theirs[0],
                    "than_texts": theirs[1],
                }
                row |= {"value": float(mean_N[a] - mean_N[b]), "low": float(low), "high": float(high)}
                rows.append({**row, "clips": len(clips), "seeds": min(len(made[ours]), len(made[theirs]))})
    return rows


def read_tables(tables: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]], list[dict[str, Any]]]:
    """Rows of the tables metrics, runs and differences that `collect_metrics` wrote."""
    metrics, runs, differences = (
        read_rows(name, tables / f"{name}.parquet") for name in ("metrics", "runs", "differences")
    )
    return metrics, runs, differences

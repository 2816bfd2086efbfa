"""What was compared: the clips of a data set, the options of the runs on it, and the text sets."""

import json
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

from kinetext.config.data import PROTOCOL
from kinetext.core.paths import LEVELS
from kinetext.core.schemas import DESCRIPTIONS, is_used
from kinetext.core.tables import open_shard, read_metadata, read_rows
from kinetext.data.labels import row_classes
from kinetext.report.descriptions import control_of
from kinetext.report.sources import DatasetFiles
from kinetext.texts.positions import part_name

MAX_CAPTIONED_CLIPS = 50  # clips whose captions are shown
MAX_SENTENCES = 6  # of a class
MAX_PAIRS = 5  # of near-equal clips that are named


def summarize_dataset(
    dataset: DatasetFiles, metrics: list[dict[str, Any]], runs: list[dict[str, Any]]
) -> dict[str, Any]:
    """Return what the report says about a data set, by key.

    It has the numbers of clips, the failed clips, the deviations from the published sizes, near-equal clips, and the
    protocols, methods, texts and seeds of the runs.
    """
    clips = read_rows("clips", dataset.clips)
    failed, status = [], Counter[str]()
    for shard in dataset.shards:
        table = open_shard("frames", shard).select(["clip_id", "status", "error"])
        status.update(table["status"].to_pylist())
        failed += [row for row in table.to_pylist() if row["status"] == "failed"] if status["failed"] else []
    dataset_runs = [run for run in runs if run["dataset"] == dataset.name]
    return {
        "name": dataset.name,
        "clips": Counter(row["split"] for row in clips),
        "classes": len({label for row in clips for label in row_classes(row)}),
        "captions": sum(len(row["captions"] or []) for row in clips),
        "status": status,
        "failed": failed,
        "deviations": [
            *_deviations(read_metadata(dataset.clips)),
            *_near_equal(dataset.clips.parent, sorted({run["protocol"] for run in dataset_runs})),
        ],
        "labelled": _labelled_clips(dataset_runs),
        "commits": sorted({row["commit"] for row in metrics if row["dataset"] == dataset.name and row["commit"]}),
        **{level: sorted({run[level] for run in dataset_runs}) for level in LEVELS if level != "dataset"},
    }


def _labelled_clips(runs: list[dict[str, Any]]) -> list[str]:
    """Return a sentence for each method that uses labelled validation clips under a K-shot protocol.

    Such a method chooses the epoch or the setting on validation clips, so it needs more labels than K per class.
    """
    statements = set()
    for run in runs:
        match = PROTOCOL.fullmatch(run["protocol"])
        chooses = json.loads(run["training"] or "{}").get("select") == "best_val" or run.get("trials")
        if match and match["shots"] and chooses:
            shots = match["shots"]
            statements.add(
                f"{run['method']}, {run['protocol']}: {shots} shots + up to {shots} validation clips per class"
            )
    return sorted(statements)


def _deviations(index: dict[str, Any]) -> list[str]:
    """Return how the data set differs from the published one: sizes of lists, missing files, files in no list."""
    deviations = [
        f"{what}: {listed} listed, {published} published"
        for what, (listed, published) in index.get("sizes", {}).items()
        if listed != published
    ]
    for key, words in (
        ("absent", "listed files are missing"),
        ("unlisted", "videos in its folder are in no list, or excluded"),
        ("skipped", "files and class folders give no clip"),
    ):
        count = index.get(key, {}).get("count", 0)
        deviations += [f"{count} {words}"] if count else []
    return deviations


def _near_equal(folder: Path, protocols: list[str]) -> list[str]:
    """Return a warning for each protocol under which test clips look like training clips, with their number."""
    warnings = []
    for protocol in protocols:
        path = folder / protocol / "splits.parquet"
        pairs: dict[str, Any] = read_metadata(path).get("near_equal", {}) if path.is_file() else {}
        if pairs.get("count"):
            first = "; ".join(f"{train} ~ {test}" for train, test, _ in pairs["first"][:MAX_PAIRS])
            warnings.append(
                f"{pairs['count']} test clips look like training clips under {protocol} ({first}); if they were cut from one "
                "recording, accuracies are too high: `group` keeps them together, `exclude` leaves them out"
            )
    return warnings


def summarize_texts(path: Path) -> dict[str, Any]:
    """Return the first sentences of each class (or clip) of a text set, and the number of rejected ones by reason."""
    rows, rows_by_label = read_rows("texts", path), defaultdict(list)
    for row in rows:
        rows_by_label[row["label"]].append(row)
    captioned = any(row["kind"] == "caption" for row in rows)
    describing = any(row["kind"] in DESCRIPTIONS for row in rows)
    usable = {
        row["label"] for row in rows if is_used(row["status"]) and (row["kind"] in DESCRIPTIONS or not describing)
    }
    shown = list(rows_by_label.items())[: MAX_CAPTIONED_CLIPS if captioned else None]
    return {
        "name": path.stem,
        "dataset": ", ".join(path.parts[-5:-2]),  # {dataset}/{protocol}/{backbone}/texts/{name}.parquet
        "used": sum(is_used(row["status"]) for row in rows),
        "cut": sum(_reason(row) == "cut" for row in rows),
        "described": f"{len(rows_by_label)} {'clips' if captioned else 'classes'}",
        "sources": sorted({row["model"] or row["source"] for row in rows if row["model"] or row["source"]}),
        "control": control_of(path),
        "rejected": Counter(_reason(row) for row in rows if not is_used(row["status"])),
        "unusable": [label for label in rows_by_label if label not in usable],
        "classes": {
            label: {
                "first": [(_part(row), row["sentence"]) for row in label_rows if is_used(row["status"])][
                    :MAX_SENTENCES
                ],
                "used": sum(is_used(row["status"]) for row in label_rows),
                "rejected": Counter(row["status"] for row in label_rows if not is_used(row["status"])),
            }
            for label, label_rows in shown
        },
    }


def _part(row: dict[str, Any]) -> str:
    """Return the part of the action that a description is about, such as "start" or "step at 0.33"."""
    if row["kind"] not in DESCRIPTIONS:
        return ""
    part = part_name(row["position"])
    return f"step at {row['position']:.2g}" if part == "steps" else part


def _reason(row: dict[str, Any]) -> str:
    """Return the reason of a status without its details: a status reads `reason: details`."""
    return row["status"].partition(":")[0]

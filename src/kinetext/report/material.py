"""What the report says of its material: the data sets, example clips of confusable classes, and the texts."""

from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

from kinetext.core.schemas import DESCRIPTIONS
from kinetext.core.tables import open_shard, read_metadata, read_rows
from kinetext.report.descriptions import control_of
from kinetext.report.figures import Estimate, frame_strip

RULES = {
    "declared": "given by the data set",
    "features": "confused by the image-text model",
    "text": "alike in their names",
    "file": "named in your file",
}
MINED = ("features", "text")  # rules that depend on the image-text model

CAPTIONED_CLIPS = 50  # clips whose captions are shown

Dataset = tuple[str, Path, list[Path]]  # name, clips, frame shards
Mined = tuple[str, str, str, Path]  # dataset, protocol, backbone, their confusables


def about_dataset(dataset: Dataset, metrics: list[dict[str, Any]], runs: list[dict[str, Any]]) -> dict[str, Any]:
    """What was compared on a data set: its clips, which of them failed, methods, texts and seeds."""
    name, clips_path, shards = dataset
    clips = read_rows("clips", clips_path)
    failed, status = [], Counter[str]()
    for shard in shards:
        table = open_shard("frames", shard).select(["clip_id", "status", "error"])
        status.update(table["status"].to_pylist())
        failed += [row for row in table.to_pylist() if row["status"] == "failed"] if status["failed"] else []
    own = [run for run in runs if run["dataset"] == name]
    return {
        "name": name,
        "clips": Counter(row["split"] for row in clips),
        "classes": len({row["label"] for row in clips if row["label"] is not None}),
        "captions": sum(len(row["captions"] or []) for row in clips),
        "status": status,
        "failed": failed,
        "odd": _odd(read_metadata(clips_path)),
        "commits": sorted({row["commit"] for row in metrics if row["dataset"] == name and row["commit"]}),
        **{
            column: sorted({run[column] for run in own})
            for column in ("protocol", "backbone", "method", "texts", "seed")
        },
    }


def _odd(index: dict[str, Any]) -> list[str]:
    """Where the data set is not as published: its lists' sizes, absent files, files that no list names."""
    found = [
        f"{what}: {listed} listed, {published} published"
        for what, (listed, published) in index.get("sizes", {}).items()
        if listed != published
    ]
    for what, words in (
        ("absent", "listed files are absent"),
        ("unlisted", "videos of its folder are in no list or excluded"),
    ):
        count = index.get(what, {}).get("count", 0)
        found += [f"{count} {words}"] if count else []
    return found


def gallery(
    dataset: Dataset, confusables: Path, measured: dict[str, dict[Any, Estimate]], examples: int
) -> dict[str, Any] | None:
    """The first confusable pairs with a clip of each class and each row's accuracy inside the pair; None without any.

    `measured` is what was measured with these confusables: metric -> row -> number. Of the rules that have
    pairs, the first in the order of RULES is shown.
    """
    _, clips_path, shards = dataset
    by_name = {f"{row['rule']}:{row['label']}/{row['rival']}": row for row in read_rows("confusables", confusables)}
    of_pairs = {metric.removeprefix("pair_accuracy:"): cells for metric, cells in measured.items()}
    pairs = [(by_name[pair], cells) for pair, cells in of_pairs.items() if pair in by_name]
    rule = next((rule for rule in RULES if any(row["rule"] == rule for row, _ in pairs)), None)
    pairs = [pair for pair in pairs if pair[0]["rule"] == rule]
    pairs.sort(key=lambda pair: (-(pair[0]["score"] or 0.0), pair[0]["label"]))
    if not pairs or not examples:
        return None
    clips = sorted(read_rows("clips", clips_path), key=lambda row: row["split"] != "test")
    return {
        "rule": rule,
        "pairs": [
            {
                "labels": [row["label"], row["rival"]],
                "strips": [_strip(label, clips, shards) for label in (row["label"], row["rival"])],
                "cells": dict(sorted(cells.items(), key=lambda item: -item[1].value)),
            }
            for row, cells in pairs[:examples]
        ],
    }


def _strip(label: str, clips: list[dict[str, Any]], shards: list[Path]) -> list[str]:
    """Frames of the first clip of a class that has any, test clips first."""
    where = {shard.stem: shard for shard in shards}
    for row in clips:
        if row["label"] == label and row["shard"] in where:
            frames = frame_strip(row["clip_id"], where[row["shard"]])
            if frames:
                return frames
    return []


def about_texts(path: Path) -> dict[str, Any]:
    """The sentences of one text table, class by class, and why others were rejected; of captions, those of the first clips."""
    rows, classes = read_rows("texts", path), defaultdict(list)
    for row in rows:
        classes[row["label"]].append(row)
    captioned = any(row["kind"] == "caption" for row in rows)
    describing = any(row["kind"] in DESCRIPTIONS for row in rows)
    usable = {row["label"] for row in rows if row["status"] == "ok" and (row["kind"] in DESCRIPTIONS or not describing)}
    shown = list(classes.items())[: CAPTIONED_CLIPS if captioned else None]
    return {
        "name": path.stem,
        "dataset": ", ".join(path.parts[-5:-2]),  # {dataset}/{protocol}/{backbone}/texts/{name}.parquet
        "used": sum(row["status"] == "ok" for row in rows),
        "described": f"{len(classes)} {'clips' if captioned else 'classes'}",
        "sources": sorted({row["model"] or row["source"] for row in rows if row["model"] or row["source"]}),
        "control": control_of(path),
        "rejected": Counter(_reason(row) for row in rows if row["status"] != "ok"),
        "unusable": [label for label in classes if label not in usable],
        "classes": {
            label: {
                "first": [row["sentence"] for row in own if row["status"] == "ok"][:3],
                "used": sum(row["status"] == "ok" for row in own),
                "rejected": Counter(row["status"] for row in own if row["status"] != "ok"),
            }
            for label, own in shown
        },
    }


def _reason(row: dict[str, Any]) -> str:
    """Why a sentence is not used, without what is particular to it: statuses read `reason: what exactly`."""
    return row["status"].partition(":")[0]

"""Example clips of confusable pairs: the frames of one clip of each class, and each row's accuracy within the pair."""

import base64
from pathlib import Path
from typing import Any

import pyarrow.compute as pc

from kinetext.core.tables import open_shard, read_rows
from kinetext.data.images import decode_image, encode_image
from kinetext.evaluation.intervals import Estimate
from kinetext.report.estimates import Estimates
from kinetext.report.keys import Comparison, RowKey, key_of
from kinetext.report.sources import RULES, ConfusablesFile, DatasetFiles

PAIR_METRIC = "pair_accuracy:"  # metrics of single pairs: pair_accuracy:{rule}:{label}/{rival}


def galleries(
    datasets: list[DatasetFiles],
    confusables: list[ConfusablesFile],
    estimates: Estimates,
    runs: list[dict[str, Any]],
    num_pairs: int,
) -> list[dict[str, Any]]:
    """Return up to `num_pairs` example pairs from each table of confusables, with the rows measured on these pairs."""
    dataset_by_name, shown = {dataset.name: dataset for dataset in datasets}, []
    for file in confusables:
        source = (file.dataset, file.protocol, file.backbone)
        keys = {key_of(run) for run in runs if (run["dataset"], run["protocol"], run["backbone"]) == source}
        measured = estimates.get(Comparison(file.dataset, file.protocol, "test"), {})
        of_pairs = {
            metric.removeprefix(PAIR_METRIC): {key: estimate for key, estimate in cells.items() if key in keys}
            for (metric, frame_order), cells in measured.items()
            if frame_order == "ordered" and metric.startswith(PAIR_METRIC) and keys & cells.keys()
        }
        pairs = _pairs(dataset_by_name[file.dataset], file.path, of_pairs, num_pairs)
        if pairs:
            backbones = {f.backbone for f in confusables if (f.dataset, f.protocol) == (file.dataset, file.protocol)}
            names = [file.dataset, file.protocol, *([file.backbone] if len(backbones) > 1 else [])]
            shown.append({"title": ", ".join(names), **pairs})
    return shown


def _pairs(
    dataset: DatasetFiles, confusables: Path, of_pairs: dict[str, dict[RowKey, Estimate]], num_pairs: int
) -> dict[str, Any] | None:
    """Return the most confusable pairs, with the frames of a clip of each class; None if there are no pairs.

    `of_pairs` has the accuracies by "{rule}:{label}/{rival}". Pairs come from the first rule in RULES that has any.
    """
    row_of = {f"{row['rule']}:{row['label']}/{row['rival']}": row for row in read_rows("confusables", confusables)}
    pairs = [(row_of[pair], cells) for pair, cells in of_pairs.items() if pair in row_of]
    rule = next((rule for rule in RULES if any(row["rule"] == rule for row, _ in pairs)), None)
    pairs = [pair for pair in pairs if pair[0]["rule"] == rule]
    pairs.sort(key=lambda pair: (-(pair[0]["score"] or 0.0), pair[0]["label"]))
    if not pairs or not num_pairs:
        return None
    clips = sorted(read_rows("clips", dataset.clips), key=lambda row: row["split"] != "test")
    return {
        "rule": rule,
        "pairs": [
            {
                "labels": [row["label"], row["rival"]],
                "strips": [_first_strip(label, clips, dataset.shards) for label in (row["label"], row["rival"])],
                "cells": dict(sorted(cells.items(), key=lambda item: -item[1].value)),
            }
            for row, cells in pairs[:num_pairs]
        ],
    }


def _first_strip(label: str, clips: list[dict[str, Any]], shards: list[Path]) -> list[str]:
    """Return the frames of the first clip of a class that has frames, test clips first."""
    shard_by_name = {shard.stem: shard for shard in shards}
    for row in clips:
        if row["label"] == label and row["shard"] in shard_by_name:
            frames = frame_strip(row["clip_id"], shard_by_name[row["shard"]])
            if frames:
                return frames
    return []


def frame_strip(clip_id: str, shard: Path, most: int = 8) -> list[str]:
    """Return up to `most` evenly spaced frames of a clip in order, as data URIs; empty if it has no frames."""
    table = open_shard("frames", shard)
    rows = table.filter(pc.equal(table["clip_id"], clip_id)).to_pylist()
    images = (rows[0]["images"] or []) if rows else []
    count = min(most, len(images))
    picked = [images[round(i * (len(images) - 1) / max(1, count - 1))] for i in range(count)]
    jpegs = [encode_image(decode_image(image), "jpeg", 95) for image in picked]
    return ["data:image/jpeg;base64," + base64.b64encode(jpeg).decode() for jpeg in jpegs]

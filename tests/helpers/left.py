"""What a training left in its run folder: its weights and curves, and whether the weights of two are the same."""

import pyarrow.parquet as pq
import torch

from kinetext.core.tensors import load_tensors


def weights(folder):
    return load_tensors(folder / "checkpoint.safetensors")[0]


def curve(folder, metric):
    return [row["value"] for row in pq.read_table(folder / "curves.parquet").to_pylist() if row["metric"] == metric]


def equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)

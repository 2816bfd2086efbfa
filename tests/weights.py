"""What a training left: its weights, and whether two are the same."""

import torch

from kinetext.models.checkpoint import load_tensors


def weights(folder):
    return load_tensors(folder / "checkpoint.safetensors")[0]


def equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)

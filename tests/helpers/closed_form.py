"""Weights and inputs that are a formula of a name, for parity with numbers recorded from papers' code.

The original was filled by this formula, run in float64 on a CPU, and its outputs were recorded. No weight file is needed.
"""

import json
import math
import re
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

PARITY = Path(__file__).parents[1] / "parity"


def recorded(name: str) -> dict:
    return json.loads((PARITY / f"{name}.json").read_text())["cases"]


def uniform(name: str, shape: tuple[int, ...]) -> Tensor:
    """Numbers in [-0.5, 0.5): a hash of name and index (murmur3's finaliser)."""
    z = np.arange(np.prod(shape, dtype=np.int64), dtype=np.uint64)
    z += np.uint64(zlib.crc32(name.encode()) * 2654435761 % 2**64)
    for factor in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
        z ^= z >> np.uint64(33)
        z *= np.uint64(factor)
    z ^= z >> np.uint64(33)
    return torch.from_numpy((z >> np.uint64(11)).astype(np.float64)).div_(2.0**53).sub_(0.5).view(shape)


def closed_input(name: str, shape: tuple[int, ...]) -> Tensor:
    return 2 * uniform(name, shape)


def cotangent(output: Tensor) -> Tensor:
    """What an output is multiplied with to get the scalar whose gradients were recorded."""
    return uniform("cotangent", tuple(output.shape)) * (2 if output.ndim >= 2 else 4 / 3)


def closed_weight(name: str, shape: tuple[int, ...]) -> Tensor:
    """The original's parameter of this name."""
    u = uniform(name, shape)
    if not shape:
        return torch.tensor(math.log(1 / 0.07), dtype=torch.float64)
    if name.endswith("weight") and len(shape) == 1 and re.search("ln|norm", name):
        return 1 + 0.2 * u
    return (0.3 if len(shape) >= 2 else 0.2) * u


@torch.no_grad()
def fill(module: nn.Module, original_name) -> None:
    """Fill every parameter. `original_name` maps the name of a parameter here to its name in the original."""
    for name, parameter in module.named_parameters():
        parameter.data = closed_weight(original_name(name), tuple(parameter.shape))


def near(ours: Tensor, theirs, tolerance: float = 1e-9) -> None:
    theirs = torch.as_tensor(theirs, dtype=torch.float64)
    torch.testing.assert_close(ours.detach(), theirs, rtol=tolerance, atol=tolerance)


def near_rows(ours: Tensor, record: dict) -> None:
    """Compare an output with the first 8 numbers and the norm of each of its recorded rows."""
    if "value" in record:
        near(ours, record["value"])
        return
    rows = ours.reshape(-1, ours.shape[-1])
    near(rows[:, :8], record["first8_per_row"])
    near(rows.norm(dim=1), record["norm_per_row"])


def near_gradient(gradient: Tensor, record: dict) -> None:
    near(gradient.norm(), record["norm"])
    near(gradient.flatten()[:4], record["first4"])
    near(gradient.sum(), record["sum"])

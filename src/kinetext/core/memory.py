"""Peak memory of this process."""

import resource
import sys

import torch


def peak_mib(device: torch.device) -> float:
    """Return the peak memory of this process so far, MiB: allocated memory on a GPU, else resident memory."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # KiB, on macOS bytes
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10

"""Copies of kinetext-tiny with random weights: drawing its 6 million word embeddings takes longer than most tests of it."""

from copy import deepcopy
from functools import lru_cache

import torch

from kinetext.backbones.library import build_native
from kinetext.config.backbone import TINY


def build_or_copy(model, quick_gelu=False):
    """As `build_native`. A kinetext-tiny that is drawn right after torch was seeded is drawn once, and copied later."""
    seed = torch.initial_seed()
    just_seeded = torch.equal(torch.get_rng_state(), torch.Generator().manual_seed(seed).get_state())
    if (model, quick_gelu) != (TINY, False) or not just_seeded or torch.get_default_device().type != "cpu":
        return build_native(model, quick_gelu)
    clip, random_state = _drawn(seed)
    torch.set_rng_state(random_state)
    return deepcopy(clip)


@lru_cache(maxsize=4)
def _drawn(seed):
    return build_native(TINY), torch.get_rng_state()

"""One small random model per family of backbones, for tests of methods."""

from copy import deepcopy
from functools import cache

FAMILIES = (
    "siglip",  # attention pooling; no class token
    "pe",  # attention pooling over a class token and patches with rotary positions
    "pe_without_class",
    "eva02",  # class token, rotary positions
    "registers",  # class token and registers
    "mobileclip_b",  # class token, convolutional stem
    "clipa",  # mean of the patches; the last token of a text
    "worldwide",  # class token; the end of a text by its id
    "coca",  # attention pooling; a class token after the text
)


def small(family):
    """A new small random model of 32 px; torch's generator is left as drawing the weights leaves it."""
    import torch

    drawn, random_state = _drawn(family)
    backbone = deepcopy(drawn)
    backbone.mark_pretrained()  # copies of parameters have no marks
    torch.set_rng_state(random_state)
    return backbone


@cache
def _drawn(family):
    """Return (the model, the state of torch's generator afterwards). Importing timm takes seconds."""
    import torch

    import small_native
    import small_timm

    if family in ("clipa", "worldwide"):
        backbone = small_native.small(family, tokenizer=small_timm.WordTokenizer())
    else:
        backbone = (small_native if family in small_native.VARIANTS else small_timm).small(family)
    return backbone, torch.get_rng_state()

"""Pretrain the small CLIP (`tiny`) on synthetic still images (stills) with captions.

The loss is the symmetric InfoNCE (Radford et al., ICML 2021) with three additions. A caption that is true of another
still of the batch is not used as a negative of that still. Every still has a hard negative: a caption with one
attribute changed (NegCLIP). Captions are short and long, so that each attribute gets a separate training signal.
Without these additions the model solves the task by colour and background and never learns position
(docs/lab-log.md).
"""

import math
from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from kinetext.backbones.attention import cosine_scores
from kinetext.backbones.base import TextTokens
from kinetext.backbones.tiny import Tiny
from kinetext.data import still_captions, stills
from kinetext.data.scenes import draw_scene

KINDS = ("single", "pair", "gate", "box", "empty")
SHARES = (0.55, 0.2, 0.1, 0.11, 0.04)
# Auxiliary heads predict each attribute from a feature in the first part of training. An image does not show which of
# two figures a caption names first, so the image heads leave out what depends on that.
TEXT_HEADS = stills.ATTRIBUTES | still_captions.POSITIONED
HEADS_UNTIL = 0.6  # fraction of the steps after which only the contrastive loss is left
IMAGE_HEADS = {
    name: v for name, v in TEXT_HEADS.items() if name not in ("side", "height", "other_shape", "other_colour")
}


def draw_stills(count: int, seed: int) -> tuple[np.ndarray, list[stills.Still]]:
    """Return `count` random images, uint8 [count, 3, H, W], and the stills (scenes and attributes) that they show."""
    random = np.random.default_rng(seed)
    samples = [stills.draw_still(str(kind), random) for kind in random.choice(KINDS, count, p=SHARES)]
    images = np.stack([draw_scene(still.scene, random) for still in samples])
    return images.transpose(0, 3, 1, 2), samples


def masked_contrast(logits_BK, true_BK, undecided_BK, target_B):
    """Return the symmetric contrastive loss in which only false pairs of stills (rows) and captions (columns) are
    negatives.

    `target_B` is the column of the caption of each still. `true_BK` and `undecided_BK` mark pairs that are true or
    undecided; apart from the targets they are left out. The loss is the mean of two cross-entropies: that of stills
    over captions, and that of the target captions over stills.
    """
    rows = torch.arange(len(target_B))
    others = true_BK | undecided_BK
    others[rows, target_B] = False
    logits_BK = logits_BK.masked_fill(others, -torch.inf)
    image_to_text = F.cross_entropy(logits_BK, target_B)
    text_to_image = F.cross_entropy(logits_BK[:, target_B].T, rows)
    return (image_to_text + text_to_image) / 2


def pretrain_tiny(steps: int, batch: int = 128, pool: int = 30000, seed: int = 0) -> Tiny:
    """Return kinetext-tiny after `steps` steps of pretraining (0.25 s each on 2 cores)."""
    training = pretrain_steps(steps, batch, pool, seed)
    with tqdm(training, desc="pretrain tiny", total=steps, disable=None) as bar:
        for backbone, loss in bar:  # noqa: B007 (the last one is returned)
            bar.set_postfix(loss=f"{loss:.2f}")
    backbone.vocabulary = _vocabulary(backbone)
    return backbone.eval()


def pretrain_steps(steps: int, batch: int, pool: int, seed: int, lr: float = 1e-3) -> Iterator[tuple[Tiny, float]]:
    """Train kinetext-tiny with AdamW on `pool` stills; yield (model, loss) after each of `steps` steps."""
    torch.manual_seed(seed)
    random = np.random.default_rng(seed)
    backbone = Tiny()
    _sine_positions(backbone)
    images, samples = draw_stills(pool, seed)
    values_BA = still_captions.table([still.values for still in samples], stills.NONE)
    ids, embedding = _compact_embedding(backbone)
    image_heads, text_heads = Heads(backbone.embed_dim, IMAGE_HEADS), Heads(backbone.embed_dim, TEXT_HEADS)
    parameters = [p for module in (backbone, image_heads, text_heads) for p in module.parameters()]
    decayed = [p for p in parameters if p.ndim >= 2]
    plain = [p for p in parameters if p.ndim < 2]
    groups = [{"params": decayed, "weight_decay": 0.02}, {"params": plain, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda s: min((s + 1) / 200, 0.5 + 0.5 * math.cos(math.pi * s / steps))
    )
    shown_BA = _targets([_shown(still.values) for still in samples], IMAGE_HEADS)
    for step in range(steps):
        index = random.integers(pool, size=batch)
        statements = [still_captions.caption_values(samples[i], random) for i in index]
        wrong = [still_captions.hard_negative(values, random) for values in statements]
        captions = [still_captions.caption_text(values, random) for values in statements + wrong]
        true_BK, undecided_BK = still_captions.truth(
            values_BA[index], still_captions.table(statements + wrong, stills.FREE)
        )
        image_BD = backbone.encode_frames(torch.from_numpy(images[index])[:, None])
        tokens = backbone.tokenize(captions)
        tokens = tokens._replace(ids_KL=torch.searchsorted(ids, tokens.ids_KL.contiguous()))
        text_KD = _encode_short_and_long(backbone, tokens)
        logits_BK = backbone.logits(cosine_scores(image_BD[:, 0], text_KD))
        loss = masked_contrast(
            logits_BK, torch.from_numpy(true_BK), torch.from_numpy(undecided_BK), torch.arange(batch)
        )
        share = max(0.0, 1.0 - step / (HEADS_UNTIL * steps))
        if share > 0:
            stated_KA = _targets(
                [values | still_captions.positioned(values) for values in statements + wrong], TEXT_HEADS
            )
            read = image_heads(image_BD[:, 0], shown_BA[index]) + text_heads(text_KD, stated_KA)
            loss = loss + share * read
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(backbone.parameters(), 1.0)
        optimiser.step()
        backbone.clamp_scale()
        schedule.step()
        yield backbone, loss.item()
    with torch.no_grad():
        embedding.weight[ids] = backbone.clip.token_embedding.weight
    backbone.clip.token_embedding = embedding


class Heads(nn.Module):
    """One linear classifier per attribute, with the mean cross-entropy over known values as loss."""

    def __init__(self, width: int, attributes: dict[str, tuple[str, ...]]) -> None:
        super().__init__()
        self.sizes = [len(values) for values in attributes.values()]
        self.linear = nn.Linear(width, sum(self.sizes))

    def forward(self, feature_BD: Tensor, target_BA: Tensor) -> Tensor:
        """Return the loss, a scalar. A target of -1 means that the value is unknown."""
        logits = self.linear(feature_BD).split(self.sizes, -1)
        losses = [F.cross_entropy(z, target_BA[:, a], ignore_index=-1, reduction="sum") for a, z in enumerate(logits)]
        return sum(losses) / (target_BA >= 0).sum().clamp(min=1)


def _shown(values: dict[str, int]) -> dict[str, int]:
    """Return the attribute values that an image determines.

    With two figures these are the attributes at each position, because the image does not say which figure a caption
    names first.
    """
    if values["other_shape"] < 0:
        return values
    return {name: v for name, v in values.items() if name not in ("shape", "colour")} | still_captions.positioned(
        values
    )


def _targets(rows: list[dict[str, int]], attributes: dict[str, tuple[str, ...]]) -> Tensor:
    """Return the attribute values [rows, A] as targets of `Heads`; -1 means unknown."""
    return torch.tensor([[row.get(name, -1) for name in attributes] for row in rows]).clamp(min=-1)


def _encode_short_and_long(backbone: Tiny, tokens: TextTokens) -> Tensor:
    """Return text features [K, D]. The shorter half of the texts is encoded separately, with less padding."""
    lengths_K = tokens.length_K
    order_K = lengths_K.argsort()
    halves = [tokens.take(half).columns(int(lengths_K[half].max())) for half in order_K.chunk(2)]
    text_KD = torch.cat([backbone.encode_text(half)[0] for half in halves])
    return text_KD[order_K.argsort()]


def _vocabulary(backbone: Tiny) -> Tensor:
    """Return the ids of all tokens that captions use, in ascending order."""
    random = np.random.default_rng(0)
    statements = [still_captions.caption_values(stills.draw_still(str(kind), random), random) for kind in KINDS * 400]
    return backbone.tokenize([still_captions.caption_text(values, random) for values in statements]).ids_KL.unique()


def _compact_embedding(backbone: Tiny) -> tuple[Tensor, nn.Embedding]:
    """Replace the token embedding by a small one for the tokens that captions use; return (ids, whole embedding).

    Row i of the small embedding is token ids[i]; ids are in ascending order. Updating the other 49 000 rows would take
    a third of the time of a step.
    """
    whole = backbone.clip.token_embedding
    ids = _vocabulary(backbone)
    backbone.clip.token_embedding = nn.Embedding.from_pretrained(whole.weight[ids].detach().clone(), freeze=False)
    return ids, whole


def _sine_positions(backbone: Tiny) -> None:
    """Initialise the patch positions with 2-D sines and cosines. With random values, position is learned much later."""
    down, across = backbone.grid
    width = backbone.width // 4
    rates = 1.0 / 100 ** (torch.arange(width) / width)
    y, x = torch.meshgrid(torch.arange(down), torch.arange(across), indexing="ij")
    parts = [f(v.flatten()[:, None] * rates) for v in (x, y) for f in (torch.sin, torch.cos)]
    with torch.no_grad():
        backbone.visual.positional_embedding[1:] = torch.cat(parts, 1)

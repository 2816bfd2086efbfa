"""Batches of a split as a method reads them: from frames, or from a frozen trunk's tokens computed once. Each clip goes
with a text: that of its class, or one of its captions.

N items of an epoch, B clips, T frames, N tokens, V width.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Subset
from tqdm import tqdm

from kinetext.config import TrainingOptions
from kinetext.data.loader import ClipDataset, FrameStore
from kinetext.data.protocols import Split
from kinetext.models.methods import Method, Tokens

log = logging.getLogger(__name__)
TRUNK_BATCH = 32  # clips at once through a frozen trunk


@dataclass(frozen=True)
class Batch:
    """Some clips: the text that each goes with, and their tokens when asked for (a trained trunk runs in the step, with
    gradients).
    """

    clip_ids: list[str]
    target_B: Tensor
    tokens: "partial[Tokens]"


class Batches:
    """A split's clips that have frames, in batches; `epoch(n)` shuffles by (seed, n), `epoch(None)` does not.

    `texts_K` is how many texts each label of the split has, in the order of the labels; one each if it is not given. Of
    several an epoch takes one, drawn by (seed, n), so that no batch holds two of one clip, or all of them, each with the
    clip, under `captions_per_video: all`; `epoch(None)` takes the first.
    """

    def __init__(
        self,
        method: Method,
        store: FrameStore,
        split: Split,
        training: TrainingOptions,
        seed: int,
        device: torch.device,
        texts_K: Tensor | None = None,
        workers: int = 0,
    ) -> None:
        place = {label: k for k, label in enumerate(split.labels)}
        rows = [row for row in split.rows if row["clip_id"] in store]
        if len(rows) < len(split.rows):
            log.warning("%d of %d clips have no frames and are left out", len(split.rows) - len(rows), len(split.rows))
        self.method, self.training, self.seed, self.device = method, training, seed, device
        self.workers = workers  # processes that decode frames
        self.clip_ids = [row["clip_id"] for row in rows]
        target = torch.tensor([place[row["label"]] for row in rows], dtype=torch.long)
        texts_K = torch.ones(len(place), dtype=torch.long) if texts_K is None else texts_K
        self.first, self.texts = (texts_K.cumsum(0) - texts_K)[target], texts_K[target]
        self.clips = ClipDataset(store, self.clip_ids, self.first.tolist(), training.augment, seed)
        self.cached = self._run_trunk() if self._fits() else None

    def __len__(self) -> int:
        """Batches per epoch."""
        return -(-self.items // self.training.batch_size)

    @property
    def items(self) -> int:
        """Clips, each with a text, that an epoch sees."""
        return int(self.texts.sum()) if self.training.captions_per_video == "all" else len(self.clip_ids)

    def epoch(self, number: int | None, first: int = 0) -> Iterator[Batch]:
        """Every clip once, or every text; without the first batches, which a resumed training has seen."""
        clip_N, text_N = (items_N[first * self.training.batch_size :] for items_N in self._pairs(number))
        if not len(clip_N):
            return
        if number is not None:
            self.clips.set_epoch(number)
        parts = zip(clip_N.split(self.training.batch_size), text_N.split(self.training.batch_size), strict=True)
        if self.cached is not None:
            for clip_B, text_B in parts:
                tokens = partial(_take, self.cached, clip_B, self.device)
                yield Batch([self.clip_ids[i] for i in clip_B], text_B.to(self.device), tokens)
            return
        loader = DataLoader(
            Subset(self.clips, clip_N.tolist()),
            self.training.batch_size,
            num_workers=self.workers,
            generator=torch.Generator(),  # its own: it would draw from the one that training draws from
        )
        for (clip_B, text_B), (frames_BTCHW, _) in zip(parts, loader, strict=True):
            tokens = partial(self.method.trunk, frames_BTCHW.to(self.device))
            yield Batch([self.clip_ids[i] for i in clip_B], text_B.to(self.device), tokens)

    def _pairs(self, number: int | None) -> tuple[Tensor, Tensor]:
        """The clips of an epoch in its order, and the text of each, as indices."""
        clip_N, text_N = torch.arange(len(self.clip_ids)), self.first
        if number is None:
            return clip_N, text_N
        generator = torch.Generator().manual_seed(self.seed * 100_003 + number)
        order_N = torch.randperm(self.items, generator=generator)
        together = self.training.neighbours
        if together > 1:
            group_G = torch.randperm(-(-self.items // together), generator=generator)
            order_N = (group_G[:, None] * together + torch.arange(together)).flatten()
            order_N = order_N[order_N < self.items]
        if self.training.captions_per_video == "all":
            clip_N = clip_N.repeat_interleave(self.texts)
            before_N = (self.texts.cumsum(0) - self.texts)[clip_N]
            text_N = self.first[clip_N] + torch.arange(len(clip_N)) - before_N
        else:
            text_N = text_N + (torch.rand(len(clip_N), generator=generator) * self.texts).long()
        return clip_N[order_N], text_N[order_N]

    def _fits(self) -> bool:
        """Whether a frozen trunk's tokens can be kept; what does not change is then computed once."""
        if self.training.trunk == "trained" or self.training.augment != "none" or not self.clip_ids:
            return False
        backbone, T = self.method.backbone, self.clips[0][0].shape[0]
        tokens = 1 + backbone.grid[0] * backbone.grid[1] if self.method.patches else 1
        gib = len(self.clip_ids) * T * tokens * backbone.width * len(self.method.levels) * 2 / 2**30
        fits = gib <= self.training.cache_gib
        log.info(
            "tokens of %d clips: %.2f GiB, %s", len(self.clip_ids), gib, "kept" if fits else "computed anew each epoch"
        )
        return fits

    @torch.no_grad()
    def _run_trunk(self) -> Tokens:
        self.method.eval()
        parts: list[Tokens] = []
        loader = DataLoader(self.clips, TRUNK_BATCH, num_workers=self.workers)
        for frames_BTCHW, _ in tqdm(loader, desc="trunk", disable=None, leave=False):
            tokens = self.method.trunk(frames_BTCHW.to(self.device))
            parts.append({level: t.half().cpu() for level, t in tokens.items()})
        return {level: torch.cat([part[level] for part in parts]) for level in self.method.levels}


def _take(tokens: Tokens, index: Tensor, device: torch.device) -> Tokens:
    return {level: t[index].to(device).float() for level, t in tokens.items()}

"""Batches of a split as a method reads them: from frames, or from a frozen trunk's tokens computed once.

B clips, T frames, N tokens, V width.
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
    """Some clips: their targets, and their tokens when asked for (a trained trunk runs in the step, with gradients)."""

    clip_ids: list[str]
    target_B: Tensor
    tokens: "partial[Tokens]"


class Batches:
    """A split's clips that have frames, in batches; `epoch(n)` shuffles by (seed, n), `epoch(None)` does not."""

    def __init__(
        self,
        method: Method,
        store: FrameStore,
        split: Split,
        training: TrainingOptions,
        seed: int,
        device: torch.device,
    ) -> None:
        place = {label: k for k, label in enumerate(split.labels)}
        rows = [row for row in split.rows if row["clip_id"] in store]
        if len(rows) < len(split.rows):
            log.warning("%d of %d clips have no frames and are left out", len(split.rows) - len(rows), len(split.rows))
        self.method, self.training, self.seed, self.device = method, training, seed, device
        self.clip_ids = [row["clip_id"] for row in rows]
        self.target = torch.tensor([place[row["label"]] for row in rows], dtype=torch.long)
        self.clips = ClipDataset(store, self.clip_ids, self.target.tolist(), training.augment, seed)
        self.cached = self._run_trunk() if self._fits() else None

    def __len__(self) -> int:
        """Batches per epoch."""
        return -(-len(self.clip_ids) // self.training.batch_size)

    def epoch(self, number: int | None) -> Iterator[Batch]:
        """Every clip once."""
        count = len(self.clip_ids)
        if number is None:
            order = torch.arange(count)
        else:
            generator = torch.Generator().manual_seed(self.seed * 100_003 + number)
            order = torch.randperm(count, generator=generator)
            self.clips.set_epoch(number)
        if self.cached is not None:
            for index in order.split(self.training.batch_size):
                tokens = partial(_take, self.cached, index, self.device)
                yield Batch([self.clip_ids[i] for i in index], self.target[index].to(self.device), tokens)
            return
        loader = DataLoader(Subset(self.clips, order.tolist()), self.training.batch_size)
        for start, (frames_BTCHW, target_B) in enumerate(loader):
            index = order[start * self.training.batch_size :][: len(target_B)]
            tokens = partial(self.method.trunk, frames_BTCHW.to(self.device))
            yield Batch([self.clip_ids[i] for i in index], target_B.to(self.device), tokens)

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
        for frames_BTCHW, _ in tqdm(DataLoader(self.clips, TRUNK_BATCH), desc="trunk", disable=None, leave=False):
            tokens = self.method.trunk(frames_BTCHW.to(self.device))
            parts.append({level: t.half().cpu() for level, t in tokens.items()})
        return {level: torch.cat([part[level] for part in parts]) for level in self.method.levels}


def _take(tokens: Tokens, index: Tensor, device: torch.device) -> Tokens:
    return {level: t[index].to(device).float() for level, t in tokens.items()}

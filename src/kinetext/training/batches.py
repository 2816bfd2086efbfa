"""Batches of a split as a method reads them: from frames, or from a frozen trunk's tokens computed once. Each clip goes
with a text: that of its class, or one of its captions.

A batch is the same for any number of processes: each takes a part of it, one after the other in the order of the batch.
Clips that are only looked at (validation) go the other way, whole batches in turn, so that nothing is left out or seen
twice, and a clip's numbers are those that one process gives it, to the bit.

N items of an epoch or of a batch of all processes, B clips of one of them, T frames, N tokens, V width.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice, pairwise

import torch
from torch import Tensor
from tqdm import tqdm

from kinetext.backbones.text_table import to_device_async
from kinetext.config.training import TrainingOptions
from kinetext.core import distributed
from kinetext.data.augment import may_flip
from kinetext.data.loader import ClipDataset, ClipLoader
from kinetext.data.splits import Split
from kinetext.data.store import FrameStore
from kinetext.methods import Method, Tokens
from kinetext.video.sampling import choice

log = logging.getLogger(__name__)
TRUNK_BATCH = 32  # clips at once through a frozen trunk


@dataclass(frozen=True)
class Batch:
    """One process's part of a batch. `clip_ids` and `text_N`, the text that each goes with, are of the whole batch, `sizes`
    says how many of them each process has; `places` (in the split) and `clips` are this one's: frames, uint8
    [B, T, C, H, W], or a frozen trunk's tokens.

    A process for which no clip is left has the batch's first, which then counts nothing.
    """

    clip_ids: list[str]
    text_N: Tensor
    sizes: tuple[int, ...]
    rank: int
    places: list[int]
    clips: Tensor | Tokens | None = None
    epoch: int | None = None
    other_B: Tensor | None = None  # the text of what is mixed into each clip here (mixing.py)
    share: float = 1.0  # and what is left of the clip itself

    @property
    def part(self) -> slice:
        """Which of the whole batch's clips are here."""
        return _part(self.sizes, self.rank)

    def pieces(self, most: int) -> list[slice]:
        """The clips here in pieces of at most so many, as equal as can be."""
        B = len(self.places)
        count = -(-B // most)
        ends = [B * n // count for n in range(count + 1)]
        return [slice(*pair) for pair in pairwise(ends)]

    def alone(self) -> "Batch":
        """The clips here as a whole batch."""
        part = self.part
        return replace(self, clip_ids=self.clip_ids[part], text_N=self.text_N[part], sizes=(len(self.places),), rank=0)


def _part(sizes: tuple[int, ...], rank: int) -> slice:
    first = sum(sizes[:rank])
    return slice(first, first + sizes[rank]) if sizes[rank] else slice(0, 1)


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
        num_frames: int | None = None,
    ) -> None:
        place = {label: k for k, label in enumerate(split.labels)}
        rows = [row for row in split.rows if row["clip_id"] in store]
        if len(rows) < len(split.rows):
            log.warning("%d of %d clips have no frames and are left out", len(split.rows) - len(rows), len(split.rows))
        self.method, self.training, self.seed, self.device = method, training, seed, device
        self.clip_ids = [row["clip_id"] for row in rows]
        target = torch.tensor([place[row["label"]] for row in rows], dtype=torch.long)
        texts_K = torch.ones(len(place), dtype=torch.long) if texts_K is None else texts_K
        self.first, self.texts = (texts_K.cumsum(0) - texts_K)[target], texts_K[target]
        self.clips = ClipDataset(
            store,
            self.clip_ids,
            training.augment,
            seed,
            may_flip(training.augment, split.labels, split.captioned),
            choice(training.sampling, num_frames, training.stride) if num_frames is not None else None,
        )
        self.loader = ClipLoader(self.clips, device, workers, training.decode)
        self.cached = self._run_trunk() if self._fits() else None

    def __len__(self) -> int:
        """Batches per epoch, of all processes together."""
        return -(-self.items // self.training.batch_size)

    @property
    def items(self) -> int:
        """Clips, each with a text, that an epoch sees."""
        return self._count() * self.training.repeats

    def _count(self) -> int:
        return int(self.texts.sum()) if self.training.captions_per_video == "all" else len(self.clip_ids)

    def epoch(self, number: int | None, first: int = 0) -> Iterator[Batch]:
        """Give this process's part of every batch, but for the `first` ones, which a resumed training has seen; of `epoch(None)`
        its own batches, whole. Frames are on the device; `send` takes cached tokens there.
        """
        clip_N, text_N = (items_N[first * self.training.batch_size :] for items_N in self._pairs(number))
        if not len(clip_N):
            return
        pairs = zip(clip_N.split(self.training.batch_size), text_N.split(self.training.batch_size), strict=True)
        parts = [self._cut(*pair, number) for pair in (distributed.local_items(pairs) if number is None else pairs)]
        if self.cached is not None:
            for part in parts:
                yield replace(part, clips={level: t[part.places] for level, t in self.cached.items()})
            return
        order = [part.places for part in parts]
        for part, clips in zip(parts, self.loader.batches(order, number), strict=True):
            yield replace(part, clips=clips)

    def send(self, batch: Batch) -> Batch:
        """The batch with its clips on the device, without waiting for them."""
        if isinstance(batch.clips, dict):
            return replace(batch, clips={level: to_device_async(t, self.device) for level, t in batch.clips.items()})
        return batch  # the loader's frames are there already

    def _cut(self, clip_N: Tensor, text_N: Tensor, number: int | None) -> Batch:
        whole = number is None  # then each process has batches of its own
        sizes, rank = ((len(clip_N),), 0) if whole else (distributed.split_sizes(len(clip_N)), distributed.rank())
        clip_ids, places = [self.clip_ids[i % len(self.clip_ids)] for i in clip_N], clip_N[_part(sizes, rank)].tolist()
        return Batch(clip_ids, text_N, sizes, rank, places, epoch=number)

    def _pairs(self, number: int | None) -> tuple[Tensor, Tensor]:
        """The clips of an epoch in its order, and the text of each, as indices."""
        clip_N, text_N = torch.arange(len(self.clip_ids)), self.first
        if number is None:
            return clip_N, text_N
        generator = torch.Generator().manual_seed(self.seed * 100_003 + number)
        order_N = torch.randperm(self._count(), generator=generator)
        together = self.training.hard_negative_group
        if together > 1:
            group_G = torch.randperm(-(-self._count() // together), generator=generator)
            order_N = (group_G[:, None] * together + torch.arange(together)).flatten()
            order_N = order_N[order_N < self._count()]
        if self.training.captions_per_video == "all":
            clip_N = clip_N.repeat_interleave(self.texts)
            before_N = (self.texts.cumsum(0) - self.texts)[clip_N]
            text_N = self.first[clip_N] + torch.arange(len(clip_N)) - before_N
        else:
            text_N = text_N + (torch.rand(len(clip_N), generator=generator) * self.texts).long()
        clip_N, text_N, repeats = clip_N[order_N], text_N[order_N], self.training.repeats
        if repeats > 1:  # each copy of a clip has an index of its own, and so draws of its own (data/loader.py)
            copies_R = torch.arange(repeats) * len(self.clip_ids)
            clip_N, text_N = (clip_N[:, None] + copies_R).flatten(), text_N.repeat_interleave(repeats)
        return clip_N, text_N

    def _fits(self) -> bool:
        """Whether a frozen trunk's tokens can be kept; what does not change is then computed once."""
        if self.training.image_encoder == "trained" or self.training.pixels_vary or not self.clip_ids:
            return False
        backbone, T = self.method.backbone, len(self.clips.images((0, None)))
        tokens = 1 + backbone.grid[0] * backbone.grid[1] if self.method.patches else 1
        gib = len(self.clip_ids) * T * tokens * backbone.width * len(self.method.levels) * 2 / 2**30
        gib *= distributed.local_world_size()
        fits = gib <= self.training.cache_gib
        log.info(
            "tokens of %d clips: %.2f GiB, %s", len(self.clip_ids), gib, "kept" if fits else "computed anew each epoch"
        )
        return fits

    def _run_trunk(self) -> Tokens:
        """The tokens of all clips, each process running the trunk over its share of them."""
        self.method.eval()
        order = [places.tolist() for places in torch.arange(len(self.clip_ids)).split(TRUNK_BATCH)]
        mine = list(distributed.local_items(order))
        parts: list[Tokens] = []
        bar = tqdm(desc="trunk", total=len(order), disable=distributed.hide_progress(), leave=False)
        with bar, torch.inference_mode():
            batches = self.loader.batches(mine)
            tokens = ({k: t.half().cpu() for k, t in self.method.image_tokens(f).items()} for f in batches)
            while len(parts) < len(order):  # exchanged turn by turn, so that little is held twice
                parts += distributed.gather(list(islice(tokens, 1)))
                bar.update(distributed.world_size())
        return {level: torch.cat([part[level] for part in parts]) for level in self.method.levels}

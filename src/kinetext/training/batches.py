"""Batches of clips for training and validation. Each clip is paired with one text: its class or one of its captions.

A batch holds frames, or the cached tokens of a frozen image encoder.

Several processes share each training batch. Every process takes consecutive clips, so the batch is the same for any
number of processes. Validation batches are not shared: the processes take whole batches in turn. No clip is left out
or used twice, and the result for each clip is bitwise identical to that of a single process.

N: items of an epoch, or of a batch over all processes. B: clips of one process. T frames, C channels, H x W pixels.
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
from kinetext.methods.base import Method, Tokens
from kinetext.video.sampling import choice

log = logging.getLogger(__name__)
ENCODER_BATCH = 32  # clips that go through a frozen image encoder at once


@dataclass(frozen=True)
class Batch:
    """The part of a batch that one process computes.

    If the batch has fewer clips than there are processes, a process that would be empty gets the first clip of the
    batch, because every process has to take part in the step. This clip has weight zero in the loss.
    """

    clip_ids: list[str]  # of the whole batch
    text_N: Tensor  # index of the text of each clip, of the whole batch
    sizes: tuple[int, ...]  # clips of each process
    rank: int  # this process
    indices: list[int]  # of this process's clips in the split, plus a multiple of its size for each copy
    clips: Tensor | Tokens | None = None  # of this process: uint8 frames [B, T, C, H, W], or cached tokens
    other_B: Tensor | None = None  # text of the clip that is mixed into each clip of this process (mixing.py)
    share: float = 1.0  # weight of the clip itself in the mixture

    @property
    def part(self) -> slice:
        """The slice of the whole batch that this process computes."""
        return _part(self.sizes, self.rank)

    def pieces(self, size: int) -> list[slice]:
        """Divide the clips of this process into pieces of at most `size` and of nearly equal length."""
        B = len(self.indices)
        count = -(-B // size)
        ends = [B * n // count for n in range(count + 1)]
        return [slice(*pair) for pair in pairwise(ends)]

    def alone(self) -> "Batch":
        """Return the clips of this process as a batch that no other process shares."""
        part = self.part
        return replace(self, clip_ids=self.clip_ids[part], text_N=self.text_N[part], sizes=(len(self.indices),), rank=0)


def _part(sizes: tuple[int, ...], rank: int) -> slice:
    first = sum(sizes[:rank])
    return slice(first, first + sizes[rank]) if sizes[rank] else slice(0, 1)


def balanced_items(target_N: Tensor, generator: torch.Generator) -> Tensor:
    """Return N shuffled items in which all classes are equally frequent (their counts differ by at most one).

    Item n + c N is clip n, used for the (c + 1)-th time. All clips of a class are used once before any is repeated.
    """
    N, classes = len(target_N), target_N.unique()
    classes = classes[torch.randperm(len(classes), generator=generator)]
    items = []
    for number, label in enumerate(classes):
        clip_M = (target_N == label).nonzero()[:, 0]
        wanted = N // len(classes) + (number < N % len(classes))
        rounds = -(-wanted // len(clip_M))
        orders = [clip_M[torch.randperm(len(clip_M), generator=generator)] + N * c for c in range(rounds)]
        items.append(torch.cat(orders)[:wanted] if orders else clip_M[:0])
    return torch.cat(items)[torch.randperm(N, generator=generator)]


class Batches:
    """Iterate over the clips of a split that have frames, in batches.

    `epoch(n)` shuffles the clips with a generator that depends on the seed and n. `epoch(None)` keeps their order.

    `texts_K` is the number of texts of each label of the split, in the order of the labels (default: one each). If a
    label has several texts, `epoch(n)` draws one of them, so that no batch has two texts of one clip. With
    `captions_per_video: all` it pairs the clip with each of its texts instead. `epoch(None)` uses the first text.
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
        index = {label: k for k, label in enumerate(split.labels)}
        rows = [row for row in split.rows if row["clip_id"] in store]
        if len(rows) < len(split.rows):
            log.warning("%d of %d clips have no frames and are left out", len(split.rows) - len(rows), len(split.rows))
        self.method, self.training, self.seed, self.device = method, training, seed, device
        self.clip_ids = [row["clip_id"] for row in rows]
        # clips with several labels have no text of their own: the objective knows their labels
        target_N = torch.tensor([0 if split.multi_label else index[row["label"]] for row in rows], dtype=torch.long)
        texts_K = torch.ones(len(index), dtype=torch.long) if texts_K is None else texts_K
        self.first_text_N, self.texts_N = (texts_K.cumsum(0) - texts_K)[target_N], texts_K[target_N]
        self.clips = ClipDataset(
            store,
            self.clip_ids,
            training.augment,
            seed,
            may_flip(training.augment, split.labels, split.captioned),
            choice(training.sampling, num_frames, training.stride) if num_frames is not None else None,
        )
        self.loader = ClipLoader(self.clips, device, workers, training.decode)
        self.cached = self._cache_tokens() if self._fits_cache() else None

    def __len__(self) -> int:
        """Return the number of batches per epoch. It does not depend on the number of processes."""
        return -(-self.items // self.training.batch_size)

    @property
    def items(self) -> int:
        """The number of items per epoch; an item is a clip with a text."""
        return self._pairs_per_pass() * self.training.repeats

    def _pairs_per_pass(self) -> int:
        return int(self.texts_N.sum()) if self.training.captions_per_video == "all" else len(self.clip_ids)

    def epoch(self, number: int | None, first: int = 0) -> Iterator[Batch]:
        """Yield the part of every batch that this process computes, on the device of the process.

        The first `first` batches are skipped, as needed to resume a training. With `number=None` the processes take
        whole batches in turn.
        """
        size = self.training.batch_size
        clip_N, text_N = (items_N[first * size :] for items_N in self._order(number))
        if not len(clip_N):
            return
        pairs = zip(clip_N.split(size), text_N.split(size), strict=True)
        parts = [self._batch(*pair, number) for pair in (distributed.local_items(pairs) if number is None else pairs)]
        if self.cached is not None:
            for part in parts:
                tokens = {
                    level: to_device_async(t[[index % len(self.clip_ids) for index in part.indices]], self.device)
                    for level, t in self.cached.items()
                }
                yield replace(part, clips=tokens)
            return
        order = [part.indices for part in parts]
        for part, frames_BTCHW in zip(parts, self.loader.batches(order, number), strict=True):
            yield replace(part, clips=frames_BTCHW)

    def _batch(self, clip_N: Tensor, text_N: Tensor, number: int | None) -> Batch:
        sizes, rank = distributed.split_sizes(len(clip_N)), distributed.rank()
        if number is None:  # each process has batches of its own
            sizes, rank = (len(clip_N),), 0
        clip_ids = [self.clip_ids[i % len(self.clip_ids)] for i in clip_N]
        return Batch(clip_ids, text_N, sizes, rank, clip_N[_part(sizes, rank)].tolist())

    def _order(self, number: int | None) -> tuple[Tensor, Tensor]:
        """Return (clips, texts) of an epoch in the order of use, both as indices [N]."""
        clip_N, text_N = torch.arange(len(self.clip_ids)), self.first_text_N
        if number is None:
            return clip_N, text_N
        count = self._pairs_per_pass()
        generator = torch.Generator().manual_seed(self.seed * 100_003 + number)
        if self.training.class_sampling == "balanced":
            clip_N = balanced_items(text_N, generator)
            return self._with_copies(clip_N, text_N[clip_N % count])
        order_N = torch.randperm(count, generator=generator)
        group_size = self.training.hard_negative_group
        if group_size > 1:
            group_G = torch.randperm(-(-count // group_size), generator=generator)
            order_N = (group_G[:, None] * group_size + torch.arange(group_size)).flatten()
            order_N = order_N[order_N < count]
        if self.training.captions_per_video == "all":
            clip_N = clip_N.repeat_interleave(self.texts_N)
            before_N = (self.texts_N.cumsum(0) - self.texts_N)[clip_N]
            text_N = self.first_text_N[clip_N] + torch.arange(len(clip_N)) - before_N
        else:
            text_N = text_N + (torch.rand(len(clip_N), generator=generator) * self.texts_N).long()
        return self._with_copies(clip_N[order_N], text_N[order_N])

    def _with_copies(self, item_N: Tensor, text_N: Tensor) -> tuple[Tensor, Tensor]:
        """Return (clips, texts) with each item repeated `repeats` times.

        Copies of a clip have different indices, so that they are augmented differently (data/loader.py).
        """
        repeats, clips = self.training.repeats, len(self.clip_ids)
        copy_NR = (item_N // clips)[:, None] * repeats + torch.arange(repeats)
        return ((item_N % clips)[:, None] + copy_NR * clips).flatten(), text_N.repeat_interleave(repeats)

    def _fits_cache(self) -> bool:
        """Return whether the image encoder's tokens are the same in each epoch and fit into `cache_gib`."""
        training, method, backbone = self.training, self.method, self.method.backbone
        if training.image_encoder != "frozen" or method.inside or training.pixels_vary or not self.clip_ids:
            return False
        if method.fits:  # each clip is read once (fit.py)
            return False
        tokens = backbone.prefix_tokens + backbone.grid[0] * backbone.grid[1] if method.patches else 1
        frames = len(self.clip_ids) * len(self.clips.images((0, None))) // backbone.frames_per_step
        gib = frames * tokens * backbone.width * len(method.levels) * 2 / 2**30 * distributed.local_world_size()
        fits = gib <= training.cache_gib
        verb = "cached" if fits else "computed each epoch"
        log.info("tokens of %d clips: %.2f GiB, %s", len(self.clip_ids), gib, verb)
        return fits

    def _cache_tokens(self) -> Tokens | None:
        """Return the tokens of all clips in float16, or None if a value exceeds the range of float16.

        Each process computes a part of the tokens and gets all of them.
        """
        self.method.eval()
        order = [indices.tolist() for indices in torch.arange(len(self.clip_ids)).split(ENCODER_BATCH)]
        parts: list[Tokens] = []
        bar = tqdm(desc="image encoder", total=len(order), disable=distributed.hide_progress(), leave=False)
        with bar, torch.inference_mode():
            batches = self.loader.batches(list(distributed.local_items(order)))
            tokens = ({k: t.half().cpu() for k, t in self.method.image_tokens(f).items()} for f in batches)
            while len(parts) < len(order):  # exchanged turn by turn, so that little is held twice
                added = distributed.gather(list(islice(tokens, 1)))
                if not all(bool(t.isfinite().all()) for part in added for t in part.values()):
                    log.warning(
                        "tokens exceed float16's largest number, 65504: they are not cached but computed each epoch"
                    )
                    return None
                parts += added
                bar.update(distributed.world_size())
        return {level: torch.cat([part[level] for part in parts]) for level in self.method.levels}

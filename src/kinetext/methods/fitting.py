"""Common parts of heads on cached features: frame pooling, ids of fitted classes, and heads without text.

A head is fitted to the classes of the training clips. The classes that it scores may differ, for example novel classes.
A fitted head therefore stores an id of each class; other classes are scored by their texts.

B, N clips, T frames, K scored classes, J fitted classes, S sentences, D joint width, F pooled width.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any, ClassVar, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from kinetext.backbones.text_table import TextTable, WordFeatures
from kinetext.methods.base import Method, Task
from kinetext.methods.ordered_descriptions import end_frames

Pool = Literal["mean", "thirds", "all"]


class ClassTexts(NamedTuple):
    """The text feature of each class [K, D], and the id of each class [K] (see `class_ids`)."""

    mean_KD: Tensor
    id_K: Tensor


class Head(Method):
    """Base class of heads that are fitted to cached features of clips with one class each."""

    fits: ClassVar[bool] = True
    tasks: ClassVar[tuple[Task, ...]] = ("classes",)
    sees_order = False

    @property
    def device(self) -> torch.device:
        """The device of the backbone."""
        return self.backbone.mean_C.device

    def columns(self, id_K: Tensor) -> Tensor:
        """Return for each class its index among the fitted classes, or -1 if the head was not fitted to it."""
        if "id_J" not in self.fitted:
            return torch.full_like(id_K, -1)
        same_KJ = id_K[:, None] == self.fitted["id_J"].to(id_K.device)
        return torch.where(same_KJ.any(1), same_KJ.int().argmax(1), -1)

    def rows_or_texts(self, name: str, text_KD: Tensor, id_K: Tensor) -> Tensor:
        """Return the rows [K, D] of `fitted[name]`; a class that was not fitted gets its row of `text_KD`."""
        if name not in self.fitted:
            return text_KD
        column_K = self.columns(id_K)
        return torch.where(column_K[:, None] >= 0, self.fitted[name].to(text_KD)[column_K], text_KD)


class TextFreeHead(Head):
    """A head that uses no text. It needs training clips of every class."""

    needs_text: ClassVar[bool] = False
    needs_training_clips: ClassVar[bool] = True

    def encode_words(self, table: TextTable) -> WordFeatures:
        """Return text features of width 0, because the text encoder is not used."""
        S, L = table.tokens.ids_KL.shape
        none_SLD = table.owner_S.new_zeros(S, L, 0, dtype=torch.float32)
        return WordFeatures(none_SLD[:, 0], none_SLD)

    def pool_texts(self, words: WordFeatures, table: TextTable) -> Tensor:
        """Return class features [K, 0]. Only the number of classes is used."""
        return words.sentence_SD.new_zeros(len(table.labels), 0)

    def require_fitted(self, key: str, classes: int, text: Any) -> None:
        """Raise ValueError unless the head is fitted (to `fitted[key]`) and `text` has `classes` classes."""
        name = type(self).__module__.rpartition(".")[2]
        if key not in self.fitted:
            raise ValueError(f"{name}: is not fitted yet; run train_method first")
        if classes != len(text):
            raise ValueError(f"{name}: was fitted to {classes} classes and cannot score {len(text)}")


def class_ids(labels: list[str], device: torch.device) -> Tensor:
    """Return a 64-bit digest [K] of each class name, by which a fitted head recognises the class."""
    digests = [hashlib.blake2b(label.encode(), digest_size=8).digest() for label in labels]
    return torch.tensor([int.from_bytes(digest, "little", signed=True) for digest in digests], device=device)


def require_every_class(method: str, target_N: Tensor, classes: int) -> None:
    """Raise ValueError if a class has no training clip."""
    missing = sorted(set(range(classes)) - set(target_N.tolist()))
    if missing:
        raise ValueError(f"{method}: class {missing[0]} has no training clip; take another method or protocol")


def pool_frames(frames_BTD: Tensor, pool: Pool) -> Tensor:
    """Return the features [B, F] of clips: the mean frame, the first and last third, or all frames, each normalised."""
    if pool == "all":
        return F.normalize(frames_BTD, dim=-1).flatten(1)
    parts = (frames_BTD.mean(1),) if pool == "mean" else end_frames(frames_BTD)
    return torch.cat([F.normalize(part, dim=-1) for part in parts], -1)


def shuffled_batches(count: int, size: int, epochs: int, stream: int = 0) -> Iterator[Tensor]:
    """Yield the indices of the batches of all epochs, shuffled by the seed of the run and `stream`."""
    generator = torch.Generator().manual_seed((torch.initial_seed() + stream) % 2**63)
    for _ in range(epochs):
        yield from torch.randperm(count, generator=generator).split(size)


def accuracy(scores_BK: Tensor, target_B: Tensor) -> float:
    """Return the top-1 accuracy, from 0 to 1."""
    return (scores_BK.argmax(-1) == target_B).float().mean().item()

"""Base class and options of the data sets with official recognition lists, which may need a validation split."""

from abc import abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from kinetext.core.plugins import Options
from kinetext.data.datasets.base import Clip, Dataset, set_aside


class RecognitionOptions(Options):
    """Folders of videos and lists, and the fraction of training clips that is used for validation."""

    root: str = Field(description="folder of the videos")
    annotations: str = Field(description="folder of the official lists, as published")
    val_share: float = Field(0.0, ge=0, lt=1, description="share of the training clips set aside for validation")
    seed: int = Field(0, ge=0, description="random seed for the choice of validation clips; no effect with val_share 0")


class RecognitionDataset(Dataset):
    """A data set with published training and test lists, and validation clips taken from the training list."""

    Config: ClassVar[type[RecognitionOptions]] = RecognitionOptions
    config: RecognitionOptions

    @abstractmethod
    def listed_clips(self) -> Iterator[Clip]:
        """Yield the clips in the order and with the splits of the lists."""

    def list_clips(self, folder: Path) -> Iterator[Clip]:
        """Yield the listed clips. About a fraction `val_share` of the training clips become validation clips."""
        return set_aside(self.listed_clips(), self.config.val_share, self.config.seed)

    def published_train(self, clips: int) -> dict[str, int]:
        """Return {"train": clips}, the published number of training clips, for the method `published`.

        Return an empty dict if some training clips are used for validation.
        """
        return {} if self.config.val_share else {"train": clips}

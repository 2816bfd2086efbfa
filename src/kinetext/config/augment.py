"""Options of augmentation in training."""

from typing import Any, Literal

from pydantic import Field, field_validator

from kinetext.config.base import Fraction
from kinetext.core.plugins import Options


class AugmentOptions(Options):
    """Augmentation of training clips. All frames of a clip are changed in the same way."""

    crop: float | None = Field(
        None,
        gt=0,
        le=1,
        description="smallest area of a random resized crop, as a share (torchvision: 0.08); null: no crop",
    )
    flip: Literal["off", "on", "auto"] = Field(
        "off",
        description="mirror half of the clips; auto: not if a class name has a direction (left, clockwise), and never where clips have "
        "captions: captions and descriptions are not read",
    )
    rand_augment: int | None = Field(
        None, ge=0, le=30, description="magnitude of RandAugment (Cubuk et al., CVPRW 2020: 9); null: no RandAugment"
    )
    rand_augment_ops: int = Field(2, ge=1, le=5, description="operations of RandAugment per clip")
    erasing: Fraction = Field(0.0, description="probability of random erasing (Zhong et al., AAAI 2020; DeiT: 0.25)")

    @field_validator("flip", mode="before")
    @classmethod
    def _flip_as_word(cls, flip: Any) -> Any:
        return ("off", "on")[flip] if isinstance(flip, bool) else flip  # YAML reads on and off as booleans

    @property
    def enabled(self) -> bool:
        """Return whether any augmentation is on."""
        return self.crop is not None or self.flip != "off" or self.rand_augment is not None or self.erasing > 0


def expand_augment(augment: Any) -> Any:
    return {"none": {}, "crop": {"crop": 0.6}}.get(augment, augment) if isinstance(augment, str) else augment

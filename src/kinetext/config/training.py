"""How a method is built, trained and tested, as config.yaml describes it. Papers and defaults: docs/recipes.md."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from kinetext.config.base import Fraction
from kinetext.core.plugins import Options


class AugmentOptions(Options):
    """What happens to a training clip's frames, to all of them the same."""

    crop: float | None = Field(
        None,
        gt=0,
        le=1,
        description="random resized crop of at least this share of the area (torchvision's: 0.08); null: none",
    )
    flip: Literal["off", "on", "auto"] = Field(
        "off",
        description="mirror every other clip; auto: not where a class's name has a direction (left, clockwise), nor captions",
    )
    rand_augment: int | None = Field(
        None, ge=0, le=30, description="RandAugment's magnitude (Cubuk et al., CVPRW 2020: 9); null: none"
    )
    rand_augment_ops: int = Field(2, ge=1, le=5, description="how many of RandAugment's operations a clip gets")
    erasing: Fraction = Field(
        0.0, description="share of clips with a box erased (Zhong et al., AAAI 2020: 0.25 as in DeiT)"
    )

    @field_validator("flip", mode="before")
    @classmethod
    def _a_word(cls, flip: Any) -> Any:
        return ("off", "on")[flip] if isinstance(flip, bool) else flip  # YAML reads on and off so

    @property
    def changes(self) -> bool:
        """Whether a clip looks different from epoch to epoch."""
        return self.crop is not None or self.flip != "off" or self.rand_augment is not None or self.erasing > 0


def _in_short(augment: Any) -> Any:
    return {"none": {}, "crop": {"crop": 0.6}}.get(augment, augment) if isinstance(augment, str) else augment


class TestingOptions(Options):
    """The views of a test clip whose scores are averaged."""

    __test__ = False  # no test of pytest's

    clips: int = Field(1, ge=1, le=32, description="choices of num_frames among the stored frames")
    crops: Literal[1, 3] = Field(
        1, description="3: left, middle and right, or top, middle and bottom, of frames that are stored whole"
    )
    average: Literal["logits", "probabilities"] = Field(
        "logits", description="what is averaged over views; probabilities: scores are then their logarithm"
    )

    @property
    def views(self) -> int:
        """How many views a clip has."""
        return self.clips * self.crops


class TrainingOptions(Options):
    """How a method is trained."""

    epochs: int = Field(10, ge=0, description="passes over the training clips")
    batch_size: int = Field(32, ge=1, description="clips per step")
    lr: float = Field(5e-6, gt=0, description="peak learning rate of pretrained parameters")
    lr_new: float = Field(
        5e-5, gt=0, description="peak learning rate of new parameters (STAN's released configs: 10 x lr)"
    )
    weight_decay: float = Field(0.02, ge=0, description="AdamW; not on biases and LayerNorms (STAN, CVPR 2023, 4.1)")
    betas: tuple[float, float] = Field((0.9, 0.98), description="AdamW (STAN's released configs)")
    warmup_epochs: float = Field(1.0, ge=0, description="linear warm-up, then cosine to zero")
    label_smoothing: Fraction = Field(0.0, description="of the cross-entropy's targets")
    clip_norm: float = Field(5.0, gt=0, description="largest gradient norm (STAN's released configs)")
    image_encoder: Literal["frozen", "trained"] = Field(
        "trained", description="frozen: the image tower's layers, computed once"
    )
    text_encoder: Literal["frozen", "trained"] = Field("frozen", description="frozen: class texts are encoded once")
    temperature: float | None = Field(
        None, ge=0.01, description="that cosines are divided by, CLIP's smallest is 0.01; absent: the backbone's own"
    )
    learn_temperature: bool = Field(False, description="whether the temperature trains, starting from that")
    captions_per_video: Literal["one", "all"] = Field(
        "one",
        description="captions of a clip that an epoch takes: one, drawn anew each epoch, so that no batch holds two of a "
        "clip; all, each an item of its own as in CLIP4Clip's and STAN's code, where two in a batch are false negatives",
    )
    hard_negative_group: int = Field(
        1,
        ge=1,
        description="clips that stand side by side in the list of clips and share a batch; 2 on shapes_captions: every clip "
        "meets its twin, which differs by the motion alone (hard negatives in the batch, as NegCLIP, ICLR 2023)",
    )
    precision: Literal["float32", "bfloat16"] = Field(
        "float32", description="bfloat16: autocast, for a GPU that has it; scores and losses stay float32"
    )
    micro_batch: Annotated[int, Field(ge=1)] | Literal["auto"] | None = Field(
        "auto",
        description="clips that go through a GPU at once: a larger batch goes through in pieces with the same gradient, "
        "accumulated for classes, cached for captions (GradCache, Gao et al. 2021); auto: as many as fit, found out before "
        "the first step; null: the whole batch",
    )
    gradient_checkpointing: bool = Field(
        False,
        description="gradient checkpointing (Chen et al. 2016) of the image tower and STAN's branch: less memory, a forward "
        "pass more",
    )
    compile: bool = Field(False, description="torch.compile of the image tower's layers and the method's video side")
    decode: Literal["auto", "workers", "device"] = Field(
        "auto",
        description="where stored JPEGs are decoded: by workers on the CPU (threads), or on the device; auto: on a GPU that "
        "can (nvJPEG), whose pixels differ by rounding, where there are fewer than four workers",
    )
    deterministic: bool = Field(
        False,
        description="torch.use_deterministic_algorithms: the same bits from the same GPU, slower; a CPU gives them anyway",
    )
    divergence_factor: float | None = Field(
        3.0,
        gt=1,
        description="stop when the median of the last 50 losses is over so many times that of the first 50 (or 1, if that is "
        "less); null: never",
    )
    augment: Annotated[
        AugmentOptions, BeforeValidator(_in_short, json_schema_input_type=Literal["none", "crop"] | AugmentOptions)
    ] = Field(
        AugmentOptions(), description="none, crop (short for {crop: 0.6}), or options, one by one (docs/recipes.md)"
    )
    repeats: int = Field(
        1,
        ge=1,
        description="places that a clip has in its batch, each augmented anew (Hoffer et al., CVPR 2020); an epoch is so many "
        "times as long",
    )
    mixup: float = Field(0.0, ge=0, description="alpha of mixup (Zhang et al., ICLR 2018); 0: none; classes only")
    cutmix: float = Field(
        0.0,
        ge=0,
        description="alpha of CutMix (Yun et al., ICCV 2019); with mixup, too, each batch gets one of the two",
    )
    sampling: Literal["uniform", "segment", "dense"] = Field(
        "uniform",
        description="which num_frames of a clip's stored frames an epoch sees. uniform: always the centres of equal segments; "
        "segment: one of each, drawn anew (TSN, ECCV 2016); dense: every `stride`-th from a drawn start",
    )
    stride: int = Field(1, ge=1, description="stored frames from one to the next under dense")
    layer_decay: float = Field(
        1.0,
        gt=0,
        le=1,
        description="factor on the learning rate from each of CLIP's blocks to the one below (BEiT, ICLR 2022: 0.65 to 0.75)",
    )
    weight_averaging: Literal["none", "ema", "swa"] = Field(
        "none",
        description="weights that are validated and kept: averaged over steps, exponentially (ema) or equally (mean: SWA, UAI 2018)",
    )
    ema_decay: float = Field(0.999, ge=0, lt=1, description="share of the average so far under ema, a step")
    average_from: Fraction = Field(0.0, description="share of the training after which averaging begins (SWA: 0.75)")
    wise_ft_alpha: Fraction = Field(
        1.0,
        description="share of the trained weights in those written, the rest being those it started from, which are zero-shot "
        "CLIP's (WiSE-FT, CVPR 2022: 0.5)",
    )
    patience: int | None = Field(
        None, ge=1, description="epochs without a better validation after which training stops; takes select: best_val"
    )
    select: Literal["last", "best_val"] = Field(
        "last",
        description="which epoch is kept; best_val: by top1, or by text-to-video R@1 for captions; never by test",
    )
    cache_gib: float = Field(
        8.0, ge=0, description="most memory for the tokens of a frozen trunk, GiB; over it: anew each epoch"
    )

    @model_validator(mode="after")
    def _recipe(self) -> "TrainingOptions":
        if self.patience is not None and self.select != "best_val":
            raise ValueError("patience: stops by validation, and select is last; take select: best_val")
        if self.repeats > 1 and not (self.augment.changes or self.sampling != "uniform"):
            raise ValueError(f"repeats: {self.repeats} times the same pixels; set augment or sampling")
        if self.batch_size % self.repeats:
            raise ValueError(f"repeats: batch_size {self.batch_size} is no multiple of {self.repeats}")
        return self

    @property
    def mixes(self) -> bool:
        """Whether clips are mixed with others."""
        return self.mixup > 0 or self.cutmix > 0

    @property
    def sees_anew(self) -> bool:
        """Whether an epoch sees other pixels than the one before."""
        return self.augment.changes or self.sampling != "uniform" or self.mixes

    def of_classes(self) -> str | None:
        """The first option that is set and makes sense with classes alone, not with captions."""
        return "mixup" if self.mixup else "cutmix" if self.cutmix else "repeats" if self.repeats > 1 else None

    @model_validator(mode="after")
    def _whole_neighbourhoods(self) -> "TrainingOptions":
        if self.hard_negative_group > 1 and self.captions_per_video == "all":
            raise ValueError(
                "hard_negative_group: with captions_per_video: all these would be captions of one clip; take one"
            )
        if self.batch_size % self.hard_negative_group:
            raise ValueError(
                f"hard_negative_group: batch_size {self.batch_size} is no multiple of {self.hard_negative_group}"
            )
        return self


class MethodOptions(Options):
    """A method: a module of methods, its options, its training."""

    module: str | None = Field(None, description="module of methods; absent: the method's own name")
    options: dict[str, Any] = Field(default_factory=dict, description="the module's Config")
    training: TrainingOptions = TrainingOptions()
    num_frames: int | None = Field(
        None,
        ge=1,
        description="frames that the method looks at, of those stored; absent: all. training.sampling says which",
    )
    testing: TestingOptions = TestingOptions()

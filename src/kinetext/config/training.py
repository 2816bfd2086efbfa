"""Options of a method's training. docs/recipes.md names the papers and the reasons for the defaults."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from kinetext.config.augment import AugmentOptions, expand_augment
from kinetext.config.base import Fraction
from kinetext.core.plugins import Options


class TermOptions(Options):
    """A loss term that is added to the method's losses: a module of training/loss_terms, and its options."""

    module: str | None = Field(None, description="module of training/loss_terms; absent: the term's own name")
    weight: float = Field(1.0, ge=0, description="factor on the term")
    options: dict[str, Any] = Field(default_factory=dict, description="the module's Config")


class TrainingOptions(Options):
    """How a method is trained."""

    epochs: int = Field(10, ge=0, description="passes over the training clips")
    batch_size: int = Field(32, ge=1, description="clips per step")
    lr: float = Field(5e-6, gt=0, description="peak learning rate of pretrained parameters")
    lr_new: float = Field(
        5e-5,
        gt=0,
        description="peak learning rate of the parameters that the method adds (STAN's released configs: 10 x lr)",
    )
    weight_decay: float = Field(
        0.02, ge=0, description="weight decay of AdamW; none on biases and LayerNorms (STAN, CVPR 2023, 4.1)"
    )
    betas: tuple[float, float] = Field((0.9, 0.98), description="betas of AdamW (STAN's released configs)")
    warmup_epochs: float = Field(1.0, ge=0, description="epochs of linear warm-up, followed by cosine decay to zero")
    loss: Literal["softmax", "sigmoid"] = Field(
        "softmax",
        description="loss of methods that define none. softmax: cross-entropy, for captions symmetric (CLIP); sigmoid: a binary "
        "loss for every pair of clip and text (SigLIP, ICCV 2023), with the bias of the backbone or else a learned threshold",
    )
    label_smoothing: Fraction = Field(0.0, description="label smoothing of the cross-entropy")
    clip_norm: float = Field(5.0, gt=0, description="gradient norm is clipped to this (STAN's released configs)")
    image_encoder: Literal["frozen", "trained", "lora"] = Field(
        "trained",
        description="frozen: the image encoder is not trained, and its tokens are cached; lora: low-rank updates",
    )
    text_encoder: Literal["frozen", "trained", "lora"] = Field(
        "frozen",
        description="frozen: the text encoder is not trained, and texts are encoded once; lora: low-rank updates",
    )
    word_embeddings: Literal["frozen", "trained"] = Field(
        "frozen",
        description="frozen: the table of the text encoder's words is not trained, because most words occur in no class name; trained: "
        "with text_encoder: trained all of CLIP trains, as in ViFi-CLIP (CVPR 2023)",
    )
    lora_rank: int = Field(2, ge=1, description="rank of the low-rank updates (CLIP-LoRA, CVPRW 2024)")
    lora_alpha: float = Field(1.0, gt=0, description="scale of the low-rank updates, divided by the root of the rank")
    lora_dropout: float = Field(
        0.25, ge=0, lt=1, description="dropout of the inputs of the low-rank updates in training (CLIP-LoRA)"
    )
    temperature: float | None = Field(
        None,
        ge=0.01,
        description="temperature of the softmax over cosines (CLIP: at least 0.01); absent: the backbone's",
    )
    learn_temperature: bool = Field(
        False, description="whether the temperature is trained, starting from `temperature`"
    )
    captions_per_video: Literal["one", "all"] = Field(
        "one",
        description="one: each epoch draws one caption per clip, so that no batch holds two of a clip; all: each caption is an item "
        "of its own (CLIP4Clip's and STAN's code), and two of a clip in one batch are false negatives",
    )
    hard_negative_group: int = Field(
        1,
        ge=1,
        description="number of consecutive clips that share a batch as hard negatives (NegCLIP, ICLR 2023); 2 on shapes_captions: "
        "every clip meets the clip that differs only in its motion",
    )
    precision: Literal["float32", "bfloat16"] = Field(
        "float32", description="bfloat16: autocast on a GPU that supports it; scores and losses stay float32"
    )
    micro_batch: Annotated[int, Field(ge=1)] | Literal["auto"] | None = Field(
        "auto",
        description="clips per forward pass. A larger batch is processed in pieces with the same gradient: accumulation for "
        "classes, gradient caching for captions (GradCache, Gao et al. 2021). auto: as many as fit, tried before the first step; "
        "null: the whole batch",
    )
    gradient_checkpointing: bool = Field(
        False,
        description="gradient checkpointing (Chen et al. 2016) of the image encoder and STAN's branch: less memory, one more forward "
        "pass",
    )
    compile: bool = Field(False, description="torch.compile of the image encoder's layers and the method's video side")
    decode: Literal["auto", "workers", "device"] = Field(
        "auto",
        description="where stored JPEGs are decoded: by worker threads on the CPU, or on the device (nvJPEG; pixels differ by "
        "rounding). auto: on the device if it can and there are fewer than four workers",
    )
    deterministic: bool = Field(
        False,
        description="torch.use_deterministic_algorithms: bitwise reproducible on the same GPU, but slower; a CPU always is",
    )
    divergence_factor: float | None = Field(
        3.0,
        gt=1,
        description="stop if the median of the last 50 losses exceeds this many times the median of the first 50, or 1 if that is "
        "less; null: never",
    )
    augment: Annotated[
        AugmentOptions,
        BeforeValidator(expand_augment, json_schema_input_type=Literal["none", "crop"] | AugmentOptions),
    ] = Field(
        AugmentOptions(),
        description="augmentation: none, crop (short for {crop: 0.6}), or its options (docs/recipes.md)",
    )
    repeats: int = Field(
        1,
        ge=1,
        description="repeated augmentation: copies of a clip per batch, each augmented independently (Hoffer et al., CVPR 2020); an "
        "epoch takes that many times as long",
    )
    class_sampling: Literal["natural", "balanced"] = Field(
        "natural",
        description="balanced: each class equally often in an epoch, which stays as long; clips of small classes are repeated "
        "(Kang et al., ICLR 2020); only for classes",
    )
    logit_adjustment: float = Field(
        0.0,
        ge=0,
        description="tau of the logit-adjusted loss (Menon et al., ICLR 2021: 1): tau x log of each class's share of the training "
        "clips is added to its logit in training, not in tests; 0: off; only for classes",
    )
    mixup: float = Field(0.0, ge=0, description="alpha of mixup (Zhang et al., ICLR 2018); 0: off; only for classes")
    cutmix: float = Field(
        0.0,
        ge=0,
        description="alpha of CutMix (Yun et al., ICCV 2019); 0: off; if mixup is on too, each batch uses one of the two",
    )
    sampling: Literal["uniform", "segment", "dense"] = Field(
        "uniform",
        description="which num_frames of the stored frames an epoch uses. uniform: the centres of equal segments; segment: a random "
        "frame of each segment (TSN, ECCV 2016); dense: every `stride`-th frame from a random start",
    )
    stride: int = Field(1, ge=1, description="step between stored frames for dense sampling")
    layer_decay: float = Field(
        1.0,
        gt=0,
        le=1,
        description="layer-wise learning rate decay: factor per layer of the backbone, downwards (BEiT, ICLR 2022: 0.65 to 0.75)",
    )
    weight_averaging: Literal["none", "ema", "swa"] = Field(
        "none",
        description="average of the weights over steps, which is validated and written: exponential (ema) or equal (swa, UAI 2018)",
    )
    ema_decay: float = Field(
        0.999,
        ge=0,
        lt=1,
        description="decay of the exponential average per step; after n averaged steps at most (1 + n) / (10 + n)",
    )
    average_from: Fraction = Field(0.0, description="share of the training before averaging starts (SWA: 0.75)")
    wise_ft_alpha: Fraction | tuple[Fraction, ...] = Field(
        1.0,
        description="WiSE-FT: backbone weights written = alpha x fine-tuned + (1 - alpha) x pretrained (CVPR 2022: 0.5); 1: "
        "fine-tuned; a list: the alpha with the best score of the validation clips, never of test clips; the parameters that a "
        "method adds stay as trained",
    )
    patience: int | None = Field(
        None,
        ge=1,
        description="early stopping after this many epochs without a better validation; needs select: best_val",
    )
    select: Literal["last", "best_val"] = Field(
        "last",
        description="which epoch is kept; best_val: by validation top-1, or text-to-video R@1 for captions; never by test clips",
    )
    cache_gib: float = Field(
        8.0,
        ge=0,
        description="memory limit for cached tokens (float16) of a frozen image encoder, GiB; above it, or where one exceeds 65504, "
        "they are computed in each epoch",
    )

    terms: dict[str, TermOptions] = Field(
        default_factory=dict, description="loss terms added to the method's own, by their names; classes only"
    )

    @model_validator(mode="after")
    def _check_recipe(self) -> "TrainingOptions":
        if self.patience is not None and self.select != "best_val":
            raise ValueError("patience: early stopping needs validation, but select is last; set select: best_val")
        if self.word_embeddings == "trained" and self.text_encoder != "trained":
            raise ValueError(
                f"word_embeddings: trained needs text_encoder: trained, not {self.text_encoder}; set both, or neither"
            )
        if isinstance(self.wise_ft_alpha, tuple) and not self.wise_ft_alpha:
            raise ValueError(
                "wise_ft_alpha: the list is empty; give one alpha or more, such as [0, 0.25, 0.5, 0.75, 1]"
            )
        if self.repeats > 1 and not (self.augment.enabled or self.sampling != "uniform"):
            raise ValueError(f"repeats: all {self.repeats} copies of a clip would be equal; set augment or sampling")
        if self.loss == "sigmoid" and (self.label_smoothing or self.logit_adjustment):
            name = "label_smoothing" if self.label_smoothing else "logit_adjustment"
            raise ValueError(f"{name}: is of the softmax, and loss is sigmoid; set one of the two")
        if self.batch_size % self.repeats:
            raise ValueError(f"repeats: batch_size {self.batch_size} is not a multiple of {self.repeats}")
        if self.class_sampling == "balanced" and self.logit_adjustment:
            raise ValueError(
                "logit_adjustment: class_sampling: balanced corrects class shares already; set one of the two"
            )
        return self

    @property
    def mixes(self) -> bool:
        """Return whether training mixes clips with each other (mixup or CutMix)."""
        return self.mixup > 0 or self.cutmix > 0

    @property
    def pixels_vary(self) -> bool:
        """Return whether the pixels of a training clip differ between epochs."""
        return self.augment.enabled or self.sampling != "uniform" or self.mixes

    def needs_classes(self) -> str | None:
        """Return the name of the first option that is set and needs exactly one class per clip, or None."""
        options = {
            "mixup": self.mixup,
            "cutmix": self.cutmix,
            "repeats": self.repeats > 1,
            "class_sampling": self.class_sampling == "balanced",
            "logit_adjustment": self.logit_adjustment,
            "terms": self.terms,
        }
        return next((name for name, is_set in options.items() if is_set), None)

    @model_validator(mode="after")
    def _check_groups(self) -> "TrainingOptions":
        if self.hard_negative_group > 1 and self.captions_per_video == "all":
            raise ValueError(
                "hard_negative_group: with captions_per_video: all a group would be captions of one clip; set it to one"
            )
        if self.hard_negative_group > 1 and self.class_sampling == "balanced":
            raise ValueError(
                "class_sampling: balanced draws clips one by one, without groups; set hard_negative_group: 1"
            )
        if self.batch_size % self.hard_negative_group:
            raise ValueError(
                f"hard_negative_group: batch_size {self.batch_size} is not a multiple of {self.hard_negative_group}"
            )
        return self

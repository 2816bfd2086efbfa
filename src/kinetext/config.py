"""What may stand in config.yaml: one field per key, each with its unit or its source. Cross-checks between the parts
(is there such a method? does this folder exist?) are in plan.py, which may look at the plug-ins.
"""

import re
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BeforeValidator, Field, field_validator, model_validator

from kinetext.registry import Options, nearest

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]  # becomes a folder name
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]


# data/protocols.py says what each means
PROTOCOL = re.compile(
    r"(?P<kind>supervised(?!_)|few_shot(?=_)|base_to_novel)(?:_(?P<shots>[1-9]\d*)(?:_draw(?P<draw>\d+))?)?"
    r"|zero_shot_from_(?P<source>.+)"
)


class BackboneOptions(Options):
    """An image-text model."""

    model: str = Field("kinetext-tiny", description="open_clip's name of the architecture, e.g. ViT-B-32")
    pretrained: str | None = Field(
        None, description="open_clip's tag of published weights, e.g. openai; downloads them"
    )
    weights: str | None = Field(
        None, description="a local file of weights instead: safetensors or an open_clip checkpoint"
    )
    pretrain_steps: int | None = Field(
        None,
        ge=1,
        description="kinetext-tiny only: train it anew for so many steps instead of taking the shipped weights",
    )


class FrameOptions(Options):
    """Which frames of a clip are kept, and how."""

    num_frames: int = Field(8, ge=1, le=512, description="frames per clip, T")
    size_px: int = Field(
        224, ge=16, le=1024, description="height and width after resizing the short side and centre crop"
    )
    crop: Literal["centre", "whole"] = Field(
        "centre",
        description="whole: the long side stays, for resized crops and several crops of a test clip; whoever asks for none sees "
        "the centre",
    )
    sampling: Literal["uniform", "uniform_time", "segment", "dense", "rate"] = Field(
        "uniform",
        description="uniform: centres of T equal segments (TSN, ECCV 2016); uniform_time: the same by time; segment: as "
        "STAN's released test code rounds them; dense: every `stride`-th frame around the middle; rate: `rate_fps` frames a "
        "second (CLIP4Clip), at most T",
    )
    stride: int = Field(16, ge=1, description="frames from one to the next under dense; 16 for T = 8 (AIM, ICLR 2023)")
    rate_fps: float = Field(1.0, gt=0, description="frames per second under rate")
    encoding: Literal["jpeg", "raw"] = Field(
        "jpeg", description="raw: RGB bytes, 7 times larger, exact; for small sets"
    )
    quality: int = Field(95, ge=50, le=100, description="JPEG quality; what it costs in grey levels: docs/data.md")
    chroma: Literal["444", "420"] = Field(
        "444", description="JPEG chroma subsampling; 420 is smaller and blurs colours"
    )
    clip_limit_s: float = Field(60.0, gt=0, description="seconds after which decoding a clip is given up")
    max_px: int = Field(
        40_000_000, ge=1, description="width x height over which a video is not decoded; 8K is 33 million"
    )
    max_duration_s: float = Field(7200.0, gt=0, description="seconds over which a video is not decoded")

    @model_validator(mode="after")
    def _raw_is_square(self) -> "FrameOptions":
        if self.crop == "whole" and self.encoding == "raw":
            raise ValueError(
                "crop: whole frames are stored as JPEG, for raw bytes do not say their shape; take encoding: jpeg"
            )
        return self


class ProtocolOptions(Options):
    """What a data set says to the protocols."""

    novel: list[str] | Literal["half"] = Field(
        default_factory=list,
        description="classes without training clips under base_to_novel; half: those with the fewest training clips",
    )
    shots: dict[int, str] = Field(
        default_factory=dict, description="K -> a file that lists the training clips of K-shot protocols; else a draw"
    )


class DatasetOptions(ProtocolOptions):
    """A data set: a module of data/datasets and its options."""

    module: str | None = Field(None, description="module of data/datasets; absent: the data set's own name")
    options: dict[str, Any] = Field(default_factory=dict, description="the module's Config")
    frames: FrameOptions = FrameOptions()
    shard_clips: int = Field(1000, ge=1, description="clips per frame shard: one job each (video.md 3)")
    exclude: str | None = Field(None, description="a file of clip ids, one a line, that are left out of the data set")
    max_failed: Fraction = Field(0.05, description="stop before training when a larger share of clips has no frames")


class TextOptions(Options):
    """A text table: a module of text/providers and its options."""

    module: str | None = Field(None, description="module of text/providers; absent: the table's own name")
    options: dict[str, Any] = Field(default_factory=dict, description="the module's Config")


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
    new_lr: float = Field(
        5e-5, gt=0, description="peak learning rate of new parameters (STAN's released configs: 10 x lr)"
    )
    weight_decay: float = Field(0.02, ge=0, description="AdamW; not on biases and LayerNorms (STAN, CVPR 2023, 4.1)")
    betas: tuple[float, float] = Field((0.9, 0.98), description="AdamW (STAN's released configs)")
    warmup_epochs: float = Field(1.0, ge=0, description="linear warm-up, then cosine to zero")
    label_smoothing: Fraction = Field(0.0, description="of the cross-entropy's targets")
    clip_norm: float = Field(5.0, gt=0, description="largest gradient norm (STAN's released configs)")
    trunk: Literal["frozen", "trained"] = Field(
        "trained", description="frozen: the image tower's layers, computed once"
    )
    text: Literal["frozen", "trained"] = Field("frozen", description="frozen: class texts are encoded once")
    temperature: float | None = Field(
        None, ge=0.01, description="that cosines are divided by, CLIP's smallest is 0.01; absent: the backbone's own"
    )
    learn_temperature: bool = Field(False, description="whether the temperature trains, starting from that")
    captions_per_video: Literal["one", "all"] = Field(
        "one",
        description="captions of a clip that an epoch takes: one, drawn anew each epoch, so that no batch holds two of a "
        "clip; all, each an item of its own as in CLIP4Clip's and STAN's code, where two in a batch are false negatives",
    )
    neighbours: int = Field(
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
    recompute: bool = Field(
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
    explode: float | None = Field(
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
    average: Literal["none", "ema", "mean"] = Field(
        "none",
        description="weights that are validated and kept: averaged over steps, exponentially (ema) or equally (mean: SWA, UAI 2018)",
    )
    ema_decay: float = Field(0.999, ge=0, lt=1, description="share of the average so far under ema, a step")
    average_from: Fraction = Field(0.0, description="share of the training after which averaging begins (SWA: 0.75)")
    interpolate: Fraction = Field(
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
        if self.neighbours > 1 and self.captions_per_video == "all":
            raise ValueError("neighbours: with captions_per_video: all these would be captions of one clip; take one")
        if self.batch_size % self.neighbours:
            raise ValueError(f"neighbours: batch_size {self.batch_size} is no multiple of {self.neighbours}")
        return self


class MethodOptions(Options):
    """A method: a module of models/methods, its options, its training."""

    module: str | None = Field(None, description="module of models/methods; absent: the method's own name")
    options: dict[str, Any] = Field(default_factory=dict, description="the module's Config")
    training: TrainingOptions = TrainingOptions()
    num_frames: int | None = Field(
        None,
        ge=1,
        description="frames that the method looks at, of those stored; absent: all. training.sampling says which",
    )
    testing: TestingOptions = TestingOptions()


class ExperimentOptions(Options):
    """Runs: every data set x method x texts x seed of the lists."""

    datasets: list[str] = Field(min_length=1)
    protocol: str = Field(
        "supervised",
        description="supervised | few_shot_K | base_to_novel | base_to_novel_K | zero_shot_from_DATASET (data/protocols.py); "
        "_drawN after K: another draw of clips",
    )
    backbone: str
    methods: list[str] = Field(min_length=1)
    texts: list[str] = Field(min_length=1)
    seeds: list[Annotated[int, Field(ge=0)]] = Field(default=[0], min_length=1)

    @field_validator("protocol")
    @classmethod
    def _known(cls, protocol: str) -> str:
        if not PROTOCOL.fullmatch(protocol):
            known = ["supervised", "few_shot_4", "base_to_novel", "base_to_novel_16", "zero_shot_from_DATASET"]
            raise ValueError(f"no protocol '{protocol}'{nearest(protocol, known)}")
        return protocol

    @field_validator("seeds")
    @classmethod
    def _distinct(cls, seeds: list[int]) -> list[int]:
        if len(set(seeds)) < len(seeds):
            raise ValueError(f"a seed stands twice in {seeds}")
        return seeds


class ConfusablesOptions(Options):
    """How confusable classes are mined; training clips only."""

    rivals: int = Field(3, ge=1, description="rivals kept per class and rule, m")
    folds: int = Field(5, ge=2, description="folds of the cross-fitted confusion")
    clips_per_class: int = Field(
        50,
        ge=2,
        description="training clips of a class that the cross-fitted confusion takes at most, drawn by their names",
    )
    file: str | None = Field(
        None,
        description="your own csv of rivals with columns label, rival and, if need be, score; {dataset} in it stands for the "
        "data set's name",
    )
    rule: Literal["features", "text", "given", "file"] = Field(
        "features", description="the rule whose rivals go to the providers; a class without any takes the next one"
    )

    @model_validator(mode="after")
    def _has_its_file(self) -> "ConfusablesOptions":
        if self.rule == "file" and self.file is None:
            raise ValueError("rule is 'file', but `file` is not given; name your csv of rivals there")
        return self


class Published(Options):
    """A number that a paper reports, to stand beside ours."""

    metric: str = Field(description="our name of the metric")
    value: float = Field(description="in the metric's unit: a share from 0 to 1, or a rank")
    source: str = Field(description="paper and table")
    dataset: str
    protocol: str = "supervised"
    method: str
    texts: str


class ReportOptions(Options):
    """What report.html shows first."""

    title: str = "kinetext"
    headline: list[str] = Field(
        default=["top1", "mean_class_accuracy", "t2v_r1", "v2t_r1"],
        min_length=1,
        description="metrics of the first table; of each data set those that it has, classes and captions having others",
    )
    examples: int = Field(
        4, ge=0, description="confusable pairs shown with example frames, of each protocol and backbone"
    )
    descriptions: list[str] = Field(
        default=[],
        description="texts whose help is asked for, by their names; absent: those of kind motion that are no control",
    )
    reference: list[Published] = Field(default=[], description="what papers report, shown beside ours")


class TrackingOptions(Options):
    """MLflow. MLFLOW_TRACKING_URI in the environment goes before `uri`."""

    enabled: bool = True
    uri: str | None = Field(
        None,
        description="absent: sqlite in the results folder (one machine); http://HOST:PORT of an mlflow server, or "
        "postgresql://USER@HOST/DATABASE (docs/tracking.md)",
    )
    models: Literal["none", "trained", "whole"] = Field(
        "trained",
        description="what is logged for mlflow.pyfunc.load_model: trained, what a run trained and its texts, the backbone "
        "being read from the results folder or fetched again; whole, with the backbone",
    )
    max_model_mib: int = Field(200, ge=0, description="MiB over which a model is not logged")
    live: Literal["auto", "on", "off"] = Field(
        "auto", description="curves while training, best effort; auto: where the store is no sqlite file"
    )


class Config(Options):
    """The whole of config.yaml."""

    results: str = Field("results", description="folder that everything is written to")
    backbones: dict[Name, BackboneOptions]
    datasets: dict[Name, DatasetOptions]
    confusables: ConfusablesOptions = ConfusablesOptions()
    texts: dict[Name, TextOptions]
    methods: dict[Name, MethodOptions]
    experiments: dict[Name, ExperimentOptions] = Field(min_length=1)
    report: ReportOptions = ReportOptions()
    tracking: TrackingOptions = TrackingOptions()


class RunSpec(Options):
    """One run, completely specified: the content of run.yaml."""

    run: str = Field(description="{dataset}/{protocol}/{method}/{texts}/seed{n}")
    dataset: str
    protocol: str
    method: str
    texts: str
    backbone: str
    seed: int
    protocol_options: ProtocolOptions = ProtocolOptions()
    trained_on: str | None = Field(None, description="the run whose checkpoint is tested; null: the run's own")
    trained_fingerprint: str | None = Field(None, description="the fingerprint of that run")
    confusables: dict[str, Any] = Field(default_factory=dict, description="how rivals were mined")
    method_module: str
    method_options: dict[str, Any]
    training: TrainingOptions
    num_frames: int | None = Field(None, description="frames that the method looks at; null: all that are stored")
    testing: TestingOptions = TestingOptions()
    dataset_options: dict[str, Any] = Field(description="what made the clips and frames")
    backbone_options: dict[str, Any]
    text_options: dict[str, Any]
    fingerprint: str = ""


def read_run(path: Path) -> RunSpec:
    """The run that a run.yaml specifies. Raises ValueError if there is no such file."""
    if not path.is_file():
        raise ValueError(f"{path.parent}: is no run folder, {path.name} is missing; make it with `kinetext plan-run`")
    return RunSpec(
        **yaml.load(path.read_text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    )  # C: 10 times faster

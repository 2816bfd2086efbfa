"""The interface of a method: how it encodes videos and texts, how it scores them, and which losses train it.

`Method` is the base class of all methods. Its default behaviour is mean pooling: zero-shot CLIP applied to the mean of
the frame features.

A method receives tensors, not file paths. Most methods read tokens that the image encoder has computed, so a frozen
encoder runs once per clip instead of once per epoch. A method with `inside = True` replaces the forward pass of each
layer of the encoder. A method that needs no backbone at all reads frames and extends `FrameMethod` (frames.py).

The module docstring of a method names the paper and states what trains, how many parameters the method adds, and what
it equals before training. Tests check the last two statements.

B clips, T frames, C channels, H x W pixels, N tokens of a frame (1 if the method reads no patches), V width of the
image encoder, K classes or captions, S sentences, D width of the joint space.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kinetext.backbones.attention import cosine_scores
from kinetext.backbones.base import Backbone, Layer
from kinetext.backbones.text_table import TextTable, WordFeatures, class_means, encode_table
from kinetext.core import plugins
from kinetext.core.plugins import Options

Tokens = dict[int, Tensor]  # layer -> tokens_BTNV
Task = Literal["classes", "captions", "labels"]  # one class per clip, captions, several labels per clip
ALL_TASKS: tuple[Task, ...] = ("classes", "captions", "labels")  # of methods whose losses are `Method.losses`
IGNORES_ORDER = "Cannot distinguish a clip from the same frames in reversed or shuffled order."  # for `cannot_see`
THRESHOLD_SCALE = 100  # of `label_threshold`: CLIP's scale, so that the threshold trains as fast as a cosine


@dataclass(frozen=True)
class LossInputs:
    """The inputs of `Method.losses` for one batch.

    If clips have classes, `target_B` holds the class of each clip, and `rivals_KK` is true where the column's class is
    the row's class or a rival of the row's class. If clips have captions, text b belongs to clip b: `target_B` is 0, 1,
    ..., B - 1, and `rivals_KK` is None.
    """

    video: Any  # features of the clips, from `encode_tokens`
    text: Any  # features of the classes or captions, from `pool_texts`
    target_B: Tensor
    rivals_KK: Tensor | None = None
    label_smoothing: float = 0.0
    labels_BK: Tensor | None = None  # 1 for each class of a clip, else 0, in a multi-label data set; then no target_B
    log_prior_K: Tensor | None = None  # tau x log(share of the class); None without training.logit_adjustment
    sigmoid: bool = False  # training.loss: one binary decision per pair instead of a softmax over texts

    def adjusted(self, scores_BK: Tensor) -> Tensor:
        """Add `log_prior_K` to the logits of the classes, if it is set (Menon et al., ICLR 2021, eq. 10)."""
        return scores_BK if self.log_prior_K is None else scores_BK + self.log_prior_K


SearchSpace = Mapping[str, dict[str, Any]]
LEARNING: SearchSpace = {  # search ranges without new parameters, in the format of config/tuning.py
    "training.lr": {"factor": 10},
    "training.weight_decay": {"low": 0.001, "high": 0.3, "log": True},
}
LEARNING_NEW: SearchSpace = {**LEARNING, "training.lr_new": {"factor": 10}}  # for methods that add parameters


class Method(nn.Module):
    """Score a video by the cosine of its mean frame feature with the mean text feature of each class."""

    paper: ClassVar[str] = ""  # one-line citation; this and the next six fill docs/methods.md
    mechanism: ClassVar[str] = ""  # what the method does, in a sentence whose subject is the method
    equals_before_training: ClassVar[str] = ""  # e.g. "zero-shot CLIP", or the function that it equals
    cannot_see: ClassVar[str] = ""  # what the scores ignore; with `sees_order = False`, it names frame order
    published: ClassVar[tuple[str, ...]] = ()  # results: data set, metric, value, setting and source, one line each
    what_trains: ClassVar[str] = ""  # empty: derived from `trains`, `fits` and the new parameters
    fitted_parameters: ClassVar[str] = ""  # number of values that `fit` stores, by K classes, N clips, width D or V

    Config: ClassVar[type[Options]] = Options
    reads: ClassVar[Literal["tokens", "frames"]] = "tokens"  # frames: no backbone (methods/frames.py)
    trains: ClassVar[bool] = True  # false: the method has nothing to train
    plain: ClassVar[bool] = False  # true: the trained model is an image-text model, scored like `zero_shot`
    fits: ClassVar[bool] = False  # true: `fit` is called instead of gradient descent
    needs_text: ClassVar[bool] = True  # false: no text is encoded, so the backbone needs no text encoder
    needs_descriptions: ClassVar[bool] = False  # true: class names alone are refused
    needs_training_clips: ClassVar[bool] = False  # true: novel classes get no scores; the protocol zero_shot is refused
    tasks: ClassVar[tuple[Task, ...]] = ("classes", "captions")  # labels: several per clip, in `losses`
    search_space: ClassVar[SearchSpace] = LEARNING  # what tuning varies by default: option -> its range
    sees_order: bool = True  # false: reversing the frames changes no score (a contract check)
    inside: bool = False  # true: `layer` runs in place of each layer of the image encoder
    inside_text: bool = False  # true: the method changes the text encoder, so texts are encoded in every step
    gradient_checkpointing: bool = False  # of the method's own layers (training.gradient_checkpointing)
    patches: bool = False  # true: the method reads the patch tokens of a frame, not only its summary

    def __init__(self, backbone: Backbone, config: Any) -> None:
        super().__init__()
        self.backbone = backbone
        self.config = config
        self.loss_terms = nn.ModuleDict()  # training.terms, during training
        self.fitted: dict[str, Tensor] = {}  # the result of `fit`, stored in the checkpoint
        self.label_threshold: nn.Parameter | None = None  # threshold of binary losses (see `needs_threshold`)

    @classmethod
    def check(cls, config: Any) -> None:
        """Raise ValueError if options contradict each other. `kinetext check-config` calls it before a run starts."""

    @classmethod
    def serves_sigmoid(cls) -> bool:
        """Return whether `losses` supports `LossInputs.sigmoid`; by default, if it is inherited and `fits` is false."""
        return not cls.fits and cls.losses is Method.losses

    @classmethod
    def check_depth(cls, config: Any, depth: int, backbone: str) -> None:
        """Raise ValueError if the options need more layers than the image encoder has (`depth`)."""

    @classmethod
    def chooses_on_val(cls, config: Any) -> bool:
        """Return whether the options require validation clips (training.select: best_val)."""
        return False

    @classmethod
    def gives_frame_motion(cls, config: Any) -> bool:
        """Return whether `frame_motion` depends on other frames, so that another method can use it."""
        return cls.inside

    # image side

    @property
    def levels(self) -> tuple[int, ...]:
        """The layers of the image encoder that the method reads, numbered from 1. The last layer is always included."""
        return (self.backbone.num_layers,)

    def layer(self, number: int, layer: Layer, x_BTNV: Tensor) -> Tensor:
        """Return the output [B, T, N, V] of layer `number` (from 1) of the image encoder. Called only if `inside`."""
        return layer(x_BTNV.flatten(0, 1)).unflatten(0, x_BTNV.shape[:2])

    def change_embedding(self, x_BTNV: Tensor) -> Tensor:
        """Return the tokens [B, T, N, V], with positions added, for the norm before the first layer.

        Called only if `inside`. Tokens may be added after the patches.
        """
        return x_BTNV

    def image_tokens(self, frames_BTCHW: Tensor) -> Tokens:
        """Return the tokens [B, T, N, V] of each layer in `levels`. Frames are uint8 or normalised floats."""
        hooks = (self.layer, self.change_embedding) if self.inside else (None, None)
        tokens = self.backbone.visual_tokens(frames_BTCHW, self.levels, *hooks)
        return tokens if self.patches else {k: self.backbone.summary(x)[:, :, None] for k, x in tokens.items()}

    @property
    def mixes_frames(self) -> bool:
        """Return whether tokens of a frame may depend on the other frames, so that reordering frames changes them."""
        return self.inside or self.backbone.across_frames

    def summaries(self, tokens: Tokens, level: int | None = None) -> Tensor:
        """Return the summary [B, T, V] of each frame (such as the class token) after layer `level` (default: last)."""
        x_BTNV = tokens[self.backbone.num_layers if level is None else level]
        return self.backbone.summary(x_BTNV) if self.patches else x_BTNV[:, :, 0]

    def patch_tokens(self, tokens: Tokens, level: int) -> Tensor:
        """Return the patch tokens [B, T, h * w, V] after layer `level`.

        If `patches` is false, the result is the summaries [B, T, 1, V].
        """
        x_BTNV = tokens[level]
        return self.backbone.patches(x_BTNV) if self.patches else x_BTNV

    def frame_features(self, tokens: Tokens) -> Tensor:
        """Return the backbone's frame features [B, T, D]."""
        return self.backbone.project(self.summaries(tokens))

    def frame_motion(self, tokens: Tokens) -> Tensor:
        """Return the frame features [B, T, D] after the method's temporal modelling, before pooling."""
        return self.frame_features(tokens)

    def encode_frames(self, frames_BTD: Tensor) -> Any:
        """Return the video features, computed from frame features. The default is the mean over frames [B, D]."""
        return frames_BTD.mean(1)

    def encode_tokens(self, tokens: Tokens) -> Any:
        """Return the video features, computed from the tokens that `image_tokens` returned."""
        return self.encode_frames(self.frame_features(tokens))

    def encode_video(self, frames_BTCHW: Tensor) -> Any:
        """Return the video features, computed from frames (see `image_tokens`)."""
        return self.encode_tokens(self.image_tokens(frames_BTCHW))

    # text side

    def encode_words(self, table: TextTable) -> WordFeatures:
        """Return the features of every sentence and word. Called once per training if the text encoder is frozen."""
        return encode_table(self.backbone, table)

    def pool_texts(self, words: WordFeatures, table: TextTable) -> Any:
        """Return the class features. The default is the mean [K, D] of the normalised sentence features of a class."""
        return class_means(words.sentence_SD, table, torch.ones_like(table.motion_S))

    def encode_texts(self, table: TextTable) -> Any:
        """Return the class features, computed from tokenised texts."""
        return self.pool_texts(self.encode_words(table), table)

    # scores and losses

    def score(self, video: Any, text: Any) -> Tensor:
        """Return the logits [B, K] of all pairs of videos and texts. Evaluation passes captions in chunks."""
        return self.backbone.logits(cosine_scores(video, text))

    def needs_threshold(self, loss: str, multi_label: bool) -> bool:
        """Return whether training uses a binary loss that needs a threshold (see `label_logits`).

        `loss` is training.loss. Multi-label data always need a threshold, because a bias trained on image-text pairs
        does not reflect the number of labels of a clip.
        """
        return multi_label or (loss == "sigmoid" and not self.backbone.has_bias)

    def add_label_threshold(self) -> None:
        """Add the threshold parameter of binary losses (see `label_logits`)."""
        device = next(self.parameters()).device
        self.label_threshold = nn.Parameter(torch.zeros((), device=device))

    def label_logits(self, scores_BK: Tensor) -> Tensor:
        """Return the log-odds [B, K] of each label: the scores minus the learned threshold, if there is one.

        The threshold acts as a negative bias of the logits.
        """
        return scores_BK if self.label_threshold is None else scores_BK - THRESHOLD_SCALE * self.label_threshold

    def losses(self, batch: LossInputs) -> dict[str, Tensor]:
        """Return the loss terms by name. Training minimises their sum; each is logged as a curve.

        The default is the cross-entropy over all classes. If clips have captions, it is the symmetric contrastive loss.
        If clips have several labels, it is the binary cross-entropy, averaged over labels and clips. With
        `batch.sigmoid`, the sigmoid loss replaces the first two.
        """
        scores_BK = self.score(batch.video, batch.text)
        if batch.labels_BK is not None:
            wanted_BK = (1 - batch.label_smoothing) * batch.labels_BK + batch.label_smoothing / 2
            logits_BK = self.label_logits(scores_BK)
            return {"binary_cross_entropy": F.binary_cross_entropy_with_logits(logits_BK, wanted_BK)}
        if batch.sigmoid:
            return {"sigmoid": sigmoid_loss(self.label_logits(scores_BK), batch.target_B)}
        if batch.rivals_KK is None:
            return {"contrastive": contrastive_loss(scores_BK, batch.label_smoothing)}
        scores_BK = batch.adjusted(scores_BK)
        return {"cross_entropy": F.cross_entropy(scores_BK, batch.target_B, label_smoothing=batch.label_smoothing)}

    def fit(self, frames_NTD: Tensor, target_N: Tensor, text: Any, val: tuple[Tensor, Tensor] | None = None) -> None:
        """Set `fitted` from the frame features and classes of the N training clips. Called only if `fits`.

        `text` holds the features of the classes. `val` has frame features and classes of the validation clips if
        `training.select` is `best_val`, so that the method can select options on them. Features are on the CPU.
        """
        raise NotImplementedError(f"{type(self).__name__} has fits = True but does not override `fit`")

    # parameters

    def new_parameters(self) -> dict[str, nn.Parameter]:
        """Return the parameters added to the loaded backbone, by name. Parameters of loss terms are left out."""
        parameters = self.named_parameters()
        return {name: p for name, p in parameters if is_new(p) and not name.startswith("loss_terms.")}


def is_new(parameter: nn.Parameter) -> bool:
    """Return whether a parameter was added after the backbone was loaded."""
    return not getattr(parameter, "is_pretrained", False)


def contrastive_loss(scores_BB: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Return the symmetric contrastive loss of CLIP (InfoNCE; Radford et al., ICML 2021).

    It is the mean of the cross-entropies from video to text and from text to video. Text b belongs to video b.
    """
    target_B = torch.arange(len(scores_BB), device=scores_BB.device)
    to_text = F.cross_entropy(scores_BB, target_B, label_smoothing=label_smoothing)
    to_video = F.cross_entropy(scores_BB.T, target_B, label_smoothing=label_smoothing)
    return (to_text + to_video) / 2


def sigmoid_loss(logits_BK: Tensor, target_B: Tensor) -> Tensor:
    """Return the sigmoid loss of SigLIP (Zhai et al., ICCV 2023, eq. 1): a binary cross-entropy for every pair.

    It is summed over texts and averaged over videos. Text `target_B[b]` belongs to video b.
    """
    wanted_BK = F.one_hot(target_B.to(logits_BK.device), logits_BK.shape[1]).to(logits_BK.dtype)
    return F.binary_cross_entropy_with_logits(logits_BK, wanted_BK, reduction="sum") / len(logits_BK)


def configure_method(name: str, options: dict[str, Any]) -> tuple[type[Method], Any]:
    """Return (class of a method, validated options). Raises ValueError for an unknown name or option."""
    method = plugins.load("methods", name)
    return method, plugins.configure(method, options)


def build_method(backbone: Backbone, name: str, options: dict[str, Any]) -> Method:
    """Build a method on a backbone. Raises ValueError for an unknown name or option."""
    method, config = configure_method(name, options)
    return method(backbone, config)

"""The image-text model: frames and texts in, features of a common space out. The only module that knows open_clip.

Any open_clip model with a native ViT image tower and the original CLIP text tower (ViT-B-32, ViT-B-16, ViT-L-14, ...,
with a `pretrained` tag or a local weights file), and `tiny`, the small CLIP that kinetext pretrains itself.
With no method on top `encode_frames` and `encode_text` equal open_clip's encode_image and encode_text
(tests/parity/test_backbone.py).

B clips, T frames, C channels, H x W pixels, N tokens (class token first, then patches row by row), V visual width,
K texts, L words, D joint width.
"""

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from kinetext.backbones.attention import checkpointed, layer

ASSETS = Path(__file__).parent / "tiny/assets"
TINY = "kinetext-tiny"


@contextmanager
def _quickly() -> Iterator[None]:
    """Import open_clip in 4 instead of 8 s of CPU time, which every job spends anew.

    Half of the 8 s are torch._dynamo, which torchvision imports to ask one question about an operator that no image tower
    has (the answer here is no), and timm, whose towers we refuse and which open_clip takes as not installed.
    """
    answers = ModuleType("torch._dynamo.utils")
    answers.is_compile_supported = lambda device: False  # type: ignore[attr-defined]
    instead: dict[str, Any] = {"torch._dynamo.utils": answers, "timm": None}
    instead = {name: module for name, module in instead.items() if name not in sys.modules}
    sys.modules.update(instead)
    try:
        yield
    finally:  # nobody else shall find them
        for name in instead:
            del sys.modules[name]


with _quickly():
    import open_clip

open_clip.add_model_config(ASSETS)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Architecture:
    """What open_clip needs to build the towers: its model name and whether GELU is OpenAI's fast variant."""

    model: str
    quick_gelu: bool = False
    mean: tuple[float, ...] | None = None  # of the pixels that the weights were trained with; None: open_clip's default
    std: tuple[float, ...] | None = None


class Backbone(nn.Module):
    """The two towers of a CLIP, layer by layer.

    Raises ValueError for a model whose towers are not the plain ones (timm, ResNet, Hugging Face text, ...).
    """

    mean_C: Tensor
    std_C: Tensor

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        settings = open_clip.get_model_config(architecture.model) or {}
        if "timm_model_name" in settings.get("vision_cfg", {}):  # building it would ask for timm
            raise _no_plain_vit(architecture.model)
        with _quiet():  # open_clip warns that it loads no weights: they come later here
            clip = open_clip.create_model(
                architecture.model, load_weights=False, force_quick_gelu=architecture.quick_gelu
            )
            _check_towers(architecture.model, clip)  # first: other towers' tokenizers need packages that we lack
            tokenizer = open_clip.get_tokenizer(architecture.model)
        self.architecture = architecture
        self.layer = layer  # of the image tower; compiled by training.compile
        self.gradient_checkpointing = (
            False  # gradient checkpointing of the image tower's layers (training.gradient_checkpointing)
        )
        self.clip = clip
        self.visual = clip.visual
        self.tokenizer = tokenizer
        self.context_length = int(clip.context_length)
        self.width = int(self.visual.conv1.out_channels)
        self.embed_dim = int(self.visual.proj.shape[1])
        self.num_layers = len(self.visual.transformer.resblocks)
        self.image_size_px = int(self.visual.image_size[0])
        down, across = self.visual.grid_size
        self.grid = (int(down), int(across))  # patches down, patches across
        preprocess = open_clip.get_model_preprocess_cfg(clip)
        mean, std = architecture.mean or preprocess["mean"], architecture.std or preprocess["std"]
        self.register_buffer("mean_C", torch.tensor(mean), persistent=False)
        self.register_buffer("std_C", torch.tensor(std), persistent=False)

    def normalise(self, frames_BTCHW: Tensor) -> Tensor:
        """uint8 frames (0 to 255) become floats with CLIP's mean and deviation; floats pass as they are."""
        if frames_BTCHW.dtype != torch.uint8:
            return frames_BTCHW
        mean, std = (c.view(-1, 1, 1) for c in (self.mean_C, self.std_C))
        return (frames_BTCHW.to(self.visual.conv1.weight.dtype) / 255.0 - mean) / std

    def visual_tokens(self, frames_BTCHW: Tensor, layers: tuple[int, ...]) -> dict[int, Tensor]:
        """The tokens [B, T, N, V] after each of the named layers, 1 to num_layers; 0 is the input of the first."""
        B, T = frames_BTCHW.shape[:2]
        if frames_BTCHW.shape[-2:] != (self.image_size_px, self.image_size_px):
            size = "x".join(str(n) for n in frames_BTCHW.shape[-2:])
            raise ValueError(f"frames are {size} px, {self.architecture.model} takes {self.image_size_px}")
        x = self.visual._embeds(self.normalise(frames_BTCHW).flatten(0, 1))
        tokens = {0: x} if 0 in layers else {}
        for number, block in enumerate(self.visual.transformer.resblocks[: max(layers)], start=1):
            x = checkpointed(self.layer, block, x) if self.gradient_checkpointing else self.layer(block, x)
            if number in layers:
                tokens[number] = x
        return {layer: t.unflatten(0, (B, T)) for layer, t in tokens.items()}

    def project(self, cls: Tensor) -> Tensor:
        """Class tokens [..., V] of the last layer into the joint space [..., D]: CLIP's last LayerNorm and projection."""
        return self.visual.ln_post(cls) @ self.visual.proj

    def encode_frames(self, frames_BTCHW: Tensor, layers: tuple[int, ...] = ()) -> tuple[Tensor, dict[int, Tensor]]:
        """Frame features [B, T, D], not normalised, and the tokens [B, T, N, V] of the layers asked for."""
        tokens = self.visual_tokens(frames_BTCHW, (*layers, self.num_layers))
        frames_BTD = self.project(tokens[self.num_layers][:, :, 0])
        return frames_BTD, {layer: tokens[layer] for layer in layers}

    def tokenise(self, texts: list[str]) -> Tensor:
        """Token ids [K, L], L the longest text's length. A text over the context is cut before its end token."""
        tokens_KL = self.tokenizer(texts, context_length=self.context_length)
        lengths = [len(self.tokenizer.encode(text)) + 2 for text in texts]
        cut = sum(n > self.context_length for n in lengths)
        if cut:
            log.warning("%d of %d texts are over %d tokens and were cut", cut, len(texts), self.context_length)
        return tokens_KL[:, : min(max(lengths), self.context_length)]

    def encode_text(self, tokens_KL: Tensor) -> tuple[Tensor, Tensor]:
        """Text features [K, D], not normalised, and the features of every word [K, L, D] in the same space.

        Padding after the end token cannot be seen from it (the mask is causal), so shorter tables give the same result.
        """
        L = tokens_KL.shape[1]
        x_KLW = self.clip.token_embedding(tokens_KL) + self.clip.positional_embedding[:L]
        x_KLW = self.clip.transformer(x_KLW, attn_mask=self.clip.attn_mask[:L, :L])
        words_KLD = self.clip.ln_final(x_KLW) @ self.clip.text_projection
        row_K = torch.arange(len(tokens_KL), device=tokens_KL.device)
        return words_KLD[row_K, tokens_KL.argmax(-1)], words_KLD

    @property
    def logit_scale(self) -> Tensor:
        """Inverse temperature of the cosine, capped at 100 as CLIP's own."""
        return self.clip.logit_scale.exp().clamp(max=100.0)


def token_counter(model: str) -> Callable[[str], int]:
    """How many tokens an architecture's tokenizer makes of a text, uncut, the start and end token included."""
    tokenizer = open_clip.get_tokenizer(model)
    return lambda text: len(tokenizer.encode(text)) + 2


def _no_plain_vit(model: str) -> ValueError:
    return ValueError(
        f"backbones: open_clip's '{model}' has no plain ViT image tower with a class token; take one such as ViT-B-32, "
        "ViT-B-16 or ViT-L-14"
    )


def _check_towers(model: str, clip: nn.Module) -> None:
    visual = getattr(clip, "visual", None)
    plain_visual = (
        isinstance(visual, open_clip.transformer.VisionTransformer)
        and visual.pool_type == "tok"
        and visual.attn_pool is None
        and visual.proj is not None
    )
    if not plain_visual:
        raise _no_plain_vit(model)
    if not isinstance(clip, open_clip.CLIP) or clip.text_pool_type != "argmax":
        raise ValueError(
            f"backbones: open_clip's '{model}' has no original CLIP text tower; take one such as ViT-B-32, ViT-B-16 or ViT-L-14"
        )


@contextmanager
def _quiet() -> Iterator[None]:
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


def fetch(model: str, pretrained: str | None, weights: str | None) -> Backbone:
    """An open_clip model with published weights (downloaded by open_clip) or a local file of them.

    Raises ValueError for an unknown tag, a missing file, one that does not fit the architecture, or neither.
    """
    if weights is None and pretrained is None:
        raise ValueError(f"backbones: {model} has neither `pretrained` nor `weights`")
    if weights is not None and not Path(weights).is_file():
        raise ValueError(f"backbones: weights file {weights} does not exist")
    tags = open_clip.list_pretrained_tags_by_model(model)
    if weights is None and pretrained not in tags:
        raise ValueError(f"backbones: {model} has no pretrained tag '{pretrained}'; known: {', '.join(tags) or 'none'}")
    settings = open_clip.get_pretrained_cfg(model, pretrained) if weights is None else {}
    if weights is not None and f"{model}-quickgelu" in open_clip.list_models():
        log.warning("%s: if these weights are OpenAI's, take model %s-quickgelu", weights, model)
    mean, std = (tuple(settings[key]) if settings.get(key) else None for key in ("mean", "std"))
    backbone = Backbone(Architecture(model, bool(settings.get("quick_gelu", False)), mean, std))
    path = weights or open_clip.download_pretrained(settings)
    try:
        open_clip.load_checkpoint(backbone.clip, path)
    except (AssertionError, RuntimeError, KeyError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"backbones: {path} does not fit {model} ({reason}); is it another architecture's?") from error
    return backbone

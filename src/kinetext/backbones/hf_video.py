"""Video encoders without text, through the package transformers: V-JEPA 2 and VideoMAE. For probes only.

V-JEPA 2: Assran et al., arXiv:2506.09985. VideoMAE: Tong et al., NeurIPS 2022. The models are those of
huggingface/transformers (5.24), an optional dependency (`pip install 'kinetext[video]'`), imported only when needed.

A video encoder embeds tubelets: patches over `frames_per_step` frames. Every layer attends across the whole clip, so
tokens depend on frame order. T frames give T' = T / frames_per_step steps of tokens. The tokens of the last layer are
the output of the encoder, after its final norm if it has one. The mean of a step's tokens is its summary and feature.

Weights are a folder or a name on the hub (`hf-hub:owner/name`) with config.json and model.safetensors. Besides these,
only the mean and standard deviation of pixels are read. Classification heads and V-JEPA 2's predictor are left out.

B clips, T frames, C channels, H x W pixels, N tokens of a step, V width.
"""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn

from kinetext.backbones.base import Backbone, Facts, ParameterPlace, Preprocess
from kinetext.backbones.download import hub_file, hub_state
from kinetext.backbones.weights import read_weights
from kinetext.config.backbone import HUB
from kinetext.core.documents import load_json
from kinetext.core.plugins import Options

WEIGHTS, CONFIG = "model.safetensors", "config.json"
PIXELS = ("video_preprocessor_config.json", "preprocessor_config.json")
IMAGENET = Preprocess((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), "bilinear")
MODELS = {"vjepa2": ("VJEPA2Config", "VJEPA2Model"), "videomae": ("VideoMAEConfig", "VideoMAEModel")}


class HfVideo(Backbone):
    """A video encoder of transformers: V-JEPA 2 or VideoMAE."""

    class Config(Options):
        """Option of the weights."""

        weights: str = Field(description="a folder with config.json and model.safetensors, or hf-hub:owner/name")

    has_text = False
    across_frames = True
    prefix_tokens = 0
    context_length = 1  # there is no text
    text_layers = ()
    layers = ()  # tokens of a whole clip go through `blocks`
    log_scale: Tensor

    def __init__(self, description: dict[str, Any], preprocess: Preprocess = IMAGENET) -> None:
        """Build the encoder with random weights from the content of a config.json."""
        super().__init__(preprocess)
        self.description = description
        config, model = _classes(description)
        self.settings = config.from_dict(description)
        self.model: Any = model(self.settings)
        if description["model_type"] == "vjepa2":
            del self.model.predictor  # used only in pretraining, to predict masked tokens
        self.blocks = tuple(self.model.encoder.layer)
        facts = facts_of(description)
        self.num_layers, self.image_size_px = facts.num_layers, facts.image_size_px
        self.frames_per_step, self.num_frames = facts.frames_per_step, facts.num_frames
        self.width = self.embed_dim = int(self.settings.hidden_size)
        side = self.image_size_px // int(self.settings.patch_size)
        self.grid = (side, side)
        self.register_buffer("log_scale", torch.tensor(math.log(100.0)))
        self.mark_pretrained()

    # building, saving and loading

    @classmethod
    def facts(cls, config: Any) -> Facts:
        return facts_of(load_json(_file(config.weights, CONFIG)))

    @classmethod
    def prepared_facts(cls, config: Any, architecture: dict[str, Any]) -> Facts:
        return facts_of(architecture["config"])

    @classmethod
    def weights_state(cls, config: Any) -> tuple[str, bool]:
        if not config.weights.startswith(HUB):
            return "", False
        return hub_state(config.weights.removeprefix(HUB), (WEIGHTS,))

    @classmethod
    def prepare(cls, config: Any, seed: int = 0) -> HfVideo:
        """Return the encoder with the weights of a folder or of the hub. Raises ValueError if they do not fit."""
        description = load_json(_file(config.weights, CONFIG))
        backbone = cls(description, _pixels(config.weights))
        file = _file(config.weights, WEIGHTS)
        backbone._load(read_weights(file), str(file))
        return backbone

    @classmethod
    def rebuild(cls, architecture: dict[str, Any]) -> HfVideo:
        preprocess = Preprocess(tuple(architecture["mean"]), tuple(architecture["std"]), "bilinear")
        return cls(architecture["config"], preprocess)

    def architecture(self) -> dict[str, Any]:
        return {"config": self.description, "mean": list(self.preprocess.mean), "std": list(self.preprocess.std)}

    def _load(self, tensors: dict[str, Tensor], where: str) -> None:
        """Load the tensors of a model of transformers, with or without a classification head.

        Raises ValueError if a tensor of the encoder is missing or has another shape.
        """
        expected, tensors_by_name = self.model.state_dict(), {}
        for name, tensor in tensors.items():
            name = name.partition(".")[2] if name.startswith(("vjepa2.", "videomae.")) else name
            renamed = name.replace(".q_bias", ".query.bias").replace(".v_bias", ".value.bias")  # before transformers 5
            if name in expected or renamed in expected:
                tensors_by_name[name if name in expected else renamed] = tensor
        lacking = sorted(expected.keys() - tensors_by_name.keys())
        if lacking:
            raise ValueError(f"{where}: lacks {len(lacking)} tensors of the encoder, such as {lacking[0]}")
        for name in sorted(expected):
            if tensors_by_name[name].shape != expected[name].shape:
                shape, needed = tuple(tensors_by_name[name].shape), tuple(expected[name].shape)
                raise ValueError(
                    f"{where}: {name} is {shape} and should be {needed}; is config.json that of the weights?"
                )
        self.model.load_state_dict(tensors_by_name)

    def depth_of(self, name: str) -> ParameterPlace:
        parts = name.split(".")
        if "layer" in parts:
            return ParameterPlace("image", 1 + int(parts[parts.index("layer") + 1]))
        return (
            ParameterPlace("image", 0) if "embeddings" in parts else ParameterPlace("image_head", self.num_layers + 1)
        )

    # clips

    def visual_tokens(
        self, frames_BTCHW: Tensor, layers: tuple[int, ...], through: Any = None, change: Any = None
    ) -> dict[int, Tensor]:
        """Return the tokens [B, T / frames_per_step, N, V] after each of `layers`, by layer number.

        0 is the input of the first layer. Raises ValueError if the size of the frames is wrong, or if their number is
        not a multiple of `frames_per_step` or, for VideoMAE, not the model's. Raises ValueError for methods that change
        the layers, because they expect frames to be encoded separately.
        """
        if through is not None or change is not None:
            raise ValueError("hf_video: this method changes the layers of an image encoder; take an image-text model")
        self._check(frames_BTCHW)
        steps = frames_BTCHW.shape[1] // self.frames_per_step
        x_BMV = self._embed(self.normalize(frames_BTCHW))
        tokens = {0: x_BMV} if 0 in layers else {}
        for number, block in enumerate(self.blocks[: max(layers)], start=1):
            x_BMV = self._run(_block, block, x_BMV)
            if number in layers:
                tokens[number] = self._norm(x_BMV) if number == self.num_layers else x_BMV
        return {number: x.unflatten(1, (steps, -1)) for number, x in tokens.items()}

    def _check(self, frames_BTCHW: Tensor) -> None:
        num_frames, size = frames_BTCHW.shape[1], self.image_size_px
        if frames_BTCHW.shape[-2:] != (size, size):
            shape = "x".join(str(n) for n in frames_BTCHW.shape[-2:])
            raise ValueError(f"frames are {shape} px, the backbone takes {size}; extract them again")
        problem = facts_of(self.description).frames_problem(num_frames)
        if problem:
            raise ValueError(f"hf_video: the model {problem}; set num_frames of the method")

    def _embed(self, frames_BTCHW: Tensor) -> Tensor:
        if self.description["model_type"] == "vjepa2":
            return self.model.encoder.embeddings(frames_BTCHW)
        return self.model.embeddings(frames_BTCHW, None)

    def _norm(self, x_BMV: Tensor) -> Tensor:
        """Return the output of the encoder after its final norm; VideoMAE has none if it pools by the mean."""
        norm = self.model.encoder.layernorm if self.description["model_type"] == "vjepa2" else self.model.layernorm
        return x_BMV if norm is None else norm(x_BMV)

    def summary(self, tokens_BTNV: Tensor) -> Tensor:
        """Return the mean [..., V] of the tokens of each step."""
        return tokens_BTNV.mean(-2)

    def project(self, summary_BTV: Tensor) -> Tensor:
        return summary_BTV

    # scores

    def logits(self, cosines: Tensor) -> Tensor:
        return self.log_scale.exp() * cosines

    def set_temperature(self, temperature: float) -> None:
        self.log_scale.fill_(-math.log(temperature))

    def clamp_scale(self) -> None:
        self.log_scale.clamp_(max=math.log(100.0))


def facts_of(description: dict[str, Any]) -> Facts:
    """Return the sizes of a model from the content of its config.json.

    Raises ValueError for another type of model, for patches that are not square, and if transformers is missing.
    """
    config, _ = _classes(description)
    settings = config.from_dict(description)
    is_vjepa = description["model_type"] == "vjepa2"
    size, patch = settings.crop_size if is_vjepa else settings.image_size, settings.patch_size
    if not isinstance(size, int) or not isinstance(patch, int) or size % patch:
        raise ValueError(f"{CONFIG}: frames of {size} px in patches of {patch} px; both must be one number, and divide")
    return Facts(
        size,
        int(settings.num_hidden_layers),
        1,
        interpolation="bilinear",
        frames_per_step=int(settings.tubelet_size),
        num_frames=None if is_vjepa else int(settings.num_frames),
        image_gflop=_gflop(settings, size // patch, 16 if is_vjepa else int(settings.num_frames)),
        parameters=12 * settings.num_hidden_layers * settings.hidden_size**2,
    )


def _gflop(settings: Any, side: int, num_frames: int) -> float:
    """Return the approximate GFLOPs per frame of a clip of `num_frames` frames: matrix products and attention."""
    tokens, width = side * side * num_frames / settings.tubelet_size, settings.hidden_size
    return settings.num_hidden_layers * (24 * tokens * width**2 + 4 * tokens**2 * width) / 1e9 / num_frames


def _classes(description: dict[str, Any]) -> tuple[Any, Any]:
    """Return the configuration and model classes. Raises ValueError for another type or without transformers."""
    kind = description.get("model_type") if isinstance(description, dict) else None
    if kind not in MODELS:
        raise ValueError(f"{CONFIG}: model_type is {kind!r}; hf_video takes {' and '.join(MODELS)}")
    if importlib.util.find_spec("transformers") is None:
        raise ValueError("hf_video needs the package transformers; install it: pip install 'kinetext[video]'")
    import transformers

    return tuple(getattr(transformers, name) for name in MODELS[kind])  # type: ignore[return-value]


def _file(weights: str, *names: str) -> Path:
    """Return the first of the files `names` in a folder or on the hub. Raises ValueError if there is none."""
    if weights.startswith(HUB):
        return hub_file(weights.removeprefix(HUB), names, f"{CONFIG} and {WEIGHTS}")
    for name in names:
        if (Path(weights) / name).is_file():
            return Path(weights) / name
    raise ValueError(
        f"weights: {weights} has no {' and no '.join(names)}; give a folder that holds {CONFIG} and {WEIGHTS}, or hf-hub:owner/name"
    )


def _pixels(weights: str) -> Preprocess:
    """Return the mean and standard deviation of pixels stored beside the weights, else ImageNet's."""
    try:
        content = load_json(_file(weights, *PIXELS))
        mean, std = (tuple(float(x) for x in content[key]) for key in ("image_mean", "image_std"))
    except (ValueError, KeyError, TypeError):
        return IMAGENET
    return Preprocess(mean, std, "bilinear")


def _block(block: nn.Module, x_BMV: Tensor) -> Tensor:
    """Return the output of a layer, without the attention weights that V-JEPA 2's layers also return."""
    output = block(x_BMV)
    return output[0] if isinstance(output, tuple) else output

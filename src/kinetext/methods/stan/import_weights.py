"""import_weights: a checkpoint of STAN's released code (farewellthree/STAN) as one of ours, name by name.

The names and what becomes of the tensors are those of reference/stan.md 7.1. Of full checkpoints the image tower stands
under `backbone.`, the text tower under `text_backbone.`; those of March 2023 have `timesFPN_` for `STAN_`. What comes out
is a checkpoint of the method `stan` with the option `layers` (and `temporal`) that is said.

C layers of CLIP, K of the branch.
"""

import logging
import pickle
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from kinetext.core.tensors import load_tensors, save_tensors

log = logging.getLogger(__name__)

KINDS = ("weight", "bias")
IMAGE, TEXT, BRANCH = "backbone.clip.visual", "backbone.clip", "branch"
# buffers of positions, and two parameters of March 2023 that no output depends on
UNUSED = re.compile(r"(.*\.)?(position_ids|timesFPN_pos_embed\.weight|timesFPN_cls_token)")


class Source(NamedTuple):
    """The names in the original that make one tensor of ours, and how."""

    names: tuple[str, ...]
    make: Callable[..., Tensor]


Mapping = Iterator[tuple[str, Source]]


def import_weights(checkpoint: Path, output: Path) -> None:
    """Write the checkpoint in our names. Raises ValueError that names each key that is unknown, or missing."""
    tensors = read_original(checkpoint)
    options, wanted = _table(tensors)
    used = {name for _, source in wanted for name in source.names}
    strange = [name for name in tensors if name not in used]
    if strange:
        raise ValueError(
            f"{checkpoint}: {_first(strange)} is no parameter of STAN's released code; nothing was written"
        )
    missing = [name for name in sorted(used) if name not in tensors]
    if missing:
        raise ValueError(f"{checkpoint}: {_first(missing)} is missing; nothing was written")
    ours = {name: source.make(*(tensors[n] for n in source.names)) for name, source in wanted}
    save_tensors(ours, output, {"imported": str(checkpoint), "method": "stan", "options": options})
    log.info("%d tensors of stan, options %s, in %s", len(ours), options, output)


def read_original(path: Path) -> dict[str, Tensor]:
    """The parameters of a checkpoint, as of September 2023 on and without prefixes of training.

    Raises ValueError for a file that is none; nothing but tensors and plain containers is unpickled.
    """
    if not path.is_file():
        raise ValueError(f"{path}: there is no such file")
    content: Any
    if path.suffix == ".safetensors":
        content, _ = load_tensors(path)
    else:
        try:
            content = torch.load(path, map_location="cpu", weights_only=True)
        except (pickle.UnpicklingError, RuntimeError, EOFError, KeyError) as error:
            raise ValueError(
                f"{path}: cannot be read as a checkpoint of tensors ({str(error).splitlines()[0]}); where it holds more, "
                "save its state_dict alone with torch.save"
            ) from None
    inner = content.get("state_dict", content) if isinstance(content, dict) else {}
    tensors: dict[str, Tensor] = {}
    for name, value in inner.items():
        if not isinstance(value, Tensor):
            raise ValueError(f"{path}: {name} is no tensor; save the checkpoint's state_dict alone with torch.save")
        if not UNUSED.fullmatch(name):
            tensors[name.removeprefix("module.").replace("timesFPN_", "STAN_")] = value
    if not tensors:
        raise ValueError(f"{path}: holds no tensors")
    return tensors


def _table(tensors: dict[str, Tensor]) -> tuple[dict[str, int | str], list[tuple[str, Source]]]:
    """The options of `stan` that fit, and what each of its tensors is made from."""
    image = "backbone." if any(name.startswith("backbone.") for name in tensors) else ""
    text = "text_backbone.text_model."
    layers = _count(tensors, f"{image}STAN_S_layers.")
    conv = f"{image}STAN_T_layers.0.layers.weight" in tensors
    wanted = [
        *_image(image, _count(tensors, f"{image}layers.")),
        *_branch(image, layers, conv),
    ]
    if any(name.startswith("text_backbone.") for name in tensors):
        wanted += _text(text, _count(tensors, f"{text}encoder.layers."))
    return {"layers": layers, "temporal": "conv3d" if conv else "attention"}, wanted


def _image(at: str, layers: int) -> Mapping:
    yield f"{IMAGE}.class_embedding", _same(f"{at}class_embedding")
    yield f"{IMAGE}.conv1.weight", _same(f"{at}patch_embedding.weight")
    yield f"{IMAGE}.positional_embedding", _same(f"{at}position_embedding.weight")
    yield f"{IMAGE}.proj", _turned(f"{at}visual_projection.weight")
    yield from _both(f"{IMAGE}.ln_pre", f"{at}pre_layrnorm")  # Hugging Face's spelling
    yield from _both(f"{IMAGE}.ln_post", f"{at}post_layernorm")
    for i in range(layers):
        yield from _block(f"{IMAGE}.transformer.resblocks.{i}", f"{at}layers.{i}")


def _branch(at: str, layers: int, conv: bool) -> Mapping:
    yield f"{BRANCH}.time_embed", _same(f"{at}STAN_time_embed.weight")
    for k in range(layers):
        yield from _block(f"{BRANCH}.spatial.{k}", f"{at}STAN_S_layers.{k}")
        ours, original = f"{BRANCH}.temporal.{k}", f"{at}STAN_T_layers.{k}"
        yield from _both(f"{ours}.fc", f"{original}.temporal_fc")
        if conv:
            yield from _both(f"{ours}.conv", f"{original}.layers")
        else:
            yield from _both(f"{ours}.ln", f"{original}.layer_norm1")
            yield from _attention(f"{ours}.attn", f"{original}.self_attn", ".")


def _text(at: str, layers: int) -> Mapping:
    yield f"{TEXT}.token_embedding.weight", _same(f"{at}embeddings.token_embedding.weight")
    yield f"{TEXT}.positional_embedding", _same(f"{at}embeddings.position_embedding.weight")
    yield f"{TEXT}.text_projection", _turned("text_backbone.text_projection.weight")
    yield from _both(f"{TEXT}.ln_final", f"{at}final_layer_norm")
    for i in range(layers):
        yield from _block(f"{TEXT}.transformer.resblocks.{i}", f"{at}encoder.layers.{i}")


def _block(ours: str, original: str) -> Mapping:
    """A layer of CLIP."""
    yield from _attention(f"{ours}.attn", f"{original}.self_attn", "_")
    pairs = {"ln_1": "layer_norm1", "ln_2": "layer_norm2", "mlp.c_fc": "mlp.fc1", "mlp.c_proj": "mlp.fc2"}
    for a, b in pairs.items():
        yield from _both(f"{ours}.{a}", f"{original}.{b}")


def _attention(ours: str, original: str, glue: str) -> Mapping:
    """Queries, keys and values lie in one table here."""
    for kind in KINDS:
        three = tuple(f"{original}.{x}_proj.{kind}" for x in "qkv")
        yield f"{ours}.in_proj{glue}{kind}", Source(three, lambda *parts: torch.cat(parts))
    yield from _both(f"{ours}.out_proj", f"{original}.out_proj")


def _both(ours: str, original: str) -> Mapping:
    for kind in KINDS:
        yield f"{ours}.{kind}", _same(f"{original}.{kind}")


def _same(name: str) -> Source:
    return Source((name,), lambda tensor: tensor)


def _turned(name: str) -> Source:
    return Source((name,), lambda tensor: tensor.T)


def _count(tensors: dict[str, Tensor], prefix: str) -> int:
    """How many numbered modules there are; a gap among them shows as missing names."""
    found = {int(m[1]) for name in tensors if (m := re.match(re.escape(prefix) + r"(\d+)\.", name))}
    return max(found, default=-1) + 1


def _first(names: list[str]) -> str:
    return names[0] + (f" (and {len(names) - 1} more)" if len(names) > 1 else "")

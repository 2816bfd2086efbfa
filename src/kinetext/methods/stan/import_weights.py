"""import_weights: convert a checkpoint of STAN's released code (farewellthree/STAN) to one of the method `stan`.

In full checkpoints the names of the image encoder start with `backbone.` and those of the text encoder with
`text_backbone.`. Checkpoints of March 2023 have `timesFPN_` instead of `STAN_`. The options `layers` and `temporal`
that fit the weights are logged and stored in the header of the new checkpoint.
"""

import logging
import re
from pathlib import Path

from torch import Tensor

from kinetext.backbones import hf_clip
from kinetext.backbones.hf_clip import Mapping, Source
from kinetext.backbones.weights import read_weights
from kinetext.core.tensors import save_tensors

log = logging.getLogger(__name__)

BACKBONE, BRANCH = "backbone", "branch"  # attributes of the method stan
# position buffers, and two parameters of March 2023 that no output depends on
UNUSED = re.compile(r"(.*\.)?(position_ids|timesFPN_pos_embed\.weight|timesFPN_cls_token)")


def import_weights(checkpoint: Path, output: Path) -> None:
    """Convert a released checkpoint to a checkpoint of the method `stan`.

    Raises ValueError, and writes nothing, if a parameter is unknown or missing.
    """
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
    """Return the parameters of a released checkpoint, with the names of the code of September 2023.

    Prefixes of distributed training are removed. Only tensors and plain containers are unpickled. Raises ValueError if
    the file is not such a checkpoint.
    """
    return {
        name.replace("timesFPN_", "STAN_"): tensor
        for name, tensor in read_weights(path).items()
        if not UNUSED.fullmatch(name)
    }


def _table(tensors: dict[str, Tensor]) -> tuple[dict[str, int | str], list[tuple[str, Source]]]:
    """Return the options of `stan` that fit the checkpoint, and pairs (parameter of `stan`, original source)."""
    image = "backbone." if any(name.startswith("backbone.") for name in tensors) else ""
    text = "text_backbone.text_model."
    layers = _count(tensors, f"{image}STAN_S_layers.")
    conv = f"{image}STAN_T_layers.0.layers.weight" in tensors
    wanted = [
        *_of_backbone(hf_clip.image_encoder(image, _count(tensors, f"{image}layers."))),
        *_branch(image, layers, conv),
    ]
    if any(name.startswith("text_backbone.") for name in tensors):
        projection, depth = "text_backbone.text_projection.weight", _count(tensors, f"{text}encoder.layers.")
        wanted += _of_backbone(hf_clip.text_encoder(text, projection, depth))
    return {"layers": layers, "temporal": "conv3d" if conv else "attention"}, wanted


def _of_backbone(mapping: Mapping) -> Mapping:
    """Yield the parameters of a backbone, with their names in the method."""
    return ((f"{BACKBONE}.{name}", source) for name, source in mapping)


def _branch(at: str, layers: int, conv: bool) -> Mapping:
    """Yield the parameters of the branch. `at` is the prefix of the names in the checkpoint."""
    yield f"{BRANCH}.time_embed", hf_clip.same(f"{at}STAN_time_embed.weight")
    for k in range(layers):
        yield from hf_clip.layer(f"{BRANCH}.spatial.{k}", f"{at}STAN_S_layers.{k}")
        ours, original = f"{BRANCH}.temporal.{k}", f"{at}STAN_T_layers.{k}"
        yield from hf_clip.linear(f"{ours}.fc", f"{original}.temporal_fc")
        if conv:
            yield from hf_clip.linear(f"{ours}.conv", f"{original}.layers")
        else:
            yield from hf_clip.linear(f"{ours}.ln", f"{original}.layer_norm1")
            yield from hf_clip.attention(f"{ours}.attn", f"{original}.self_attn")


def _count(tensors: dict[str, Tensor], prefix: str) -> int:
    """Return the number of modules with names PREFIX0., PREFIX1., ...: the largest number plus one."""
    numbers = {int(m[1]) for name in tensors if (m := re.match(re.escape(prefix) + r"(\d+)\.", name))}
    return max(numbers, default=-1) + 1


def _first(names: list[str]) -> str:
    return names[0] + (f" (and {len(names) - 1} more)" if len(names) > 1 else "")

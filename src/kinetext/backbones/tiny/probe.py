"""probe_backbone: measure the zero-shot accuracy of the small CLIP on still images, for each attribute.

An image is classified correctly if, among captions that differ only in one attribute, the true caption has the highest
cosine. A retrieval score alone would not show that a model uses only colour and background.
"""

from pathlib import Path

import numpy as np
import torch

from kinetext.backbones.attention import cosine_scores
from kinetext.backbones.base import Backbone
from kinetext.backbones.checkpoint import load_backbone
from kinetext.data import still_captions, stills
from kinetext.data.scenes import draw_scene

# attribute -> the kind of still that it is read from
PROBES = {
    "position": "single",
    "size": "single",
    "colour": "single",
    "shape": "single",
    "background": "single",
    "orientation": "single",
    "visibility": "single",
    "gate": "gate",
    "box": "box",
    "distance": "pair",
    "side": "pair",
    "height": "pair",
}
SEED = 20_000_003  # stills unseen in training: pretraining uses small seeds


def probe_backbone(folder: Path, count: int) -> dict[str, float]:
    """Print and return the zero-shot accuracy (0 to 1) of each attribute, on `count` stills per attribute."""
    backbone = load_backbone(folder)
    random = np.random.default_rng(SEED)
    shares = {}
    print(f"{'attribute':12} {'choices':>7} {'chance':>7} {'accuracy':>9}   ({count} stills each)")
    for name, kind in PROBES.items():
        choices = len(stills.ATTRIBUTES[name])
        shares[name] = _accuracy(backbone, name, kind, count, random)
        print(f"{name:12} {choices:7} {1 / choices:7.2f} {shares[name]:9.2f}")
    return shares


@torch.inference_mode()
def _accuracy(backbone: Backbone, name: str, kind: str, count: int, random: np.random.Generator) -> float:
    right = done = 0
    while done < count:
        samples = [stills.draw_still(kind, random) for _ in range(64)]
        samples = [still for still in samples if still.values[name] >= 0 and _clear(still, name)][: count - done]
        if not samples:
            continue
        images = np.stack([draw_scene(still.scene, random) for still in samples]).transpose(0, 3, 1, 2)
        image_BD = backbone.encode_frames(torch.from_numpy(images)[:, None])[:, 0]
        for still, image_D in zip(samples, image_BD, strict=True):
            statements = [_statement(still, name, value) for value in range(len(stills.ATTRIBUTES[name]))]
            captions = [still_captions.caption_text(values, np.random.default_rng(0)) for values in statements]
            text_KD, _ = backbone.encode_text(backbone.tokenize(captions))
            right += int(cosine_scores(image_D[None], text_KD).argmax()) == still.values[name]
        done += len(samples)
    return right / count


def _statement(still: stills.Still, name: str, value: int) -> dict[str, int]:
    """Return the values that a caption states: `value` of the attribute, and for a relation also the two figures."""
    who = ("shape", "colour", "other_shape", "other_colour") if name in ("side", "height") else ()
    values = {key: still.values[key] for key in who} | {name: value}
    return {key: values[key] for key in stills.NAMES if key in values}


def _clear(still: stills.Still, name: str) -> bool:
    """Return whether the attribute has a unique value. The relation of two identical figures is ambiguous."""
    v = still.values
    return name not in ("side", "height") or (v["shape"], v["colour"]) != (v["other_shape"], v["other_colour"])

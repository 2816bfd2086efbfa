"""Print docs/methods.md: a table of all methods of kinetext, from the class attributes of their modules.

    python tools/methods_page.py > docs/methods.md
    python tools/methods_page.py --count [METHOD ...]     # first, for a new or changed method; default: all, for minutes

The parameters are counted on open_clip's ViT-B-16 with random weights and default options. A method that is fitted adds
no parameter to the backbone; its page shows the formula of what `fit` gives.

The floating-point operations of testing a clip are counted on the same model (`--count`) and kept in
tools/methods_gflops.json, because a count runs the model.
"""

import json
import sys
from pathlib import Path
from typing import Any

import torch

from kinetext.backbones.base import Backbone
from kinetext.backbones.open_clip_vit import Architecture, OpenClipViT
from kinetext.contracts.inputs import class_table
from kinetext.core import plugins
from kinetext.evaluation.cost import gflops_per_clip
from kinetext.methods.base import Method, configure_method

MODEL, FRAMES, CLASSES = "ViT-B-16", 8, 10
GFLOPS = Path(__file__).with_name("methods_gflops.json")
FITTED_WITH: dict[str, dict[str, Any]] = {  # options that make fitting short and change no count
    "attentive_probe": {"lr": (1e-3,), "weight_decay": (0.1,), "epochs": 1},
    "cross_modal_probe": {"steps": 1},
    "lp_plus_plus": {"epochs": 1},
    "zs_lp": {"epochs": 1},
}
HEAD = f"""# Methods

`python tools/methods_page.py > docs/methods.md` writes this page from the modules in
`src/kinetext/methods`. Parameters are those that a method adds to {MODEL} with its default options (K
classes, N training clips, D joint width, V width of the image encoder). A method without scores of
novel classes has no results on them under `base_to_novel`.

GFLOPs are the 10^9 floating-point operations of testing one clip of {FRAMES} frames (one view) with
{MODEL}, {CLASSES} classes and {CLASSES} training clips, as torch counts them: a multiply-add is two. Most papers
count it as one, which gives half of the number. Encoding the texts does not count.
`python tools/methods_page.py --count METHOD` counts those of a new or changed method.
"""
CANNOT_SEE = """
## What each method cannot see

No method sees what happens between the frames that it reads. The sentences hold for image-text models,
whose image encoder reads one frame at a time. A video encoder
([`hf_video`](video_models.md#a-video-encoder-without-text-hf_video)) reads several frames at once.
With it, `knn`, `linear_probe` and `attentive_probe` depend on frame order with all options. The contract
tests check on random clips whether reversed or shuffled frames change the scores.
"""
COLUMNS = (
    "method",
    "mechanism",
    "what trains",
    "parameters added",
    "GFLOPs per clip",
    "tasks",
    "protocols",
    "equals before training",
    "paper",
)


def main(arguments: list[str]) -> None:
    """Print the page, or count the operations of some methods."""
    if arguments[:1] == ["--count"]:
        count(arguments[1:] or plugins.built_in("methods"))
    else:
        print(page(), end="")


def count(names: list[str]) -> None:
    """Count the operations of methods and store them in tools/methods_gflops.json."""
    known = json.loads(GFLOPS.read_text()) if GFLOPS.exists() else {}
    backbone = _random_backbone()
    known |= {name: gflops(name, backbone) for name in names}
    kept = {name: known[name] for name in plugins.built_in("methods") if name in known}
    GFLOPS.write_text(json.dumps(kept, indent=2) + "\n")


@torch.no_grad()
def gflops(name: str, backbone: Backbone | None = None) -> float | None:
    """Return the 10^9 operations of testing a clip with a method, or None for one without a backbone."""
    cls, config = configure_method(name, FITTED_WITH.get(name, {}))
    if cls.reads == "frames":
        return None
    backbone = backbone or _random_backbone()
    torch.manual_seed(0)
    method = cls(backbone, config).eval()
    labels = tuple(f"action {letter}" for letter in "abcdefghij"[:CLASSES])
    text = method.encode_texts(class_table(backbone, labels, cls.needs_descriptions))
    frames_1TCHW = torch.randn(1, FRAMES, 3, backbone.image_size_px, backbone.image_size_px)
    if cls.fits:
        tokens_1TLV = method.frame_features(method.image_tokens(frames_1TCHW))
        one_token = tokens_1TLV[:, :, :1] if tokens_1TLV.ndim == 4 else tokens_1TLV  # which makes fitting short
        noise_NTD = torch.randn(CLASSES, *one_token.shape[1:])
        method.fit(noise_NTD.to(one_token), torch.arange(CLASSES), text)
    return round(gflops_per_clip(method, frames_1TCHW, [text]), 3)


def _random_backbone() -> OpenClipViT:
    torch.manual_seed(0)
    return OpenClipViT(Architecture(MODEL)).eval()


def page() -> str:
    """Return the page as Markdown. Raises ValueError if the operations of a method are not counted yet."""
    backbone, counted = _random_backbone(), json.loads(GFLOPS.read_text())
    names = plugins.built_in("methods")
    lines = [HEAD, _line(COLUMNS), _line(["---"] * len(COLUMNS))]
    if missing := sorted(set(names) - set(counted)):
        raise ValueError(f"{GFLOPS.name} lacks {missing[0]}; run: python tools/methods_page.py --count {missing[0]}")
    lines += [_line(_cells(name, backbone, counted[name])) for name in names]
    lines += [CANNOT_SEE, _line(("method", "what it cannot see")), _line(("---", "---"))]
    lines += [_line((f"`{name}`", plugins.load("methods", name).cannot_see)) for name in names]
    results = [(name, result) for name in names for result in plugins.load("methods", name).published]
    if results:
        lines += ["\n## Published results\n", _line(("method", "result")), _line(("---", "---"))]
        lines += [_line((f"`{name}`", result)) for name, result in results]
    return "\n".join(lines) + "\n"


def _cells(name: str, backbone: Backbone, gflops: float | None) -> list[str]:
    cls, config = configure_method(name, {})
    added = sum(parameter.numel() for parameter in cls(backbone, config).new_parameters().values())
    return [
        f"`{name}`",
        cls.mechanism,
        cls.what_trains or _what_trains(cls, added),
        cls.fitted_parameters if cls.fits else f"{added:,}",
        "those of the server" if gflops is None else f"{gflops:.1f}",
        ", ".join(cls.tasks),
        "all but zero_shot; no scores of novel classes" if cls.needs_training_clips else "all",
        cls.equals_before_training,
        cls.paper,
    ]


def _what_trains(cls: type[Method], added: int) -> str:
    if not cls.trains:
        return "nothing"
    if cls.fits:
        return "a head on cached frame features"
    return "the image encoder and the new parameters" if added else "the image encoder"


def _line(cells: list[str] | tuple[str, ...]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


if __name__ == "__main__":
    main(sys.argv[1:])

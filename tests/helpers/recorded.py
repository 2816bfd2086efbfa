"""Numbers of released code in tests/parity/encoder, and a small CLIP whose parameters are formulas of their names.

Each file says which code was run, and how. No weight file is needed: a parameter of the original is a hash of its name
and of the index in it, spread over a range. The original was filled so and run in float64.

B clips, T frames, C channels, H x W pixels, N tokens of a frame, V width.
"""

import json
import math
from pathlib import Path

import open_clip
import torch
from torch import Tensor

from closed_form import uniform as spread
from kinetext.backbones.open_clip_vit import Architecture, OpenClipViT

FOLDER = Path(__file__).parents[1] / "parity" / "encoder"
TOLERANCE = 1e-9
KINDS = ("weight", "bias")


def cases(name: str) -> dict[str, dict]:
    """The recorded cases of a file."""
    return json.loads((FOLDER / f"{name}.json").read_text())["cases"]


def original_tensor(name: str, shape: tuple[int, ...]) -> Tensor:
    """The original's parameter of this name."""
    if not shape:
        return torch.tensor(math.log(1 / 0.07), dtype=torch.float64)
    if len(shape) == 1 and "ln_" in name and name.endswith("weight"):
        return 1 + 0.2 * spread(name, shape)
    return (0.3 if len(shape) >= 2 else 0.2) * spread(name, shape)


def frames_of(config: dict) -> Tensor:
    """The recorded clips [B, T, C, H, W], which require a gradient."""
    px = config["px"]
    return (2 * spread("input", (config["B"], config["T"], 3, px, px))).requires_grad_()


def small_clip(config: dict, folder: Path, joint: int | None = None) -> OpenClipViT:
    """A model of the recorded geometry; its parameters are filled by `fill`."""
    text = config.get("text", {"width": 8, "heads": 1, "layers": 1})
    heads, width, joint = config["heads"], config["width"], joint or config["joint"]
    vision = {"image_size": config["px"], "layers": config["layers"], "width": width, "patch_size": config["patch"]}
    vision["head_width"] = width // heads
    settings = {
        "embed_dim": joint,
        "vision_cfg": vision,
        "text_cfg": {"context_length": 77, "vocab_size": 49408, **text},
    }
    name = f"kinetext-test-{joint}-{text['width']}-{text['layers']}"
    (folder / f"{name}.json").write_text(json.dumps(settings))
    open_clip.add_model_config(folder)
    backbone = OpenClipViT(Architecture(name, quick_gelu=True))
    backbone.clip.attn_mask = backbone.clip.attn_mask.double()
    return backbone


def original_of(name: str, prefix: str) -> str:
    """The name of a backbone's parameter in a released model, whose image encoder's names begin with `prefix`."""
    name = name.removeprefix("backbone.clip.")
    if name.startswith("visual."):
        return prefix + name.removeprefix("visual.")
    return name if prefix else f"text.{name}"  # an image encoder alone


def fill(method: torch.nn.Module, new: dict[str, str], prefix: str = "visual.") -> dict[str, str]:
    """Fill all parameters in float64; return our name -> the original's. `new` has those of the new parameters."""
    names = {}
    for name, parameter in method.named_parameters():
        names[name] = new[name] if name in new else original_of(name, prefix)
        parameter.data = original_tensor(names[name], tuple(parameter.shape))
    method.eval()
    return names


def near(ours: Tensor, theirs, what: str = "") -> None:
    theirs = torch.as_tensor(theirs, dtype=torch.float64)
    scale = max(1.0, float(theirs.abs().max()))
    torch.testing.assert_close(
        ours.detach(), theirs, rtol=0, atol=TOLERANCE * scale, msg=lambda text: f"{what}: {text}"
    )


def output_is(ours: Tensor, recorded: dict, what: str) -> None:
    """Compare the first and last numbers and the norm of every item."""
    assert list(ours.shape) == recorded["shape"]
    flat = ours.flatten(1)
    near(flat[:, :8], recorded["first8_per_item"], what)
    near(flat[:, -4:], recorded["last4_per_item"], what)
    near(flat.norm(dim=1), recorded["norm_per_item"], what)


class Blocks:
    """The tokens after every layer of a method inside the encoder."""

    def __init__(self, method, monkeypatch):
        self.tokens, layer = [], method.layer

        def record(*arguments):
            self.tokens.append(layer(*arguments))
            return self.tokens[-1]

        monkeypatch.setattr(method, "layer", record)

    def are(self, recorded: dict[str, dict], whole_last: bool = True) -> None:
        """Compare them; of the last layer only class tokens, unless `whole_last`."""
        assert len(self.tokens) == len(recorded)
        for number, x_BTNV in enumerate(self.tokens):
            wanted = recorded[str(number)]
            near(x_BTNV[0, 0, 0, :8], wanted["cls_b0_t0_first8"], f"block {number}")
            near(x_BTNV[-1, -1, 0, :4], wanted["cls_last_item_first4"], f"block {number}")
            if whole_last or number < len(recorded) - 1:
                second = min(1, x_BTNV.shape[1] - 1)
                patch = next(value for key, value in wanted.items() if key.startswith("token6_"))
                near(x_BTNV[0, second, 6, :8], patch, f"block {number}")
                near(x_BTNV.norm(), wanted["norm"], f"block {number}")


def backward(output: Tensor) -> float:
    """Go back from the recorded combination of the output; return its value."""
    loss = (output * 2 * spread("cotangent", tuple(output.shape))).sum()
    loss.backward()
    return loss.item()


def gradients_are(
    gradients: dict[str, Tensor | None], recorded: dict, loss: float, zero: str = "-", skipped: str = "-"
) -> None:
    """Compare the gradients by the original's names.

    Parameters with `zero` in their name have none there and do not exist here; those with `skipped` are not compared.
    """
    near(torch.tensor(loss, dtype=torch.float64), recorded["loss"], "loss")
    for name, norm in recorded["grad_norm"].items():
        name = name.removeprefix("CLIP:")
        gradient = gradients.get(name)
        if zero in name or gradient is None:
            assert not norm or skipped in name, f"{name} gets no gradient, recorded is {norm}"
            assert gradient is None, name
        else:
            near(gradient.norm(), norm or 0.0, name)
    for name, first in recorded["grad_first4"].items():
        if skipped not in name:
            near(gradients[name.removeprefix("CLIP:")].flatten()[:4], first, name)
    recorded_names = {name.removeprefix("CLIP:") for name in recorded["grad_norm"]}
    extra = [name for name, g in gradients.items() if g is not None and g.any() and name not in recorded_names]
    assert not extra, f"gradients that the original does not have: {extra}"

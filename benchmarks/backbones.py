"""Build every architecture of open_clip that is supported, with random weights, and compare it with open_clip.

python benchmarks/backbones.py                    all, smallest first, one process per model (about an hour on two cores)
python benchmarks/backbones.py ViT-B-32 PE-Core-B-16
python benchmarks/backbones.py --below 20         those whose image encoder takes less than 20 GFLOP per image

A row has: parameters in millions; layers x tokens of a frame x width; the largest difference of image and text features
from `encode_image` and `encode_text`, as a share of the largest feature, and the type of numbers; clips of 8 frames per
second on this CPU. Models over 1000 M parameters are built on the meta device: names and shapes only. Refused
architectures are listed with their sentence. The exit status is 1 if a model differs or fails.
"""

import argparse
import subprocess
import sys
import time

MAX_PARAMETERS = 1e9  # over it, the meta device
DOUBLE_BELOW = 2e8  # parameters: float64 below, float32 above
TOLERANCE = {"float64": 1e-10, "float32": 1e-5}
TIMED_BELOW = 20.0  # GFLOP of an image


def one(model: str) -> None:
    """Print the row of one model, or raise an error."""
    import torch

    from kinetext.backbones.supported import status_of

    status = status_of(model)
    assert status.facts is not None
    torch.manual_seed(0)
    if status.facts.parameters > MAX_PARAMETERS:
        with torch.device("meta"):
            print(_row(status, _build(status), "names and shapes"))
        return
    backbone = _build(status).eval()
    dtype = torch.float64 if status.facts.parameters < DOUBLE_BELOW else torch.float32
    name = str(dtype).removeprefix("torch.")
    with torch.inference_mode():
        for parameter in backbone.parameters():
            if parameter.min() == parameter.max():  # such as a bias that starts at zero
                parameter.add_(0.02 * torch.randn_like(parameter))
        speed = _clips_per_second(backbone) if status.facts.image_gflop < TIMED_BELOW else None
        difference = _difference(backbone.to(dtype), dtype)
    if difference > TOLERANCE[name]:
        raise ValueError(f"{model}: features differ from open_clip's by {difference:.1e} in {name}")
    print(_row(status, backbone, f"{difference:.0e} {name}", speed))


def _build(status):
    """Return the backbone with random weights; a tokenizer of the hub is not needed."""
    from kinetext.core import plugins

    tokenizer = {"pad_token": "[PAD]", "clean": "whitespace"}
    architecture = {"model": status.model, "quick_gelu": False, "tokenizer": tokenizer}
    return plugins.load("backbones", status.family).rebuild(architecture)


def _row(status, backbone, parity: str, speed: float | None = None) -> str:
    import torch

    px = backbone.image_size_px
    device = next(backbone.parameters()).device
    with torch.inference_mode():
        frames = torch.zeros(1, 1, 3, px, px, dtype=next(backbone.parameters()).dtype, device=device)
        tokens = backbone.visual_tokens(frames, (1,))[1]
        embedded = backbone.project(backbone.summary(tokens))
    grid = backbone.prefix_tokens + backbone.grid[0] * backbone.grid[1]
    assert tokens.shape == (1, 1, grid, backbone.width), tokens.shape
    assert embedded.shape == (1, 1, backbone.embed_dim), embedded.shape
    assert (backbone.image_size_px, backbone.num_layers, backbone.context_length) == (
        status.facts.image_size_px,
        status.facts.num_layers,
        status.facts.context_length,
    )
    millions = sum(p.numel() for p in backbone.parameters()) / 1e6
    sizes = f"{backbone.num_layers} x {grid} x {backbone.width}"
    timed = "" if speed is None else f"{speed:.2f}"
    return f"{status.model:<32} {status.family:<14} {millions:>7.1f}  {sizes:<18} {parity:<20} {timed:>6}"


def _difference(backbone, dtype) -> float:
    """Return the largest difference from open_clip's features, as a share of the largest feature."""
    import torch

    px = backbone.image_size_px
    images = torch.randn(1, 3, px, px, dtype=dtype)
    tokens = _tokens(backbone)
    pairs = (
        (backbone.encode_frames(images[None])[0], backbone.clip.encode_image(images)),
        (backbone.encode_text(tokens)[0], backbone.clip.encode_text(tokens.ids_KL)),
    )
    return max(float((ours - theirs).abs().max() / theirs.abs().max()) for ours, theirs in pairs)


def _tokens(backbone):
    """Return two texts of random words, padded to the context length; the end token is the family's."""
    import torch

    from kinetext.backbones.text_tower import pool_type
    from kinetext.backbones.values import TextTokens

    text = getattr(backbone.clip, "text", backbone.clip)
    L, vocabulary = backbone.context_length, text.vocab_size
    end = getattr(text, "text_eos_id", 0) if pool_type(text) == "eos" else vocabulary - 1
    lengths = torch.tensor([5, L])
    ids = torch.randint(3, vocabulary - 2, (2, L))
    ids[torch.arange(2), lengths - 1] = end
    mask = torch.arange(L) < lengths[:, None]
    return TextTokens(torch.where(mask, ids, 0), mask)


def _clips_per_second(backbone) -> float:
    import torch

    px = backbone.image_size_px
    frames = torch.randn(1, 8, 3, px, px)
    backbone.encode_frames(frames)
    start = time.perf_counter()
    for _ in range(2):
        backbone.encode_frames(frames)
    return 2 / (time.perf_counter() - start)


def main() -> None:
    """Print the rows of all models that were asked for."""
    from kinetext.backbones.supported import status_of, statuses

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", help="architectures; default: all of open_clip")
    parser.add_argument("--below", type=float, help="only models whose image encoder takes less GFLOP per image")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        return one(options.models[0])
    rows = [status_of(name) for name in options.models] or statuses()
    supported = [row for row in rows if row.facts and row.facts.image_gflop < (options.below or float("inf"))]
    print(f"{'model':<32} {'plug-in':<14} {'M':>7}  {'layers, tokens, V':<18} {'parity':<20} {'clips/s':>6}")
    failed = 0
    for row in sorted(supported, key=lambda row: row.facts.image_gflop):
        command = [sys.executable, __file__, "--one", row.model]
        result = subprocess.run(command, capture_output=True, text=True)
        failed += result.returncode != 0
        last = (result.stderr.strip().splitlines() or ["no message"])[-1]
        print(result.stdout.rstrip() if result.returncode == 0 else f"{row.model:<32} FAILED {last}", flush=True)
    refused = [row for row in rows if row.facts is None]
    for row in refused if options.below is None else []:
        print(f"{row.model:<32} refused: {row.reason}; nearest: {row.substitute}")
    print(f"{len(supported) - failed} of {len(supported)} agree with open_clip; {len(refused)} are refused")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()

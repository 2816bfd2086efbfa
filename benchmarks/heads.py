"""Seconds that each head on cached features takes to fit, on random features of clips.

    python benchmarks/heads.py [--clips 10000] [--classes 400] [--frames 8] [--threads 2] [--repeats 1] [--heads knn]

Features are those of ViT-B-16: 512 wide, one per frame. Each class has two texts. There are 1000 validation clips, used
by heads that choose on them. The time is that of `fit` alone, without the image encoder: wall time, and processor time
of all threads, which other work on the machine changes little. Features are class means plus noise, so that the heads
have something to learn; the accuracy on the validation clips shows that they did.
"""

import argparse
import statistics
import time

import torch
import torch.nn.functional as F
from torch import Tensor

from kinetext.backbones.open_clip_vit import Architecture, OpenClipViT
from kinetext.backbones.text_table import WordFeatures, tabulate_texts
from kinetext.methods.base import build_method

VAL_CLIPS = 1000
FRAMES = {"tokens": "frames", "heads": 8}
ROWS = {
    "linear_probe": ("linear_probe", {}),
    "linear_probe thirds": ("linear_probe", {"pool": "thirds"}),
    "knn": ("knn", {}),
    "zs_lp": ("zs_lp", {}),
    "zs_lp CLAP": ("zs_lp", {"penalty": "l2"}),
    "tip_adapter": ("tip_adapter", {"search": False}),
    "tip_adapter search": ("tip_adapter", {}),
    "tip_adapter trained": ("tip_adapter", {"trained": True, "search": False}),
    "lp_plus_plus": ("lp_plus_plus", {}),
    "cross_modal_probe": ("cross_modal_probe", {}),
    "attentive_probe depth 1, 1 probe": (
        "attentive_probe",
        {**FRAMES, "depth": 1, "lr": [1e-3], "weight_decay": [0.1], "epochs": 1},
    ),
}


def main() -> None:
    """Print one line per head."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("clips", 10_000), ("classes", 400), ("frames", 8), ("threads", 2), ("repeats", 1)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--heads", nargs="*", default=list(ROWS), help="rows of the table; all by default")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    backbone = OpenClipViT(Architecture("ViT-B-16")).eval()
    labels = [f"class {k}" for k in range(options.classes)]
    rows = [
        {"label": label, "kind": "name", "phase": "whole", "sentence": f"{words} {label}", "position": None}
        for label in labels
        for words in ("a video of", "a clip of")
    ]
    table = tabulate_texts(rows, labels, backbone)
    center_KD = torch.randn(options.classes, backbone.embed_dim)
    text_SD = 10 * F.normalize(center_KD[table.owner_S] + 3 * torch.randn(len(rows), backbone.embed_dim), dim=-1)
    train = random_clips(center_KD, options.clips, options.frames)
    val = random_clips(center_KD, VAL_CLIPS, options.frames)
    print(f"{options.clips} clips, {options.frames} frames, {options.classes} classes, {options.threads} threads")
    for row in options.heads:
        name, settings = ROWS[row]
        seconds = []
        for _ in range(options.repeats):
            method = build_method(backbone, name, settings).requires_grad_(False)
            words = WordFeatures(text_SD, text_SD[:, None])
            inputs = [x[:, :, None] if name == "attentive_probe" else x for x in (train[0], val[0])]
            with torch.no_grad():
                text = method.pool_texts(words, table)
            started_s, processor_s = time.perf_counter(), time.process_time()
            method.fit(inputs[0], train[1], text, (inputs[1], val[1]))
            seconds.append((time.perf_counter() - started_s, time.process_time() - processor_s))
        with torch.no_grad():
            score_MK = method.score(method.encode_frames(inputs[1]), text)
        top1 = (score_MK.argmax(-1) == val[1]).float().mean().item()
        wall_s, processor_s = (statistics.median(values) for values in zip(*seconds, strict=True))
        print(
            f"{row:34s} {wall_s:7.1f} s wall {processor_s:7.1f} s processor   validation top-1 {100 * top1:5.1f} %",
            flush=True,
        )


def random_clips(center_KD: Tensor, clips: int, frames: int) -> tuple[Tensor, Tensor]:
    """Return frame features [N, T, D] near the centre of each clip's class, and the classes [N]."""
    target_N = torch.arange(clips) % len(center_KD)
    noise_NTD = torch.randn(clips, frames, center_KD.shape[1])
    clip_N1D = 3 * torch.randn(clips, 1, center_KD.shape[1])
    return center_KD[target_N][:, None] + clip_N1D + noise_NTD, target_N


if __name__ == "__main__":
    main()

"""One training step of STAN (forward and backward) against the same written with nn.MultiheadAttention and reshapes, as
the released code has it: how many times faster, how much memory, how many parameters.

    python benchmarks/stan_step.py [--model ViT-B-16] [--frames 8] [--batch 1] [--repeats 5] [--temporal attention]

First it checks that both give the same features and gradients. Then it times `branch`, which is what the two differ in,
over given CLIP tokens, and `whole`, with CLIP's image tower in front, both trained. The two take turns, and the ratio is
of the medians: of processor time on a CPU, which other work on the machine changes little, of wall time under bfloat16 on
a GPU. Peak memory is above weights and inputs: a process's own on a CPU (a fresh one each; Linux), the allocator's on a
GPU. Weights are random: time does not depend on them.
"""

import argparse
import gc
import json
import statistics
import subprocess
import sys
import time
from copy import deepcopy
from pathlib import Path

import torch
from torch import Tensor, nn

from kinetext.backbones.open_clip_vit import Architecture, OpenClipViT
from kinetext.methods.base import build_method
from kinetext.methods.stan.branch import Branch
from kinetext.methods.stan.cross_frame import TimeConv

# counted in the released code; rounded numbers are the paper's
PUBLISHED = [
    ("ViT-B-32", "attention", 40_218_624, "40,218,624"),
    ("ViT-B-16", "attention", 40_218_624, "40,218,624"),
    ("ViT-B-16", "conv3d", 94_500_000, "94.5 M"),
    ("ViT-L-14", "attention", 71_500_000, "71.5 M"),
]


class Plain(nn.Module):
    """The branch of the released code, written down step by step. Its weights are copies of `branch`'s."""

    def __init__(self, branch: Branch, heads: int) -> None:
        super().__init__()
        self.levels, self.grid = branch.levels, branch.grid
        self.temporal, self.spatial = deepcopy(branch.temporal), deepcopy(branch.spatial)
        self.time_embed = nn.Parameter(branch.time_embed.detach().clone())
        for module in self.temporal:
            if not isinstance(module, TimeConv):
                ours, V = module.attn, self.time_embed.shape[1]
                module.attn = nn.MultiheadAttention(V, heads, batch_first=True)
                module.attn.in_proj_weight.data.copy_(ours.in_proj.weight)
                module.attn.in_proj_bias.data.copy_(ours.in_proj.bias)
                module.attn.out_proj.load_state_dict(ours.out_proj.state_dict())

    def forward(
        self,
        summaries: dict[int, Tensor],
        all_patches: dict[int, Tensor],
        embeddings: tuple[Tensor, Tensor, Tensor],
        gradient_checkpointing: bool = False,
        per_frame: bool = False,
    ) -> Tensor:
        """Return the video token [B, 1, V]."""
        assert not gradient_checkpointing
        assert not per_frame
        class_embedding_V, class_position_V, positions_LV = embeddings
        state = None
        for level, temporal, layer in zip(self.levels, self.temporal, self.spatial, strict=True):
            block = layer.block
            B, T, L, V = all_patches[level].shape
            N = 1 + L
            mean_B1V = summaries[level].mean(1, keepdim=True)
            patches = all_patches[level].permute(0, 2, 1, 3)
            if state is None:
                cls = (mean_B1V + class_embedding_V + class_position_V) / 2
                patches = patches + positions_LV[None, :, None] + self.time_embed[None, None, :T]
                state = torch.cat([cls, patches.reshape(B, -1, V)], 1)
            else:
                state = state + torch.cat([mean_B1V, patches.reshape(B, -1, V)], 1)
            if isinstance(temporal, TimeConv):
                x = temporal.conv(state[:, 1:].view(B, *self.grid, T, V).permute(0, 4, 3, 1, 2))
                x = x.permute(0, 3, 4, 2, 1).reshape(B, -1, V)
            else:
                x = temporal.ln(state[:, 1:].reshape(B * (N - 1), T, V))
                x = temporal.attn(x, x, x, need_weights=False)[0].reshape(B, -1, V)
            state = torch.cat([state[:, :1], state[:, 1:] + temporal.fc(x)], 1)
            cls = state[:, :1].repeat(1, T, 1).view(B * T, 1, V)
            patches = state[:, 1:].view(B, N - 1, T, V).permute(0, 2, 1, 3).reshape(B * T, N - 1, V)
            x = block.ln_1(torch.cat([cls, patches], 1))
            x = block.attn(x, x, x, need_weights=False)[0].view(B, T, N, V)
            x = torch.cat([x[:, :, 0].mean(1, keepdim=True), x[:, :, 1:].permute(0, 2, 1, 3).reshape(B, -1, V)], 1)
            state = state + x
            state = state + block.mlp(block.ln_2(state))
        return state[:, :1]


class Steps:
    """The steps that are timed, by part and by side."""

    def __init__(self, options: argparse.Namespace) -> None:
        torch.manual_seed(0)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        backbone = OpenClipViT(Architecture(options.model, quick_gelu=True))
        settings = {"layers": options.layers, "temporal": options.temporal, "drop_path": 0.0}
        self.method = build_method(backbone, "stan", settings).to(self.device).train()
        for module in self.method.branch.temporal:  # as after a little training: nothing is zero
            nn.init.normal_(module.fc.weight, std=0.02)
        ours = self.method.branch
        plain = Plain(ours, backbone.layers[0].num_heads).to(self.device)
        self.sides = {"ours": ours, "plain": plain}
        px = backbone.image_size_px
        self.frames_BTCHW = torch.randn(options.batch, options.frames, 3, px, px, device=self.device)
        with torch.no_grad():
            self.tokens = self.method.image_tokens(self.frames_BTCHW)
        self.tokens = {level: t.requires_grad_() for level, t in self.tokens.items()}

    def step(self, part: str, side: str) -> Tensor:
        """Forward and backward; the features."""
        self.method.branch = self.sides[side]
        for module in (self.method, self.sides[side]):
            module.zero_grad(set_to_none=True)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            tokens = self.tokens if part == "branch" else self.method.image_tokens(self.frames_BTCHW)
            video_BD = self.method.encode_tokens(tokens)
        video_BD.float().square().mean().backward()
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return video_BD.detach()

    def check(self) -> None:
        """Both sides give the same."""
        tolerance = 5e-2 if self.device.type == "cuda" else 1e-4
        gradients = []
        for side in self.sides:
            video_BD = self.step("branch", side)
            gradients.append([video_BD, *(p.grad for p in self.sides[side].spatial.parameters())])
        for ours, plain in zip(*gradients, strict=True):
            torch.testing.assert_close(ours, plain, rtol=tolerance, atol=tolerance * plain.abs().max().item())

    def seconds(self, part: str, repeats: int) -> dict[str, list[float]]:
        """Of each side, in turns, after one step that does not count."""
        clock = time.perf_counter if self.device.type == "cuda" else time.process_time
        taken: dict[str, list[float]] = {side: [] for side in self.sides}
        for repeat in range(repeats + 1):
            for side in self.sides:
                started = clock()
                self.step(part, side)
                if repeat:
                    taken[side].append(clock() - started)
        return taken


def peak_mib(part: str, side: str, options: argparse.Namespace) -> float:
    """Peak memory of two steps above what the weights and inputs take."""
    steps = Steps(options)
    if steps.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        for _ in range(2):
            steps.step(part, side)
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # Linux: the peak starts anew; building the model had one of its own
    before = status_mib("VmRSS")
    for _ in range(2):
        steps.step(part, side)
    return status_mib("VmHWM") - before


def status_mib(key: str) -> float:
    """Return a size of this process in MiB, from /proc/self/status."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith(key)) / 2**10


def count_parameters() -> bool:
    """Print what a branch of four layers adds, beside what the reference says; whether all agree."""
    right, backbones = True, {}
    for model, temporal, number, published in PUBLISHED:
        if model not in backbones:
            backbones = {model: OpenClipViT(Architecture(model))}  # one at a time: ViT-L-14 takes 1.7 GB
        method = build_method(backbones[model], "stan", {"layers": 4, "temporal": temporal})
        count = sum(p.numel() for p in method.new_parameters().values())
        agree = count == number if number % 1000 else abs(count - number) <= 50_000
        right = right and agree
        print(
            f"{model:9} {temporal:10} {count:>11,} parameters; reference {published}: {'equal' if agree else 'NOT EQUAL'}"
        )
    return right


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="ViT-B-16")
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--temporal", default="attention", choices=["attention", "conv3d"])
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument(
        "--peak", nargs=2, metavar=("PART", "SIDE"), help=argparse.SUPPRESS
    )  # a fresh process of our own
    options = parser.parse_args()
    if options.peak:
        print(json.dumps(peak_mib(*options.peak, options)))
        return
    agree = count_parameters()
    steps = Steps(options)
    steps.check()
    where = torch.cuda.get_device_name() if steps.device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    about = f"STAN on {options.model}, {options.layers} layers, {options.temporal}"
    print(f"{about}, {options.batch} x {options.frames} frames, {where}; features and gradients agree")
    taken = {part: steps.seconds(part, options.repeats) for part in ("branch", "whole")}
    del steps
    for part, seconds in taken.items():
        ours, plain = (statistics.median(seconds[side]) for side in ("ours", "plain"))
        ratios = [b / a for a, b in zip(seconds["ours"], seconds["plain"], strict=True)]
        command = [sys.executable, *sys.argv, "--peak", part]
        peak = [float(subprocess.run([*command, side], capture_output=True, check=True).stdout) for side in seconds]
        print(
            f"{part}: ours {ours:.3f} s, plain {plain:.3f} s, {plain / ours:.2f} times as fast "
            f"({min(ratios):.2f} to {max(ratios):.2f} over {options.repeats} turns); peak {peak[0]:.0f} and {peak[1]:.0f} MiB"
        )
    if not agree:
        sys.exit(1)


if __name__ == "__main__":
    main()

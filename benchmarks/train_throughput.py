"""Clips per second of training, and the share of the device's arithmetic that they take, beside a loop as the field writes it.

    python benchmarks/train_throughput.py                                       # on a GPU: ViT-B-16, 8 frames of 224 px
    python benchmarks/train_throughput.py --model ViT-B-32 --batch 4 --steps 2 --clips 16 --side 1024   # where there is none

`ours` is what `kinetext train-method` runs: frames from a store of JPEGs, `Batches`, `Step`, `update`. `plain` is the same
method, CLIP and optimizer in the loop of the field's repositories (STAN, ViFi-CLIP, CLIP4Clip): normalised on the CPU and
sent as float32, fp16 autocast with a GradScaler (float32 where there is no GPU), attention written as softmax(q k^T) v, the
loss read at every step. Both train CLIP's image tower and the method, with the class texts encoded once, and read the same
clips, from as many workers. Weights are random: time does not depend on them.
"""

import argparse
import contextlib
import os
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from kinetext.backbones.open_clip_vit import Architecture, OpenClipViT
from kinetext.backbones.text_table import tabulate_texts
from kinetext.config.training import TrainingOptions
from kinetext.core import tables
from kinetext.data.images import encode_image
from kinetext.data.splits import Split
from kinetext.data.store import FrameStore
from kinetext.methods.base import LossInputs, Method, build_method
from kinetext.training.batches import Batches
from kinetext.training.objectives import Recognition, total
from kinetext.training.profile import Stepper, matmul_rate, measure, show
from kinetext.training.setup import Prepared, choose_kernels, choose_trained

CLASSES = 400


def make_store(path: Path, clips: int, frames: int, size_px: int) -> FrameStore:
    """Clips of noise as smooth as a photograph (about 18 KB a JPEG); 32 different ones, again and again."""
    generator = torch.Generator().manual_seed(0)

    def images() -> list[bytes]:
        noise = [torch.rand(frames, 3, size_px // k, size_px // k, generator=generator) for k in (28, 8, 2)]
        parts = [
            F.interpolate(n, (size_px, size_px), mode="bicubic") * w
            for n, w in zip(noise, (0.6, 0.3, 0.1), strict=True)
        ]
        pixels = (sum(parts).clamp(0, 1) * 255).byte().permute(0, 2, 3, 1).contiguous().numpy()
        return [encode_image(frame_HWC, "jpeg", 95) for frame_HWC in pixels]

    stills = [images() for _ in range(min(clips, 32))]
    rows = [
        {"clip_id": f"{i}", "status": "ok", "frame_indices": [*range(frames)], "timestamps_s": [0.0] * frames,
         "images": stills[i % len(stills)], "content_hash": f"{i}", "source": f"{i}"}
        for i in range(clips)
    ]  # fmt: skip
    tables.write_shard("frames", (rows[i : i + 100] for i in range(0, clips, 100)), path)
    return FrameStore([path])


def text_rows() -> list[dict[str, Any]]:
    """Return a name and two motion descriptions for each class."""
    sentences = [("name", None, "a video of action {}"), ("motion", 0.0, "at first thing {} lies still at the left"),
            ("motion", 1.0, "in the end thing {} has moved to the right and stops")]  # fmt: skip
    return [
        {"label": f"{k}", "kind": kind, "position": position, "sentence": sentence.format(k)}
        for k in range(CLASSES)
        for kind, position, sentence in sentences
    ]


def build(name: str, model: str, device: torch.device) -> Method:
    torch.manual_seed(0)
    return build_method(OpenClipViT(Architecture(model, quick_gelu=True)), name, {}).to(device)


def ours(name: str, store: FrameStore, split: Split, device: torch.device, options: argparse.Namespace) -> None:
    """Measure the engine and print it."""
    precision = "bfloat16" if device.type == "cuda" else "float32"
    training = TrainingOptions(
        batch_size=options.batch, precision=precision, decode=options.decode, compile=options.compile
    )
    method = build(name, options.model, device)
    choose_trained(method, training)
    choose_kernels(method, training, device)
    table = tabulate_texts(text_rows(), split.labels, method.backbone)
    rivals_KK = torch.eye(CLASSES, dtype=torch.bool, device=device).roll(1, 0) | torch.eye(
        CLASSES, dtype=torch.bool, device=device
    )
    task = Recognition(method, table.to(device), rivals_KK, training)
    batches = Batches(method, store, split, training, 0, device, workers=options.workers)
    spec: Any = SimpleNamespace(training=training)
    stepper = Stepper(Prepared(spec, store, method, task, batches, batches, 0.0))
    result = measure(stepper, options.steps, options.rate)
    show(result, lambda line: print(f"{name:10} ours   {line}", flush=True))
    options.rates[name] = result["clips_per_s"]
    if options.kernels:
        print(dict(torch._dynamo.utils.counters) if options.compile else "not compiled")
        with torch.profiler.profile() as profiler:
            stepper.run(next(batches.epoch(0)))
        by = "self_cuda_time_total" if device.type == "cuda" else "self_cpu_time_total"
        print(profiler.key_averages().table(sort_by=by, row_limit=25, max_name_column_width=80), flush=True)


class Normalised(torch.utils.data.Dataset):
    """Clips as float32, normalised on the CPU."""

    def __init__(self, store: FrameStore, rows: list[dict[str, Any]], backbone: OpenClipViT) -> None:
        self.store, self.rows = store, rows
        self.mean, self.std = (c.cpu().view(3, 1, 1) for c in (backbone.mean_C, backbone.std_C))

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        row = self.rows[index]
        return (self.store.frames(row["clip_id"]).float() / 255 - self.mean) / self.std, int(row["label"])


def written_out(q: Tensor, k: Tensor, v: Tensor, attn_mask: Tensor | None = None, *_: Any, **__: Any) -> Tensor:
    """Attention as it was written before it was one call."""
    weights = q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5
    if attn_mask is not None:
        weights = weights.masked_fill(~attn_mask, -torch.inf) if attn_mask.dtype == torch.bool else weights + attn_mask
    return weights.softmax(-1) @ v


def plain(name: str, store: FrameStore, split: Split, device: torch.device, options: argparse.Namespace) -> None:
    """Measure the field's loop and print it."""
    method = build(name, options.model, device)
    method.backbone.layer = lambda block, x: block(x)  # open_clip's, with nn.MultiheadAttention
    training = TrainingOptions(batch_size=options.batch)
    choose_trained(method, training)
    table = tabulate_texts(text_rows(), split.labels, method.backbone).to(device)
    with torch.no_grad():
        words = method.encode_words(table)
    rivals_KK = torch.eye(CLASSES, dtype=torch.bool, device=device).roll(1, 0) | torch.eye(
        CLASSES, dtype=torch.bool, device=device
    )
    loader = torch.utils.data.DataLoader(
        Normalised(store, split.rows, method.backbone), options.batch, shuffle=True, num_workers=options.workers, pin_memory=True,
        drop_last=True,
    )  # fmt: skip
    trained = [p for p in method.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, 1e-6, foreach=False)
    scaler = torch.amp.GradScaler(device.type, enabled=device.type == "cuda")
    sdpa, F.scaled_dot_product_attention = F.scaled_dot_product_attention, written_out
    method.train()
    times, done = [], 0
    try:
        while done < options.steps + 2:
            for frames_BTCHW, target_B in loader:
                if done == 2:
                    times.append(time.perf_counter())
                frames_BTCHW, target_B = frames_BTCHW.to(device), target_B.to(device)
                with torch.autocast(device.type, torch.float16, enabled=device.type == "cuda"):
                    video, text = method.encode_video(frames_BTCHW), method.pool_texts(words, table)
                    loss = total(method.losses(LossInputs(video, text, target_B, rivals_KK)))
                optimizer.zero_grad()
                scaler.scale(loss).backward()
                scaler.step(optimizer)
                scaler.update()
                loss.item()
                done += 1
                if done == options.steps + 2:
                    break
    finally:
        F.scaled_dot_product_attention = sdpa
    rate = options.batch * options.steps / (time.perf_counter() - times[0])
    faster = options.rates.get(name, float("nan")) / rate
    print(f"{name:10} plain  {rate:.1f} clips/s at the same batch; ours is {faster:.2f} times as fast", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="+", default=["mean_pool", "stan", "moted"])
    parser.add_argument("--model", default="ViT-B-16")
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--clips", type=int, default=1024)
    parser.add_argument("--workers", type=int, default=max(0, (os.cpu_count() or 1) - 2))
    parser.add_argument("--decode", default="auto", choices=["auto", "workers", "device"])
    parser.add_argument("--compile", action="store_true", help="training.compile")
    parser.add_argument("--side", type=int, default=8192, help="of the matrices whose product is the device's rate")
    parser.add_argument("--no-plain", action="store_true")
    parser.add_argument("--kernels", action="store_true", help="print where the device's time goes")
    options = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    where = torch.cuda.get_device_name() if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    options.rate = matmul_rate(device, torch.bfloat16 if device.type == "cuda" else torch.float32, options.side)
    options.rates = {}
    print(
        f"{options.model}, {options.batch} x {options.frames} frames, {where}, {options.rate / 1e12:.2f} TFLOP/s",
        flush=True,
    )
    with tempfile.TemporaryDirectory(prefix="throughput-") as folder:
        size_px = 224
        store = make_store(Path(folder) / "frames.arrow", options.clips, options.frames, size_px)
        rows = [{"clip_id": f"{i}", "label": f"{i % CLASSES}"} for i in range(options.clips)]
        split = Split(rows, [f"{k}" for k in range(CLASSES)])
        for name in options.methods:
            for side in [ours] if options.no_plain else [ours, plain]:
                with _reported(f"{name} {side.__name__}"):
                    side(name, store, split, device, options)
                if device.type == "cuda":
                    torch.cuda.empty_cache()


@contextlib.contextmanager
def _reported(what: str) -> Any:
    """One method that fails does not end the others' measurement."""
    try:
        yield
    except (RuntimeError, ValueError, torch.OutOfMemoryError) as error:
        print(f"{what}: {type(error).__name__}: {error}", flush=True)


if __name__ == "__main__":
    main()

"""What a training needs before its first step: the method on its device, what of it trains and with which kernels, the task,
the batches, the optimiser.

B clips, T frames, K classes.
"""

import math
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from kinetext.backbones.checkpoint import load_backbone
from kinetext.backbones.text_table import read_texts
from kinetext.config.run import RunSpec, read_run
from kinetext.config.training import TrainingOptions
from kinetext.core import distributed
from kinetext.core.tables import read_rows
from kinetext.data.splits import Split, read_splits
from kinetext.data.store import FrameStore
from kinetext.methods import Method, build_method
from kinetext.training import step as steps
from kinetext.training.batches import Batches
from kinetext.training.objectives import Recognition, Retrieval
from kinetext.training.recipes import depth_scales
from kinetext.training.step import Step, pieces_that_fit


@dataclass(frozen=True)
class Inputs:
    """The tables a run is trained from."""

    splits: Path
    frames: list[Path]
    texts: Path
    confusables: Path
    backbone: Path


class Prepared(NamedTuple):
    """What is trained, on its device, and the clips; `seconds` is what computing a frozen trunk's tokens took."""

    spec: RunSpec
    store: FrameStore
    method: Method
    task: Recognition | Retrieval
    seen: Batches
    held_out: Batches
    seconds: float


def prepare(run: Path, inputs: Inputs, threads: int) -> Prepared:
    """Everything that a training needs before its first step. Raises ValueError where the run asks for what cannot be."""
    spec = read_run(run)
    training = spec.training
    threads_each = max(1, threads // distributed.local_world_size())
    torch.set_num_threads(threads_each)
    if training.deterministic:
        compute_deterministically()
    splits = read_splits(inputs.splits)
    if splits["train"].captioned and (option := training.needs_classes()):
        raise ValueError(
            f"{spec.run}: training.{option} is for clips with classes, and these have captions; take it out"
        )
    store = FrameStore(inputs.frames)
    torch.manual_seed(spec.seed)  # new parameters
    device = distributed.device()
    backbone = load_backbone(inputs.backbone)
    method = build_method(backbone, spec.method_module, spec.method_options).to(device)
    if training.temperature is not None:
        method.set_temperature(training.temperature)
    choose_trained(method, training)
    choose_kernels(method, training, device)
    started = time.perf_counter()
    task, texts_K = make_task(method, splits, inputs, training, device)
    seen, held_out = (
        Batches(
            method,
            store,
            splits[name],
            training,
            spec.seed,
            device,
            texts_K.get(name),
            threads_each - 1,
            spec.num_frames,
        )
        for name in ("train", "val")
    )
    seconds = time.perf_counter() - started  # a frozen trunk has run
    if training.select == "best_val" and not len(held_out):
        raise ValueError(f"{spec.run}: select: best_val, but there are no validation clips; take select: last")
    return Prepared(spec, store, method, task, seen, held_out, seconds)


def make_task(
    method: Method, splits: dict[str, Split], inputs: Inputs, training: TrainingOptions, device: torch.device
) -> tuple[Recognition | Retrieval, dict[str, Tensor]]:
    """What is trained for, and for each split how many captions its clips have; none where they have classes."""
    labels = splits["train"].labels
    table = read_texts(inputs.texts, labels, method.backbone)
    if not splits["train"].captioned:
        rivals_KK = rival_mask(read_rows("confusables", inputs.confusables), labels).to(device)
        return Recognition(method, table.to(device), rivals_KK, training), {}
    tables = {"train": table}
    if splits["val"].rows:
        tables["val"] = read_texts(inputs.texts, splits["val"].labels, method.backbone)
    counts = {name: torch.bincount(table.owner_S) for name, table in tables.items()}
    return Retrieval(method, table, tables["val"].to(device) if "val" in tables else None, training), counts


def choose_trained(method: Method, training: TrainingOptions) -> None:
    """Decide by requires_grad what trains: the method's own parameters, CLIP's last LayerNorm and projection, the image
    tower's layers if the trunk is trained, the text tower if the text is (its word embeddings stay: most words of a
    language never occur in a list of classes). The temperature stays unless it is asked for.
    """
    backbone = method.backbone
    backbone.requires_grad_(False)
    visual, clip = backbone.visual, backbone.clip
    if training.image_encoder == "trained":
        visual.requires_grad_(True)
    visual.ln_post.requires_grad_(True)
    visual.proj.requires_grad_(True)
    if training.text_encoder == "trained":
        clip.transformer.requires_grad_(True)
        clip.ln_final.requires_grad_(True)
        clip.text_projection.requires_grad_(True)
        clip.positional_embedding.requires_grad_(True)
    clip.logit_scale.requires_grad_(training.learn_temperature)
    for parameter in method.new_parameters().values():
        parameter.requires_grad_(True)


def make_optimiser(method: Method, training: TrainingOptions, steps_per_epoch: int) -> tuple[Any, Any]:
    """AdamW over groups (new or pretrained, decayed or not, and by layer under layer_decay); linear warm-up, then cosine to
    zero, by step.
    """
    new = {id(p) for p in method.new_parameters().values()}
    scales = depth_scales(method, training.layer_decay)
    groups: dict[tuple[bool, bool, float], list[nn.Parameter]] = {}
    for name, parameter in method.named_parameters():
        if parameter.requires_grad:
            rule = (id(parameter) in new, parameter.ndim >= 2, scales.get(name, 1.0))
            groups.setdefault(rule, []).append(parameter)
    optimiser = torch.optim.AdamW(
        [
            {
                "params": parameters,
                "lr": training.lr_new if is_new else training.lr * scale,
                "weight_decay": training.weight_decay if decayed else 0.0,
            }
            for (is_new, decayed, scale), parameters in groups.items()
        ],
        betas=training.betas,
        fused=next(method.parameters()).device.type == "cuda" or None,  # None: torch's choice
    )
    total = max(1, training.epochs * steps_per_epoch)
    warm = min(total, round(training.warmup_epochs * steps_per_epoch))

    def factor(step: int) -> float:
        if step < warm:
            return (step + 1) / warm
        return 0.5 + 0.5 * math.cos(math.pi * (step - warm) / max(1, total - warm))

    return optimiser, torch.optim.lr_scheduler.LambdaLR(optimiser, factor)


def choose_kernels(method: Method, training: TrainingOptions, device: torch.device) -> None:
    """How the device computes what the method says: with gradient checkpointing, compiled, with the patch embedding in the
    order in memory that tensor cores take.
    """
    if training.gradient_checkpointing:
        for module in method.modules():
            if hasattr(module, "gradient_checkpointing"):
                setattr(module, "gradient_checkpointing", True)  # noqa: B010 - a plain attribute, which Module's stubs do not know
    if training.compile:
        method.backbone.layer = torch.compile(method.backbone.layer)
        method.encode_tokens = torch.compile(method.encode_tokens)  # type: ignore[method-assign]
    if device.type == "cuda":
        method.backbone.visual.conv1.to(memory_format=torch.channels_last)


def compute_deterministically() -> None:
    """The same bits from the same device (docs.pytorch.org/docs/stable/notes/randomness.html)."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when cuBLAS starts
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False


def make_step(
    method: Method, task: Recognition | Retrieval, seen: Batches, optimiser: Any, training: TrainingOptions
) -> Step:
    """What gives a batch's gradients, in pieces that fit into memory. Raises ValueError where a clip does not."""
    trained = [p for p in method.parameters() if p.requires_grad]
    step = Step(task, trained)
    if training.micro_batch != "auto":
        step.most = training.micro_batch
    elif trained[0].device.type in steps.RUN_OUT:
        method.train()
        moments = 0 if optimiser.state else 2 * sum(p.numel() * p.element_size() for p in trained)
        step.most = pieces_that_fit(step, seen.send(next(seen.epoch(0))), moments)
    return step


def rival_mask(confusables: list[dict[str, Any]], labels: list[str]) -> Tensor:
    """True [K, K] where the column's class is the row's own or one of its rivals under any rule."""
    place = {label: k for k, label in enumerate(labels)}
    mask_KK = torch.eye(len(labels), dtype=torch.bool)
    for row in confusables:
        if row["label"] in place and row["rival"] in place:
            mask_KK[place[row["label"]], place[row["rival"]]] = True
    return mask_KK

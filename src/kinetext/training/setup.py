"""Prepare a training: load the method, choose which parameters train and how they are computed on the device, and build
the objective, the batches and the optimizer.

K classes.
"""

import logging
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
from kinetext.config.texts import ConfusablesOptions
from kinetext.config.training import TrainingOptions
from kinetext.core import distributed, plugins
from kinetext.data.splits import Split, read_splits
from kinetext.data.store import FrameStore
from kinetext.methods.base import Method, build_method, is_new
from kinetext.texts.rivals import choose_rivals
from kinetext.training.batches import Batches
from kinetext.training.distributed_step import DistributedStep
from kinetext.training.multi_label import MultiLabel, labels_by_clip
from kinetext.training.objectives import Objective, Recognition, Retrieval, log_shares
from kinetext.training.recipes import depth_scales
from kinetext.training.step import PiecewiseStep, largest_piece

log = logging.getLogger(__name__)
# devices that raise an error when their memory is full; a process that fills a CPU's is killed
REPORT_FULL_MEMORY = ("cuda",)


@dataclass(frozen=True)
class Inputs:
    """The input files of a training; `backbone` is a folder."""

    splits: Path
    frames: list[Path]
    texts: Path
    confusables: Path
    backbone: Path


class Prepared(NamedTuple):
    """Everything that a training needs, on the device.

    `seconds` is the time spent on building the objective and the batches. If encoders are frozen, most of it is the
    encoding of texts and clips.
    """

    spec: RunSpec
    store: FrameStore
    method: Method
    objective: Objective
    train_clips: Batches
    val_clips: Batches
    seconds: float

    @property
    def parameters(self) -> list[nn.Parameter]:
        """The parameters that train, including parameters of loss terms."""
        return [p for p in self.method.parameters() if p.requires_grad]


def prepare(run: Path | RunSpec, inputs: Inputs, threads: int) -> Prepared:
    """Load and build everything that a training needs before the first step.

    `run` is the path of a run.yaml or its content. Raises ValueError if the options of the run do not fit the data.
    """
    spec = run if isinstance(run, RunSpec) else read_run(run)
    training = spec.training
    threads_each = max(1, threads // distributed.local_world_size())
    torch.set_num_threads(threads_each)
    if training.deterministic:
        use_deterministic_algorithms()
    splits = read_splits(inputs.splits)
    has = "captions" if splits["train"].captioned else "several labels" if splits["train"].multi_label else ""
    if has and (option := training.needs_classes()):
        raise ValueError(
            f"{spec.run}: training.{option} is for clips with one class each, and these have {has}; remove the option"
        )
    store = FrameStore(inputs.frames)
    torch.manual_seed(spec.seed)  # new parameters
    device = distributed.device()
    backbone = load_backbone(inputs.backbone)
    backbone.require_frames(spec.frame_options.resize_mode, spec.frame_options.interpolation)
    method = build_method(backbone, spec.method_module, spec.method_options).to(device)
    if training.temperature is not None:
        method.backbone.set_temperature(training.temperature)
    if splits["train"].multi_label and "labels" not in method.tasks:
        raise ValueError(f"{spec.run}: {spec.method} serves one class per clip, and these have several; remove it")
    if method.needs_threshold(training.loss, splits["train"].multi_label):
        method.add_label_threshold()
    add_lora(method, training, device)
    choose_trained(method, training)
    add_loss_terms(method, training, device)
    choose_kernels(method, training, device)
    started = time.perf_counter()
    if splits["train"].captioned and training.augment.flip == "auto":
        log.warning("%s: flip: auto does not read captions, so no clip is mirrored", spec.run)
    rule = ConfusablesOptions(**spec.confusables).rule
    objective, texts_K = make_objective(method, splits, inputs, training, device, rule)

    def batches(split: str) -> Batches:
        texts = texts_K.get(split)
        return Batches(
            method, store, splits[split], training, spec.seed, device, texts, threads_each - 1, spec.num_frames
        )

    train_clips, val_clips = batches("train"), batches("val")
    if method.label_threshold is not None:
        objective.set_threshold(next(train_clips.epoch(0)))
    seconds = time.perf_counter() - started
    if training.select == "best_val" and not len(val_clips):
        raise ValueError(f"{spec.run}: select: best_val needs validation clips, and there are none; take select: last")
    if isinstance(training.wise_ft_alpha, tuple) and not len(val_clips):
        raise ValueError(
            f"{spec.run}: wise_ft_alpha: a list is chosen from by validation clips, and there are none; give one number"
        )
    return Prepared(spec, store, method, objective, train_clips, val_clips, seconds)


def make_objective(
    method: Method, splits: dict[str, Split], inputs: Inputs, training: TrainingOptions, device: torch.device, rule: str
) -> tuple[Objective, dict[str, Tensor]]:
    """Return (objective, number of captions of each clip by split). The second is empty if clips have classes.

    The rivals of a class are chosen by the mining rule `rule`; the descriptions were written against the same rivals.
    """
    labels = splits["train"].labels
    table = read_texts(inputs.texts, labels, method.backbone)
    if not splits["train"].captioned:
        rivals = choose_rivals(inputs.confusables, labels, rule)
        rivals_KK = rival_mask(rivals).to(device)
        log_prior_K = None
        if training.logit_adjustment:
            log_prior_K = training.logit_adjustment * log_shares([row["label"] for row in splits["train"].rows], labels)
            log_prior_K = log_prior_K.to(device)
        if splits["train"].multi_label:
            return MultiLabel(method, table.to(device), rivals_KK, training, labels_of=labels_by_clip(splits)), {}
        return Recognition(method, table.to(device), rivals_KK, training, log_prior_K), {}
    tables = {"train": table}
    if splits["val"].rows:
        tables["val"] = read_texts(inputs.texts, splits["val"].labels, method.backbone)
    counts = {name: torch.bincount(table.owner_S) for name, table in tables.items()}
    return Retrieval(method, table, tables["val"].to(device) if "val" in tables else None, training), counts


def choose_trained(method: Method, training: TrainingOptions) -> None:
    """Set `requires_grad` of all parameters.

    New parameters and the parameters after the last layer of the image encoder always train. The options decide about
    the layers of the image encoder, the text encoder, its word embeddings and the temperature. If the method is fitted
    (`fits`), nothing trains.
    """
    if method.fits:
        method.requires_grad_(False)
        return
    trains = {
        "image": training.image_encoder == "trained",
        "image_head": True,
        "text": training.text_encoder == "trained",
        "words": training.word_embeddings == "trained",
        "scale": training.learn_temperature,
    }
    for name, parameter in method.backbone.named_parameters():
        parameter.requires_grad_(trains[method.backbone.depth_of(name).part])
    for parameter in method.new_parameters().values():
        parameter.requires_grad_(True)


def add_lora(method: Method, training: TrainingOptions, device: torch.device) -> None:
    """Add LoRA to the encoders whose option is `lora`."""
    matrices = (training.lora_rank, training.lora_alpha, training.lora_dropout)
    if training.image_encoder == "lora":
        method.backbone.add_lora("image", *matrices)
    if training.text_encoder == "lora":
        method.backbone.add_lora("text", *matrices)
    method.to(device)


def add_loss_terms(method: Method, training: TrainingOptions, device: torch.device) -> None:
    """Build the loss terms of `training.terms` and add them to the method."""
    for name, options in training.terms.items():
        term = plugins.load("terms", options.module or name)
        method.loss_terms[name] = term(method, plugins.configure(term, options.options)).to(device)


def make_optimizer(method: Method, training: TrainingOptions, steps_per_epoch: int) -> tuple[Any, Any]:
    """Return (AdamW, learning-rate schedule). The schedule is a linear warm-up, then a cosine to zero, step by step.

    Weight decay applies to parameters with two or more axes. New parameters train at `lr_new`, pretrained ones at `lr`
    times the factor of their layer (`layer_decay`).
    """
    scales = depth_scales(method, training.layer_decay)
    groups: dict[tuple[bool, bool, float], list[nn.Parameter]] = {}
    for name, parameter in method.named_parameters():
        if parameter.requires_grad:
            rule = (is_new(parameter), parameter.ndim >= 2, scales.get(name, 1.0))
            groups.setdefault(rule, []).append(parameter)
    optimizer = torch.optim.AdamW(
        [
            {
                "params": parameters,
                "lr": training.lr_new if new else training.lr * scale,
                "weight_decay": training.weight_decay if decayed else 0.0,
            }
            for (new, decayed, scale), parameters in groups.items()
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

    return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, factor)


def choose_kernels(method: Method, training: TrainingOptions, device: torch.device) -> None:
    """Turn on gradient checkpointing and compilation if the run asks for them, and channels-last memory on a GPU."""
    if training.gradient_checkpointing:
        method.backbone.gradient_checkpointing = True
        for module in method.modules():
            if isinstance(module, Method):
                module.gradient_checkpointing = True
    if training.compile:
        for layer in method.backbone.layers:
            layer.compile()
        method.encode_tokens = torch.compile(method.encode_tokens)  # type: ignore[method-assign]
    if device.type == "cuda":
        method.backbone.use_channels_last()


def use_deterministic_algorithms() -> None:
    """Make results bitwise reproducible on one type of device (docs.pytorch.org/docs/stable/notes/randomness.html)."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when cuBLAS starts
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False


def choose_step(prepared: Prepared, optimizer: Any) -> PiecewiseStep | DistributedStep | None:
    """Return the step for several processes or for a batch that exceeds the memory.

    Returns None if one process can run an ordinary forward and backward pass over the whole batch. Raises ValueError if
    not even one clip fits into memory.
    """
    objective, parameters, training = prepared.objective, prepared.parameters, prepared.spec.training
    size = None if training.micro_batch == "auto" else training.micro_batch
    if training.micro_batch == "auto" and parameters[0].device.type in REPORT_FULL_MEMORY:
        prepared.method.train()
        moments = 0 if optimizer.state else 2 * sum(p.numel() * p.element_size() for p in parameters)
        first_batch = next(prepared.train_clips.epoch(0))
        size = largest_piece(objective, parameters, first_batch, moments)
    if distributed.world_size() > 1:
        return DistributedStep(objective, parameters, size)
    if size is None or size >= training.batch_size:
        return None
    return PiecewiseStep(objective, parameters, size)


def rival_mask(rivals: dict[str, list[str]]) -> Tensor:
    """Return a mask [K, K] that is true if the column's class is the row's class or a rival of the row's class.

    Classes are in the order of the keys of `rivals`.
    """
    index = {label: k for k, label in enumerate(rivals)}
    mask_KK = torch.eye(len(rivals), dtype=torch.bool)
    for label, others in rivals.items():
        for rival in others:
            if rival in index:
                mask_KK[index[label], index[rival]] = True
    return mask_KK

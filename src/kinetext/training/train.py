"""train_method: one plain loop. A run, its training clips and its texts in; a checkpoint, its curves and its cost out.

Every epoch and every step draw from random states that depend on nothing but the seed and their number, and the state
between two steps is saved in the cache now and then (resume.py), so a killed training goes on and ends with the weights of
one that was not. Nothing in the loop waits for the device but the reading of losses, once in a while (watch.py).

What it minimises is the task's (tasks.py): classes or captions, as the clips have them. How a batch becomes a gradient, in
pieces and among processes, is the step's (step.py).

B clips, T frames, K classes.
"""

import json
import logging
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor, nn
from tqdm import tqdm

from kinetext import distributed
from kinetext.config import RunSpec, TrainingOptions, read_run
from kinetext.data.loader import FrameStore
from kinetext.data.protocols import Split, read_splits
from kinetext.models.checkpoint import load_backbone, save_trained
from kinetext.models.methods import Method, build_method
from kinetext.models.texts import read_texts
from kinetext.tables import code_commit, read_rows, written_whole
from kinetext.training import step as steps
from kinetext.training.batches import Batches
from kinetext.training.mixing import mixed
from kinetext.training.recipes import Average, depth_scales, finished, interpolate
from kinetext.training.resume import Progress, Saver, clear_state, load_state, save_state, state_path
from kinetext.training.step import Step, pieces_that_fit, told, update
from kinetext.training.tasks import Recognition, Retrieval
from kinetext.training.watch import READ_EVERY, Unread, read_losses

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Inputs:
    """The tables a run is trained from."""

    splits: Path
    frames: list[Path]
    texts: Path
    confusables: Path
    backbone: Path


def train_method(
    run: Path,
    inputs: Inputs,
    cache: Path,
    output: Path,
    threads: int = 1,
    tell: Callable[[list[dict[str, Any]]], None] | None = None,
) -> None:
    """Train the run's method; write the checkpoint, and curves.parquet and cost.json beside it. Among several processes
    each calls it, with the threads of all on its machine, and the first one writes. `tell` is given the curves so far
    whenever they have grown (tracking/live.py).

    Raises ValueError where the run asks for what cannot be, RuntimeError when the loss is no longer a number.
    """
    spec, store, method, task, seen, held_out, prepared_s = prepare(run, inputs, threads)
    training, device = spec.training, seen.device
    optimiser, schedule = make_optimiser(method, training, len(seen))
    made_from = [inputs.splits, inputs.texts, inputs.confusables, inputs.backbone / "weights.safetensors"]
    path = state_path(cache, spec, made_from, store.digest())
    trained = [p for p in method.parameters() if p.requires_grad]
    start = [p.detach().clone() for p in trained] if training.interpolate < 1 else []
    progress = load_state(path, method, optimiser, schedule) or Progress()
    progress.seconds += prepared_s
    average = Average(trained, training, training.epochs * len(seen), progress)
    clock_s = time.perf_counter()

    def save() -> None:
        nonlocal clock_s
        now_s = time.perf_counter()
        progress.seconds, clock_s = progress.seconds + now_s - clock_s, now_s
        save_state(path, progress, method, optimiser, schedule)

    step = make_step(method, task, seen, optimiser, training)
    with (
        tqdm(
            total=training.epochs, initial=progress.epoch, desc=f"train {spec.run}", disable=distributed.quiet()
        ) as bar,
        Saver(path, save) as saver,
    ):
        while not finished(progress, training):
            loss = train_epoch(step, seen, optimiser, schedule, training, spec.seed, progress, saver, average)
            now = {"train_loss": loss, "lr": schedule.get_last_lr()[0]}
            with average.in_place():
                if len(held_out):
                    now |= validate(method, task, held_out)
                if training.select == "last" or now.get(task.best_by, 0.0) > progress.best:
                    progress.best, progress.best_epoch = now.get(task.best_by, 0.0), progress.epoch + 1
                    progress.keep(method)
            progress.epoch, progress.step, progress.losses = progress.epoch + 1, 0, []
            progress.curves += [{"epoch": progress.epoch, "metric": m, "value": v} for m, v in now.items()]
            if tell:
                tell(progress.curves)
            saver.due(whole_epoch=True)
            saver.save()
            bar.update()
            bar.set_postfix({k: f"{v:.3f}" for k, v in now.items() if k != "lr"})
    if distributed.rank() == 0:
        progress.restore(method)
        if start:
            interpolate(trained, start, training.interpolate)
        write_results(spec, method, progress, seen.items, threads, device, output)
        clear_state(path)


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
    threads_each = max(1, threads // distributed.on_this_machine())
    torch.set_num_threads(threads_each)
    if training.deterministic:
        compute_deterministically()
    splits = read_splits(inputs.splits)
    if splits["train"].captioned and (option := training.of_classes()):
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
    if training.trunk == "trained":
        visual.requires_grad_(True)
    visual.ln_post.requires_grad_(True)
    visual.proj.requires_grad_(True)
    if training.text == "trained":
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
                "lr": training.new_lr if is_new else training.lr * scale,
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
    if training.recompute:
        for module in method.modules():
            if hasattr(module, "recompute"):
                setattr(module, "recompute", True)  # noqa: B010 - a plain attribute, which Module's stubs do not know
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


def train_epoch(
    step: Step,
    seen: Batches,
    optimiser: Any,
    schedule: Any,
    training: TrainingOptions,
    seed: int,
    progress: Progress,
    saver: Saver,
    average: Average,
) -> float:
    """What remains of one pass; the mean loss of all of it. Raises RuntimeError, as `read_losses`, and ValueError where
    memory runs out.
    """
    seen.method.train()
    unread: Unread = []
    for batch in seen.epoch(progress.epoch, progress.step):
        try:
            place = (seed, progress.epoch, progress.step)
            loss = step(mixed(seen.send(batch), seen.method.backbone, training, place), place)
            update(step.trained, optimiser, schedule, training.clip_norm)
            average.update(progress.epoch * len(seen) + progress.step + 1)
        except torch.OutOfMemoryError as error:
            pieces = step.most or len(batch.places)
            raise ValueError(
                f"memory is full at step {progress.step + 1} of epoch {progress.epoch + 1} with {pieces} clips at once "
                f"({told(error)}); set training.micro_batch to {max(1, pieces // 2)}: the same command goes on from the last "
                "saved state"
            ) from None
        unread.append((loss, batch.clip_ids))
        progress.step += 1
        save_now = saver.due()  # asked once: a SIGTERM between two answers would save without the losses
        if save_now or len(unread) == READ_EVERY:
            read_losses(unread, progress, training.explode)
        if save_now:
            saver.save()
    read_losses(unread, progress, training.explode)
    return sum(progress.losses) / len(progress.losses)


@torch.inference_mode()
def validate(method: Method, task: Recognition | Retrieval, batches: Batches) -> dict[str, float]:
    """What the task says of the validation clips."""
    method.eval()
    return task.validate(batches)


def rival_mask(confusables: list[dict[str, Any]], labels: list[str]) -> Tensor:
    """True [K, K] where the column's class is the row's own or one of its rivals under any rule."""
    place = {label: k for k, label in enumerate(labels)}
    mask_KK = torch.eye(len(labels), dtype=torch.bool)
    for row in confusables:
        if row["label"] in place and row["rival"] in place:
            mask_KK[place[row["label"]], place[row["rival"]]] = True
    return mask_KK


def write_results(
    spec: RunSpec, method: Method, progress: Progress, clips: int, threads: int, device: torch.device, output: Path
) -> None:
    """The curves and the cost, then the checkpoint, whose being there says that all is done."""
    new = sum(p.numel() for p in method.new_parameters().values())
    cost = {
        "new_parameters": new,
        "trained_parameters": sum(p.numel() for p in method.parameters() if p.requires_grad),
        "train_seconds": progress.seconds,
        "train_clips_seen": clips * progress.epoch,
        "processes": distributed.size(),
        "threads": threads,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "commit": code_commit(),
    }
    with written_whole(output.parent / "curves.parquet") as part:
        pq.write_table(pa.Table.from_pylist(progress.curves), part)
    with written_whole(output.parent / "cost.json") as part:
        part.write_text(json.dumps(cost, indent=1))
    save_trained(method, output, {"run": spec.model_dump(mode="json"), "commit": cost["commit"]})

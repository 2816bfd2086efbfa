"""train_method: one plain loop. A run, its training clips and its texts in; a checkpoint, its curves and its cost out.

Every epoch starts from random states that depend on the seed and the epoch alone, and the state between two steps is
saved in the cache now and then (resume.py), so a killed training goes on and ends with the weights of one that was not.
Losses are read once in a while: each reading waits for the device.

What it minimises is the task's (tasks.py): classes or captions, as the clips have them.

B clips, T frames, K classes.
"""

import json
import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor, nn
from tqdm import tqdm

from kinetext.config import RunSpec, TrainingOptions, read_run
from kinetext.data.loader import FrameStore
from kinetext.data.protocols import Split, read_splits
from kinetext.models.checkpoint import load_backbone, save_trained
from kinetext.models.methods import Method, build_method
from kinetext.models.texts import read_texts
from kinetext.tables import code_commit, read_rows, written_whole
from kinetext.training.batches import Batches
from kinetext.training.resume import Progress, Saver, clear_state, load_state, save_state, state_path
from kinetext.training.tasks import Recognition, Retrieval

log = logging.getLogger(__name__)
READ_EVERY = 50  # steps whose losses are read together


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
    """Train the run's method; write the checkpoint, and curves.parquet and cost.json beside it. `tell` is given the curves
    so far whenever they have grown (tracking/live.py).

    Raises ValueError where the run asks for what cannot be, RuntimeError when the loss is no longer a number.
    """
    torch.set_num_threads(threads)
    spec = read_run(run)
    training = spec.training
    splits = read_splits(inputs.splits)
    store = FrameStore(inputs.frames)
    torch.manual_seed(spec.seed)  # new parameters
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    backbone = load_backbone(inputs.backbone)
    method = build_method(backbone, spec.method_module, spec.method_options).to(device)
    if training.temperature is not None:
        method.set_temperature(training.temperature)
    choose_trained(method, training)
    started = time.perf_counter()
    task, texts_K = make_task(method, splits, inputs, training, device)
    seen, held_out = (
        Batches(method, store, splits[name], training, spec.seed, device, texts_K.get(name), workers=threads - 1)
        for name in ("train", "val")
    )
    prepared_s = time.perf_counter() - started  # a frozen trunk has run
    if training.select == "best_val" and not len(held_out):
        raise ValueError(f"{spec.run}: select: best_val, but there are no validation clips; take select: last")

    optimiser, schedule = make_optimiser(method, training, len(seen))
    made_from = [run, inputs.splits, inputs.texts, inputs.confusables, inputs.backbone / "weights.safetensors"]
    path = state_path(cache, made_from, store.digest())
    progress = load_state(path, method, optimiser, schedule) or Progress()
    progress.seconds += prepared_s
    clock_s = time.perf_counter()

    def save() -> None:
        nonlocal clock_s
        now_s = time.perf_counter()
        progress.seconds, clock_s = progress.seconds + now_s - clock_s, now_s
        save_state(path, progress, method, optimiser, schedule)

    with (
        tqdm(total=training.epochs, initial=progress.epoch, desc=f"train {spec.run}", disable=None) as bar,
        Saver(path, save) as saver,
    ):
        while progress.epoch < training.epochs:
            if progress.step == 0:
                torch.manual_seed(spec.seed * 100_003 + progress.epoch)
            batches = seen.epoch(progress.epoch, progress.step)
            loss = train_epoch(method, task, batches, optimiser, schedule, training, progress, saver)
            now = {"train_loss": loss, "lr": schedule.get_last_lr()[0]}
            if len(held_out):
                now |= validate(method, task, held_out)
            progress.epoch, progress.step, progress.losses = progress.epoch + 1, 0, []
            progress.curves += [{"epoch": progress.epoch, "metric": m, "value": v} for m, v in now.items()]
            if tell:
                tell(progress.curves)
            if training.select == "last" or now.get(task.best_by, 0.0) > progress.best:
                progress.best = now.get(task.best_by, 0.0)
                progress.keep(method)
            saver.save()
            bar.update()
            bar.set_postfix({k: f"{v:.3f}" for k, v in now.items() if k != "lr"})
    progress.restore(method)
    write_results(spec, method, progress, seen.items, threads, device, output)
    clear_state(path)


def make_task(
    method: Method, splits: dict[str, Split], inputs: Inputs, training: TrainingOptions, device: torch.device
) -> tuple[Recognition | Retrieval, dict[str, Tensor]]:
    """What is trained for, and for each split how many captions its clips have; none where they have classes."""
    labels = splits["train"].labels
    table = read_texts(inputs.texts, labels, method.backbone).to(device)
    if not splits["train"].captioned:
        rivals_KK = rival_mask(read_rows("confusables", inputs.confusables), labels).to(device)
        return Recognition(method, table, rivals_KK, training), {}
    tables = {"train": table}
    if splits["val"].rows:
        tables["val"] = read_texts(inputs.texts, splits["val"].labels, method.backbone).to(device)
    counts = {name: torch.bincount(table.owner_S).cpu() for name, table in tables.items()}
    return Retrieval(method, table, tables.get("val"), training), counts


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
    """AdamW over four groups (new or pretrained, decayed or not) and linear warm-up, then cosine to zero, by step."""
    new = {id(p) for p in method.new_parameters().values()}
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for parameter in method.parameters():
        if parameter.requires_grad:
            groups.setdefault((id(parameter) in new, parameter.ndim >= 2), []).append(parameter)
    optimiser = torch.optim.AdamW(
        [
            {
                "params": parameters,
                "lr": training.new_lr if is_new else training.lr,
                "weight_decay": training.weight_decay if decayed else 0.0,
            }
            for (is_new, decayed), parameters in groups.items()
        ],
        betas=training.betas,
    )
    total = max(1, training.epochs * steps_per_epoch)
    warm = min(total, round(training.warmup_epochs * steps_per_epoch))

    def factor(step: int) -> float:
        if step < warm:
            return (step + 1) / warm
        return 0.5 + 0.5 * math.cos(math.pi * (step - warm) / max(1, total - warm))

    return optimiser, torch.optim.lr_scheduler.LambdaLR(optimiser, factor)


def train_epoch(
    method: Method,
    task: Recognition | Retrieval,
    batches: Any,
    optimiser: Any,
    schedule: Any,
    training: TrainingOptions,
    progress: Progress,
    saver: Saver,
) -> float:
    """What remains of one pass; the mean loss of all of it. Raises RuntimeError, as `read_losses`."""
    method.train()
    trained = [p for p in method.parameters() if p.requires_grad]
    unread: list[tuple[Tensor, list[str]]] = []
    for batch in batches:
        with torch.autocast(batch.target_B.device.type, torch.bfloat16, enabled=training.precision == "bfloat16"):
            loss = task.loss(batch)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(trained, training.clip_norm)
        optimiser.step()
        schedule.step()
        unread.append((loss.detach(), batch.clip_ids))
        progress.step += 1
        save_now = saver.due()  # asked once: a SIGTERM between two answers would save without the losses
        if save_now or len(unread) == READ_EVERY:
            read_losses(unread, progress)
        if save_now:
            saver.save()
    read_losses(unread, progress)
    return sum(progress.losses) / len(progress.losses)


def read_losses(unread: list[tuple[Tensor, list[str]]], progress: Progress) -> None:
    """Move the losses of the last steps, with the clips of each, to `progress`, which is saved only afterwards: the last
    state on disk is always a good one. Raises RuntimeError, with step and clips, if one is no longer a number.
    """
    if not unread:
        return
    values = torch.stack([loss for loss, _ in unread]).tolist()
    for number, (value, (_, clip_ids)) in enumerate(zip(values, unread, strict=True)):
        if not math.isfinite(value):
            step = progress.step - len(unread) + number + 1
            raise RuntimeError(
                f"the loss is {value} at step {step} of epoch {progress.epoch + 1}; clips {', '.join(clip_ids)}; lower lr"
            )
    progress.losses += values
    unread.clear()


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
        "train_clips_seen": clips * spec.training.epochs,
        "threads": threads,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "commit": code_commit(),
    }
    with written_whole(output.parent / "curves.parquet") as part:
        pq.write_table(pa.Table.from_pylist(progress.curves), part)
    with written_whole(output.parent / "cost.json") as part:
        part.write_text(json.dumps(cost, indent=1))
    save_trained(method, output, {"run": spec.model_dump(mode="json"), "commit": cost["commit"]})

"""train_method: one plain loop. A run, its training clips and its texts in; a checkpoint, its curves and its cost out.

Every epoch and every step draw from random states that depend on nothing but the seed and their number, and the state
between two steps is saved in the cache now and then (resume.py), so a killed training goes on and ends with the weights of
one that was not. Nothing in the loop waits for the device but the reading of losses, once in a while (watch.py).

What comes before the first step is setup.py. What the loop minimises is the task's (tasks.py): classes or captions, as the
clips have them. How a batch becomes a gradient, in pieces and among processes, is the step's (step.py).

B clips, T frames, K classes.
"""

import json
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from tqdm import tqdm

from kinetext.backbones.checkpoint import save_trained
from kinetext.config.run import RunSpec
from kinetext.config.training import TrainingOptions
from kinetext.core import distributed
from kinetext.core.files import atomic_write
from kinetext.core.tables import code_commit
from kinetext.methods import Method
from kinetext.training.batches import Batches
from kinetext.training.mixing import mixed
from kinetext.training.objectives import Recognition, Retrieval
from kinetext.training.recipes import Average, finished, interpolate
from kinetext.training.setup import Inputs, make_optimiser, make_step, prepare
from kinetext.training.state import Progress, Saver, clear_state, load_state, save_state, state_path
from kinetext.training.step import Step, told, update
from kinetext.training.watch import READ_EVERY, Unread, read_losses

log = logging.getLogger(__name__)


def train_method(
    run: Path,
    inputs: Inputs,
    cache: Path,
    output: Path,
    threads: int = 1,
    on_curves: Callable[[list[dict[str, Any]]], None] | None = None,
) -> None:
    """Train the run's method; write the checkpoint, and curves.parquet and cost.json beside it. Among several processes
    each calls it, with the threads of all on its machine, and the first one writes. `on_curves` is called with
    the curves so far after each epoch (tracking/live.py).

    Raises ValueError where the run asks for what cannot be, RuntimeError when the loss is no longer a number.
    """
    spec, store, method, task, seen, held_out, prepared_s = prepare(run, inputs, threads)
    training, device = spec.training, seen.device
    optimiser, schedule = make_optimiser(method, training, len(seen))
    made_from = [inputs.splits, inputs.texts, inputs.confusables, inputs.backbone / "weights.safetensors"]
    path = state_path(cache, spec, made_from, store.digest())
    trained = [p for p in method.parameters() if p.requires_grad]
    start = [p.detach().clone() for p in trained] if training.wise_ft_alpha < 1 else []
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
            total=training.epochs, initial=progress.epoch, desc=f"train {spec.run}", disable=distributed.hide_progress()
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
            if on_curves:
                on_curves(progress.curves)
            saver.due(whole_epoch=True)
            saver.save()
            bar.update()
            bar.set_postfix({k: f"{v:.3f}" for k, v in now.items() if k != "lr"})
    if distributed.rank() == 0:
        progress.restore(method)
        if start:
            interpolate(trained, start, training.wise_ft_alpha)
        write_results(spec, method, progress, seen.items, threads, device, output)
        clear_state(path)


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
            read_losses(unread, progress, training.divergence_factor)
        if save_now:
            saver.save()
    read_losses(unread, progress, training.divergence_factor)
    return sum(progress.losses) / len(progress.losses)


@torch.inference_mode()
def validate(method: Method, task: Recognition | Retrieval, batches: Batches) -> dict[str, float]:
    """What the task says of the validation clips."""
    method.eval()
    return task.validate(batches)


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
        "processes": distributed.world_size(),
        "threads": threads,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "commit": code_commit(),
    }
    with atomic_write(output.parent / "curves.parquet") as part:
        pq.write_table(pa.Table.from_pylist(progress.curves), part, write_page_checksum=True)
    with atomic_write(output.parent / "cost.json") as part:
        part.write_text(json.dumps(cost, indent=1))
    save_trained(method, output, {"run": spec.model_dump(mode="json"), "commit": cost["commit"]})

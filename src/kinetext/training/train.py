"""train_method: train the method of a run; write the checkpoint, the training curves and the cost.

If one process can hold the whole batch, a step is: losses of the batch, `backward`, `optimizer.step`. If the batch does
not fit into memory or is shared by several processes, step.py or distributed_step.py computes the gradient.

Random draws depend only on the seed and on the numbers of epoch, step and process. The state is saved at intervals
between steps (state.py), so an interrupted training resumes and ends with the weights of an uninterrupted one. The loop
waits for the device only when it reads the losses, once every READ_EVERY steps (watch.py).

Methods that are fitted instead of trained go through fit.py.
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
from torch import nn
from tqdm import tqdm

from kinetext.core import distributed
from kinetext.core.files import atomic_write
from kinetext.core.memory import peak_mib
from kinetext.core.tables import code_commit
from kinetext.methods.base import Method
from kinetext.methods.checkpoint import save_trained
from kinetext.training.distributed_step import DistributedStep
from kinetext.training.fit import fit_method
from kinetext.training.mixing import mix_clips
from kinetext.training.objectives import total
from kinetext.training.recipes import Average, choose_alpha, finished, interpolate, pretrained_weights
from kinetext.training.setup import Inputs, Prepared, choose_step, make_optimizer, prepare
from kinetext.training.state import Progress, Saver, clear_state, load_state, save_state, state_path
from kinetext.training.step import first_sentences, is_out_of_memory, seed_from
from kinetext.training.watch import READ_EVERY, Unread, epoch_means, read_losses

log = logging.getLogger(__name__)

OnCurves = Callable[[list[dict[str, Any]]], None]


def train_method(
    run: Path,
    inputs: Inputs,
    cache: Path,
    output: Path,
    threads: int = 1,
    on_curves: OnCurves | None = None,
) -> None:
    """Train the method of a run; write the checkpoint, and curves.parquet and cost.json in the checkpoint's folder.

    With several processes, every process calls this function, and the first one writes. `threads` is the number of
    threads of all processes on a machine. `on_curves` is called with the curves after each epoch (tracking/live.py).
    Raises ValueError if the options of the run do not fit the data or if memory is full, and DivergedError (a
    RuntimeError) if the loss is not finite or diverges.
    """
    prepared = prepare(run, inputs, threads)
    if prepared.method.fits:
        progress = fit_method(prepared)
        if distributed.rank() == 0:
            write_results(prepared, progress, threads, output, count_parameters(prepared))
        return
    progress, state = train_epochs(prepared, inputs, cache, on_curves)
    progress.restore(prepared.method)
    counts = count_parameters(prepared)  # before LoRA is merged
    finish_weights(prepared, inputs.backbone, progress)
    if distributed.rank() == 0:
        write_results(prepared, progress, threads, output, counts)
        clear_state(state)


def train_epochs(
    prepared: Prepared, inputs: Inputs, cache: Path, on_curves: OnCurves | None = None
) -> tuple[Progress, Path]:
    """Train all epochs; return the progress and the path of the saved state.

    `progress.kept` holds the weights for the checkpoint.
    """
    spec, method, training = prepared.spec, prepared.method, prepared.spec.training
    parameters, steps = prepared.parameters, len(prepared.train_clips)
    optimizer, schedule = make_optimizer(method, training, steps)
    files = [inputs.splits, inputs.texts, inputs.confusables, inputs.backbone / "weights.safetensors"]
    path = state_path(cache, spec, files, prepared.store.digest())
    progress = load_state(path, method, optimizer, schedule) or Progress()
    progress.seconds += prepared.seconds
    average = Average(parameters, training, training.epochs * steps, progress)
    clock_s = time.perf_counter()

    def save() -> None:
        nonlocal clock_s
        now_s = time.perf_counter()
        progress.seconds, clock_s = progress.seconds + now_s - clock_s, now_s
        save_state(path, progress, method, optimizer, schedule)

    step = choose_step(prepared, optimizer)
    hidden = distributed.hide_progress()
    with (
        tqdm(total=training.epochs, initial=progress.epoch, desc=f"train {spec.run}", disable=hidden) as bar,
        Saver(path, save) as saver,
    ):
        while not finished(progress, training):
            train_epoch(prepared, optimizer, schedule, step, progress, saver, average)
            values = epoch_means(progress) | {"lr": schedule.get_last_lr()[0]}
            with average.in_place():
                values |= validate(prepared, progress)
            progress.end_epoch(values)
            if on_curves:
                on_curves(progress.curves)
            saver.due(whole_epoch=True)
            saver.save()
            bar.update()
            bar.set_postfix(
                {name: f"{value:.3f}" for name, value in values.items() if name not in ("lr", "val_chance")}
            )
    return progress, path


def validate(prepared: Prepared, progress: Progress) -> dict[str, float]:
    """Return the validation metrics (empty without validation clips).

    Keeps the weights in `progress` if they are the best so far, or always with `select: last`.
    """
    objective = prepared.objective
    values = objective.validate(prepared.val_clips) if len(prepared.val_clips) else {}
    score = values.get(objective.best_by, 0.0)
    if prepared.spec.training.select == "last" or score > progress.best:
        progress.best, progress.best_epoch = score, progress.epoch + 1
        progress.keep(prepared.method)
    return values


def train_epoch(
    prepared: Prepared,
    optimizer: Any,
    schedule: Any,
    step: Any,
    progress: Progress,
    saver: Saver,
    average: Average,
) -> None:
    """Train the remaining steps of one epoch.

    Raises DivergedError if the loss is not finite or diverges, and ValueError if memory is full.
    """
    objective, method, clips, training = (
        prepared.objective,
        prepared.method,
        prepared.train_clips,
        prepared.spec.training,
    )
    parameters = prepared.parameters
    method.train()
    unread: Unread = []
    for batch in clips.epoch(progress.epoch, progress.step):
        key = (prepared.spec.seed, progress.epoch, progress.step)
        try:
            batch = mix_clips(batch, method.backbone, training, key)
            if step is None:
                seed_from(*key, 0, 0)
                losses = objective.losses(batch)
                total(losses).backward()
            else:
                losses = step(batch, key)
            if progress.epoch == progress.step == 0:
                require_gradients(method, step.unreached if isinstance(step, DistributedStep) else None)
            update(method, parameters, optimizer, schedule, training.clip_norm)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            size = step.size if step is not None and step.size else len(batch.indices)
            raise ValueError(
                f"out of memory at step {progress.step + 1} of epoch {progress.epoch + 1} with {size} clips per forward "
                f"pass ({first_sentences(error)}); set training.micro_batch: {max(1, size // 2)} and rerun to resume"
            ) from None
        average.update(progress.epoch * len(clips) + progress.step + 1)
        unread.append(({name: loss.detach() for name, loss in losses.items()}, batch.clip_ids))
        progress.step += 1
        save_now = saver.due()  # asked once: a SIGTERM between two calls would save without the losses
        if save_now or len(unread) == READ_EVERY:
            read_losses(unread, progress, training.divergence_factor)
        if save_now:
            saver.save()
    read_losses(unread, progress, training.divergence_factor)


def update(method: Method, parameters: list[nn.Parameter], optimizer: Any, schedule: Any, clip_norm: float) -> None:
    """Clip the gradients, take one step of optimizer and schedule, clamp the logit scale, and clear the gradients.

    A parameter without a gradient gets zeros, so that the result is the same as with several processes.
    """
    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    nn.utils.clip_grad_norm_(parameters, clip_norm)
    optimizer.step()
    method.backbone.clamp_scale()
    schedule.step()
    optimizer.zero_grad()


def require_gradients(method: Method, unreached: set[int] | None = None) -> None:
    """Raise ValueError if the losses of the first step do not depend on a new parameter that trains.

    With several processes such parameters get zeros as gradients; `unreached` holds their ids.
    """
    for name, parameter in method.new_parameters().items():
        if parameter.requires_grad and (parameter.grad is None or id(parameter) in (unreached or ())):
            raise ValueError(
                f"{type(method).__name__}: parameter {name} {tuple(parameter.shape)} gets no gradient in the first step; use "
                "it in what `losses` returns, or do not make it a parameter"
            )


def count_parameters(prepared: Prepared) -> dict[str, int]:
    """Return the numbers of new and of trained parameters, for the cost."""
    method = prepared.method
    trained = method.fitted.values() if method.fits else prepared.parameters
    return {
        "new_parameters": sum(p.numel() for p in method.new_parameters().values()),
        "trained_parameters": sum(p.numel() for p in trained),
    }


def write_results(prepared: Prepared, progress: Progress, threads: int, output: Path, counts: dict[str, int]) -> None:
    """Write the curves and the cost, then the checkpoint. If the checkpoint exists, the training is complete.

    `counts` is the result of `count_parameters`.
    """
    method, device = prepared.method, prepared.train_clips.device
    cost: dict[str, Any] = {
        **counts,
        "train_seconds": progress.seconds,
        "train_clips_seen": prepared.train_clips.items * progress.epoch,
        "processes": distributed.world_size(),
        "threads": threads,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "train_peak_mib": peak_mib(device),
        "commit": code_commit(),
    }
    if progress.wise_ft:
        cost["wise_ft_alpha"] = choose_alpha(progress.wise_ft)
    with atomic_write(output.parent / "curves.parquet") as part:
        pq.write_table(pa.Table.from_pylist(progress.curves), part, write_page_checksum=True)
    with atomic_write(output.parent / "cost.json") as part:
        part.write_text(json.dumps(cost, indent=1))
    save_trained(method, output, {"run": prepared.spec.model_dump(mode="json"), "commit": cost["commit"]})


def finish_weights(prepared: Prepared, folder: Path, progress: Progress) -> None:
    """Merge LoRA into the weights and interpolate them with the pretrained ones in `folder`, as `wise_ft_alpha` says.

    If it is a list, every process calls this: the alpha with the best score of the validation clips is taken, and the
    scores are a curve over alpha (`Progress.wise_ft`).
    """
    method, objective, training = prepared.method, prepared.objective, prepared.spec.training
    backbone, alphas = method.backbone, training.wise_ft_alpha
    backbone.merge_lora()
    if alphas == 1:
        return
    pretrained = pretrained_weights(backbone, folder, training)
    parameters = dict(backbone.named_parameters())
    tuned = {name: parameters[name].detach().clone() for name in pretrained}
    if isinstance(alphas, tuple):
        for alpha in sorted(set(alphas)):
            interpolate(backbone, pretrained, tuned, alpha)
            progress.add_wise_ft(alpha, objective.best_by, objective.validate(prepared.val_clips)[objective.best_by])
        alphas = choose_alpha(progress.wise_ft)
        log.info("wise_ft_alpha %g of %s has the best %s", alphas, progress.wise_ft, objective.best_by)
    interpolate(backbone, pretrained, tuned, alphas)

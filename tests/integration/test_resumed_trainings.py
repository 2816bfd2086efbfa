"""A training that is killed or told to stop, and started again, ends as one that nothing disturbed."""

import logging
import os
import signal

import pyarrow.parquet as pq
import pytest
import torch

from kinetext.training import train
from kinetext.training.objectives import Recognition
from kinetext.training.state import save_state
from left import curve, equal, weights

RECIPE = {
    "num_frames": 2,
    "augment": {"crop": 0.5, "flip": "on", "rand_augment": 9, "erasing": 0.25},
    "mixup": 0.8,
    "cutmix": 1.0,
    "label_smoothing": 0.1,
    "repeats": 2,
    "sampling": "segment",
    "layer_decay": 0.7,
    "weight_averaging": "ema",
    "ema_decay": 0.8,
    "wise_ft_alpha": 0.5,
    "select": "best_val",
    "patience": 3,
}

pytestmark = pytest.mark.usefixtures("on_cpu")


@pytest.fixture
def killed(trained, monkeypatch):
    """As `trained`, but stopped as Ctrl-C would, right after so many epochs were saved."""

    def do(epochs, *run, **training):
        def save_and_die(path, progress, *state):
            save_state(path, progress, *state)
            if progress.epoch == epochs:
                raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(train, "save_state", save_and_die)
            with pytest.raises(KeyboardInterrupt):
                trained(*run, **training)

    return do


def states(tmp_path, name):
    return list((tmp_path / "cache" / name).rglob("*.pt"))


@pytest.mark.parametrize(
    ("method", "training"),
    [
        ("stan", {"image_encoder": "frozen"}),
        ("moted", {"image_encoder": "trained", "text_encoder": "trained", "augment": "crop"}),
    ],
)
def test_a_killed_training_ends_as_one_that_was_not_killed(whole, trained, killed, tmp_path, caplog, method, training):
    undisturbed = whole(method, **training)
    killed(2, method, "killed", **training)
    assert not (tmp_path / "killed" / "checkpoint.safetensors").exists()
    assert len(states(tmp_path, "killed")) == 2  # the last and the one before
    with caplog.at_level(logging.INFO):
        resumed = trained(method, "killed", **training)
    assert "resuming after epoch 2, step 0" in caplog.text
    assert equal(weights(resumed), weights(undisturbed))
    for metric in ("train_loss", "val_loss", "lr"):
        assert curve(resumed, metric) == curve(undisturbed, metric)


def test_a_state_that_cannot_be_read_gives_way_to_the_one_before(whole, trained, killed, tmp_path, caplog):
    undisturbed = whole("mean_pool", image_encoder="frozen")
    killed(2, "mean_pool", "killed", image_encoder="frozen")
    state, earlier = sorted(states(tmp_path, "killed"), key=lambda path: "before" in path.name)
    state.write_bytes(state.read_bytes()[: state.stat().st_size // 2])
    with caplog.at_level(logging.INFO):
        resumed = trained("mean_pool", "killed", image_encoder="frozen")
    assert f"{state}: cannot be read" in caplog.text
    assert "resuming after epoch 1, step 0" in caplog.text
    assert equal(weights(resumed), weights(undisturbed))
    assert not states(tmp_path, "killed")

    killed(2, "mean_pool", "killed", image_encoder="frozen")
    for path in (state, earlier):
        path.write_bytes(b"half")
    caplog.clear()
    with caplog.at_level(logging.INFO):
        resumed = trained("mean_pool", "killed", image_encoder="frozen")
    assert "resuming" not in caplog.text
    assert equal(weights(resumed), weights(undisturbed))


@pytest.mark.parametrize("step", [1, 2, 3])  # 3: all of the epoch's, but not yet validated
def test_a_training_told_to_stop_saves_and_says_so(whole, trained, tmp_path, monkeypatch, caplog, step):
    training = {"image_encoder": "trained", "text_encoder": "trained", "augment": "crop"}
    undisturbed, steps = whole("moted", **training), 0

    def step_and_be_told(self, *arguments, **options):
        nonlocal steps
        steps += 1
        if steps == 3 + step:  # in the second epoch, of three steps each
            os.kill(os.getpid(), signal.SIGTERM)
        return adamw(self, *arguments, **options)

    adamw = torch.optim.AdamW.step
    with monkeypatch.context() as patch:
        patch.setattr(torch.optim.AdamW, "step", step_and_be_told)
        with pytest.raises(SystemExit) as stopped:
            trained("moted", "stopped", **training)
    assert stopped.value.code == 143  # what a shell says of SIGTERM: Snakemake sees a failed job, and may retry it
    assert "the same command resumes from it" in caplog.text
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    with caplog.at_level(logging.INFO):
        resumed = trained("moted", "stopped", **training)
    assert f"resuming after epoch 1, step {step}" in caplog.text
    assert equal(weights(resumed), weights(undisturbed))
    for metric in ("train_loss", "val_loss", "lr"):
        assert curve(resumed, metric) == curve(undisturbed, metric)


def test_a_state_is_not_used_by_another_run(whole, trained, killed, tmp_path):
    killed(2, "mean_pool", "run", image_encoder="frozen")
    alone = whole("mean_pool", image_encoder="frozen", seed=1)
    beside = trained("mean_pool", "run", image_encoder="frozen", seed=1)
    assert equal(weights(beside), weights(alone))
    assert len(states(tmp_path, "run")) == 2  # the first run's still wait


def test_the_best_epoch_is_remembered_by_a_killed_training(trained, killed, monkeypatch):
    def with_validation(*values):
        values = iter(values)
        monkeypatch.setattr(Recognition, "validate", lambda *arguments: {"val_loss": 1.0, "val_top1": next(values)})

    with_validation(0.75, 0.25, 0.5)
    whole = trained("mean_pool", "whole", image_encoder="frozen", select="best_val")
    with_validation(0.75, 0.25)
    killed(2, "mean_pool", "killed", image_encoder="frozen", select="best_val")
    with_validation(0.5)
    assert equal(weights(trained("mean_pool", "killed", image_encoder="frozen", select="best_val")), weights(whole))


@pytest.mark.parametrize("method", ["mean_pool", "moted"])
def test_a_killed_training_with_a_recipe_ends_as_one_that_was_not_killed(trained, killed, method):
    whole = trained(method, "whole", **RECIPE)
    killed(2, method, "killed", **RECIPE)
    resumed = trained(method, "killed", **RECIPE)
    assert equal(weights(resumed), weights(whole))
    curves = [pq.read_table(folder / "curves.parquet").to_pylist() for folder in (resumed, whole)]
    assert curves[0] == curves[1]

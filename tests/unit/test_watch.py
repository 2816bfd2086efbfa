"""What is read of a training's losses: a loss that is no number, or that has exploded, stops it and names step and clips."""

import pytest
import torch

from kinetext.training import setup
from kinetext.training.state import Progress
from kinetext.training.watch import READ_EVERY, read_losses


def unread(values):
    return [
        ({"cross_entropy": torch.tensor(value)}, [f"clip{number}a", f"clip{number}b"])
        for number, value in enumerate(values)
    ]


def test_a_loss_that_is_no_number_names_its_step_and_clips():
    progress = Progress(epoch=2, step=13)  # three steps since step 10 are read now
    with pytest.raises(RuntimeError, match="the loss is nan at step 12 of epoch 3; clips clip1a, clip1b; lower lr"):
        read_losses(unread([1.0, float("nan"), 1.0]), progress, divergence_factor=3.0)
    assert progress.losses == []  # nothing of them is believed


def test_a_loss_that_has_exploded_names_the_worst_step():
    progress = Progress(step=READ_EVERY)
    read_losses(unread([2.0] * READ_EVERY), progress, divergence_factor=3.0)
    progress.step += READ_EVERY
    values = [6.5] * READ_EVERY
    values[7] = 9.0
    with pytest.raises(
        RuntimeError, match=r"diverges: 6.5 is the median .* 2 at the start, 9 at step 58 of epoch 1; clips clip7a"
    ):
        read_losses(unread(values), progress, divergence_factor=3.0)


@pytest.mark.parametrize(("later", "divergence_factor"), [([5.9], 3.0), ([50.0], None), ([2.9], 3.0)])
def test_a_loss_that_grows_less_or_is_not_watched_goes_on(later, divergence_factor):
    start = 0.1 if later == [2.9] else 2.0  # under 1 the start counts as 1: small losses jump
    progress = Progress(step=READ_EVERY)
    read_losses(unread([start] * READ_EVERY), progress, divergence_factor)
    read_losses(unread(later * READ_EVERY), progress, divergence_factor)
    assert len(progress.losses) == 2 * READ_EVERY


def test_a_short_outburst_is_no_explosion():
    progress = Progress(step=READ_EVERY)
    read_losses(unread([2.0] * READ_EVERY), progress, divergence_factor=3.0)
    read_losses(unread([100.0] * (READ_EVERY // 2 - 1)), progress, divergence_factor=3.0)
    assert max(progress.losses) == 100.0


def test_deterministic_mode_asks_torch_for_it(monkeypatch):
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    try:
        setup.use_deterministic_algorithms()
        assert torch.are_deterministic_algorithms_enabled()
        assert not torch.backends.cudnn.benchmark
        assert setup.os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    finally:
        torch.use_deterministic_algorithms(False)

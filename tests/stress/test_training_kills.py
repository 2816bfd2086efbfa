"""A training that is killed twenty times, while it computes, saves or validates, ends as one that was not killed."""

import os
import random
import signal
from threading import Timer

import pytest
import torch

from forked import FORKS
from kinetext.training import state, train
from left import curve, equal, weights

pytestmark = pytest.mark.usefixtures("on_cpu")


def test_twenty_kills_change_nothing(world, trained, tmp_path):
    options = {"image_encoder": "frozen", "text_encoder": "trained", "epochs": 28}  # 84 steps; a life has at most 4
    whole = trained("stan", "whole", **options)
    killed = tmp_path / "killed"
    training = (
        world.write_run(killed, "stan", **options),
        world.inputs(),
        tmp_path / "cache",
        killed / "checkpoint.safetensors",
    )
    chance = random.Random(0)
    for _ in range(20):
        assert live(training, chance.choice((1, 2)), chance.uniform(0.0, 0.03)) == -signal.SIGKILL
    assert live(training) == 0
    assert equal(weights(killed), weights(whole))
    assert curve(killed, "train_loss") == curve(whole, "train_loss")


def live(training, *death):
    """Train in a process of its own, which has touched no GPU before; how it ended."""
    life = FORKS.Process(target=_live, args=(training, death))
    life.start()
    life.join()
    return life.exitcode


def _live(training, death):
    torch.cuda.is_available = lambda: False
    state.SAVE_EVERY_S = 0.0  # after each step
    if death:
        die_after(*death)
    train.train_method(*training)


def die_after(steps, then_s):
    """Have this process killed some time after so many optimizer steps, two more at most: while it computes, saves or
    validates.
    """
    adamw, done = torch.optim.AdamW.step, iter(range(1, 1000))

    def step(self, *arguments, **options):
        number = next(done)
        if number == steps:
            Timer(then_s, os.kill, (os.getpid(), signal.SIGKILL)).start()
        elif number == steps + 2:  # a fast machine would be done before the timer is
            os.kill(os.getpid(), signal.SIGKILL)
        return adamw(self, *arguments, **options)

    torch.optim.AdamW.step = step

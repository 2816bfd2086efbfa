"""Profiling: counted operations against a number by hand, parts that add up, and a file that says what was measured."""

import json
import shutil

import pytest
import torch

from kinetext.training import profile
from kinetext.training.profile import PARTS, Stepper, count_flops, inputs_of, matmul_rate
from kinetext.training.setup import prepare


@pytest.fixture
def results(world, tmp_path):
    """The world as a results folder; the folder of a run in it."""

    def put(method: str, **training):
        run = world.write_run(tmp_path / f"runs/shapes/supervised/tiny/{method}/test/seed0", method, **training)
        about = tmp_path / "data/shapes/supervised/tiny"
        (about / "texts").mkdir(parents=True)
        (tmp_path / "data/shapes/frames/224-shortest-bicubic").mkdir(parents=True)
        shutil.copy(world.splits(), tmp_path / "data/shapes/supervised/splits.parquet")
        shutil.copy(world.frames, tmp_path / "data/shapes/frames/224-shortest-bicubic/00000.arrow")
        shutil.copy(world.texts, about / "texts/test.parquet")
        shutil.copy(world.confusables, about / "confusables.parquet")
        shutil.copytree(world.backbone, tmp_path / "backbones/tiny")
        return run.parent

    return put


def test_a_run_is_measured_and_nothing_of_it_is_kept(results, capsys, monkeypatch):
    monkeypatch.setattr(profile, "matmul_rate", lambda device, dtype, side: matmul_rate(device, dtype, 64, 2))
    folder = results("stan", batch_size=4)
    measured = profile.profile(folder, steps=3, clips=1000, epochs=2, price=3.0)
    assert json.loads((folder / "profile.json").read_text()).keys() == measured.keys()
    assert all(measured[f"{part}_s"] > 0 for part in PARTS)
    assert sum(measured[f"{part}_s"] for part in PARTS) > measured["backward_s"] > measured["optimizer_s"] > 0
    assert measured["clips_per_s"] == pytest.approx(4 / measured["step_s"])
    assert measured["mfu"] == pytest.approx(
        measured["flops_per_clip"] * measured["clips_per_s"] / measured["matmul_flops"]
    )
    assert measured["hours"] == pytest.approx(2000 / measured["clips_per_s"] / 3600)
    assert measured["cost"] == pytest.approx(3 * measured["hours"])
    assert sorted(path.name for path in folder.iterdir()) == ["profile.json", "run.yaml"]
    output = capsys.readouterr().out
    assert "2000 clips in all" in output
    assert "clips/s" in output


def test_operations_are_those_of_the_products(results):
    """mean_pool with a frozen trunk: LayerNorm, a projection of T class tokens, K cosines; forwards once, backwards twice."""
    folder = results("mean_pool", image_encoder="frozen", batch_size=4)
    ready = prepare(folder / "run.yaml", inputs_of(folder), 1)
    width, joint = ready.method.backbone.width, ready.method.backbone.embed_dim
    per_clip = 8 * 2 * width * joint + 2 * joint * 4
    # backwards: the projection's own gradient; the tokens need none, but LayerNorm trains: its input to the projection does
    expected = per_clip + 2 * 8 * 2 * width * joint + 2 * joint * 4
    assert count_flops(Stepper(ready)) == pytest.approx(expected)
    assert all(parameter.grad is None for parameter in ready.parameters)


def test_a_rate_counts_two_operations_a_product(monkeypatch):
    clock = iter(range(100))
    monkeypatch.setattr(profile.time, "perf_counter", lambda: float(next(clock)))
    assert matmul_rate(torch.device("cpu"), torch.float32, side=8, rounds=3) == 2 * 8**3 * 3


def test_a_folder_without_what_training_needs_is_refused(results, tmp_path):
    folder = results("mean_pool")
    (tmp_path / "data/shapes/supervised/tiny/confusables.parquet").unlink()
    with pytest.raises(ValueError, match=r"confusables.parquet: is missing; run `snakemake` first"):
        profile.profile(folder)
    away = folder.rename(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match="not the folder runs/shapes/supervised/tiny/mean_pool"):
        profile.profile(away)


def test_a_run_that_trains_nothing_is_refused(results):
    with pytest.raises(ValueError, match="trains nothing"):
        profile.profile(results("mean_pool", epochs=0))


def test_an_update_is_part_of_a_measured_step(results):
    folder = results("mean_pool", batch_size=4)
    ready = prepare(folder / "run.yaml", inputs_of(folder), 1)
    before = [p.detach().clone() for p in ready.method.parameters() if p.requires_grad]
    profile.time_steps(Stepper(ready), 1)
    assert any(not torch.equal(a, b) for a, b in zip(before, ready.parameters, strict=True))

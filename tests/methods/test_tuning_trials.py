"""tune_method on a few clips of shapes: what a trial scores, and that no test clip has a part in it."""

import json

import pytest
import torch
import yaml

from kinetext.backbones.checkpoint import load_backbone
from kinetext.config.run import Rung, TuningRecord, read_run
from kinetext.core.tables import read_metadata, read_rows, write_table
from kinetext.methods.mean_pool import MeanPool
from kinetext.training.choose import choose_settings
from kinetext.training.design import trial_run
from kinetext.training.objectives import Recognition
from kinetext.training.setup import prepare
from kinetext.training.train import train_method
from kinetext.training.tune import tune_method
from left import curve

pytestmark = pytest.mark.usefixtures("on_cpu")
SPACE = {"training.lr": {"low": 1e-4, "high": 1e-2, "log": True}}


@pytest.fixture
def tune(world, tmp_path):
    """Return a function of a method, its training and splits to the scores of two trials and the chosen setting."""

    def do(method="mean_pool", name="tuned", splits=None, space=SPACE, options=None, **training):
        folder = tmp_path / name
        spec = read_run(world.write_run(folder, method, **({"image_encoder": "frozen", "epochs": 2} | training)))
        record = TuningRecord(trials=2, seed=0, space=space, rungs=[Rung(trials=2, epochs=spec.training.epochs)])
        spec = spec.model_copy(update={"tuning": record, "method_options": options or spec.method_options})
        files = [folder / f"trial{trial}/rung0.json" for trial in range(2)]
        for trial, file in enumerate(files):
            tune_method(trial_run(spec, trial), world.inputs(splits), folder / "cache", file)
        choose_settings(spec.model_dump_json(), files, folder / "setting.yaml", folder / "trials.parquet")
        return [json.loads(file.read_text()) for file in files], yaml.safe_load((folder / "setting.yaml").read_text())

    return do


def test_a_trial_scores_what_its_training_ends_with_on_the_validation_clips(tune, world, tmp_path):
    scores, choice = tune()
    for score in scores:
        assert (score["status"], score["metric"], score["clips"], score["epochs"]) == ("ok", "val_top1", 8, 2)
        assert score["score"] * 8 == round(score["score"] * 8)
    spec = read_run(tmp_path / "tuned/run.yaml")
    record = TuningRecord(trials=2, seed=0, space=SPACE, rungs=[Rung(trials=2, epochs=2)])
    run = tmp_path / "again/run.yaml"
    run.parent.mkdir()
    run.write_text(yaml.safe_dump(trial_run(spec.model_copy(update={"tuning": record}), 1).model_dump(mode="json")))
    train_method(run, world.inputs(), tmp_path / "again/cache", run.with_name("checkpoint.safetensors"))
    assert curve(run.parent, "val_top1")[-1] == scores[1]["score"]
    assert choice["score"] == max(score["score"] for score in scores)
    assert not list((tmp_path / "tuned/cache").rglob("*.pt"))  # the state of a finished trial is deleted


def test_permuted_test_labels_change_no_score_and_no_choice(tune, world, tmp_path):
    splits = world.splits()
    rows = read_rows("splits", splits)
    tests = [row for row in rows if row["split"] == "test"]
    labels = [row["label"] for row in tests]
    for row, label in zip(tests, labels[3:] + labels[:3], strict=True):
        row["label"] = label
    assert labels != [row["label"] for row in tests]
    permuted = tmp_path / "permuted.parquet"
    write_table("splits", rows, permuted, read_metadata(splits))
    (before, choice), (after, choice_after) = tune(name="as_is", splits=splits), tune(name="turned", splits=permuted)
    for one, other in zip(before, after, strict=True):
        assert {**one, "seconds": 0} == {**other, "seconds": 0}
    assert choice == choice_after


def test_splits_without_validation_clips_are_refused(tune, world, tmp_path):
    splits = world.splits()
    rows = [row for row in read_rows("splits", splits) if row["split"] != "val"]
    write_table("splits", rows, tmp_path / "splits.parquet", read_metadata(splits))
    with pytest.raises(ValueError, match="tuning judges by validation clips, and supervised of shapes sets none aside"):
        tune(splits=tmp_path / "splits.parquet")


def test_a_trial_that_diverges_has_no_score_and_the_other_one_is_chosen(tune, monkeypatch):
    losses = MeanPool.losses

    def explode(self, batch):
        # only trial 1: the other one has the learning rate of the run
        factor = float("nan") if self.training and self.diverges else 1.0
        return {name: factor * loss for name, loss in losses(self, batch).items()}

    def prepare_it(spec, inputs, threads):
        prepared = prepare(spec, inputs, threads)
        prepared.method.diverges = spec.run.endswith("trial1/rung0")
        return prepared

    monkeypatch.setattr(MeanPool, "losses", explode)
    monkeypatch.setattr("kinetext.training.tune.prepare", prepare_it)
    scores, choice = tune()
    assert scores[1]["status"].startswith("diverged: the loss is nan at step ")
    assert scores[1]["score"] is None
    assert choice["trial"] == 0


@pytest.mark.parametrize(
    ("method", "space", "training"),
    [
        ("linear_probe", {"options.C": {"low": 0.01, "high": 100.0, "log": True}}, {}),
        ("zero_shot", {"training.temperature": {"choices": [0.01, 0.1]}}, {"epochs": 0}),
    ],
)
def test_methods_that_are_fitted_or_not_trained_are_judged_too(tune, method, space, training):
    scores, _ = tune(method, space=space, **training)
    assert [score["status"] for score in scores] == ["ok", "ok"]


def test_the_weights_that_are_judged_are_those_that_would_be_written(tune, world, monkeypatch):
    """With wise_ft_alpha 0 the weights are those before training, whatever was trained."""
    validate, judged = Recognition.validate, []

    def record(self, batches):
        judged.append(self.method.backbone.visual.proj.detach().clone())
        return validate(self, batches)

    monkeypatch.setattr(Recognition, "validate", record)
    tune(space={"training.wise_ft_alpha": {"choices": [0.0, 0.0]}}, epochs=1, lr=1e-2)
    (after_epoch, trained), (after_epoch_1, interpolated) = judged[:2], judged[2:]
    assert torch.equal(trained, after_epoch)
    assert torch.equal(interpolated, load_backbone(world.backbone).visual.proj)
    assert not torch.equal(interpolated, after_epoch_1)

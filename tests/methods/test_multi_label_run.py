"""Clips of shapes with two labels each, from the list to predictions, metrics and `classify`."""

import itertools

import numpy as np
import pytest
import torch

from few_draws import measure_quickly
from kinetext.config.data import DatasetOptions, FrameOptions
from kinetext.config.texts import ConfusablesOptions
from kinetext.core import tables
from kinetext.core.tensors import load_tensors
from kinetext.data.frames import extract_clip
from kinetext.data.index import index_clips
from kinetext.evaluation.calibration import sigmoid
from kinetext.evaluation.predict import predict_clips
from kinetext.evaluation.predictions import read_predictions
from kinetext.texts.mining import mine_confusables
from kinetext.training.objectives import total
from kinetext.training.setup import choose_step, prepare
from kinetext.training.threshold import find_threshold
from kinetext.training.train import train_method
from left import curve
from several import LABELS, write_clips
from worlds import World, text_rows

pytestmark = pytest.mark.usefixtures("on_cpu")


@pytest.fixture(scope="module")
def several(tmp_path_factory, tiny_folder):
    """Eight training, four validation and four test clips with a motion and a colour each."""
    from kinetext.backbones.embed import embed_labels

    folder = tmp_path_factory.mktemp("several")
    world = World(folder, tiny_folder, LABELS)
    options = DatasetOptions(module="csv", options=write_clips(folder))
    index_clips("mine", options, world.clips, *(folder / name for name in ("shards.txt", "media", "cache")))
    frames = FrameOptions(num_frames=8, size_px=64, encoding="raw")
    world.keep_frames([extract_clip(row, frames) for row in tables.read_rows("clips", world.clips)])
    tables.write_table("texts", text_rows(LABELS), world.texts)
    embed_labels(tiny_folder, world.clips, folder / "labels.npz")
    mine_confusables(world.clips, world.splits(), [], folder / "labels.npz", ConfusablesOptions(), world.confusables)
    return world


@pytest.fixture
def ran(several, tmp_path):
    """A function of a method and its training to the folder of its run, measured."""

    def do(method, name="run", **training):
        folder = tmp_path / name
        run, inputs = several.write_run(folder, method, **{"image_encoder": "frozen", **training}), several.inputs()
        checkpoint = folder / "checkpoint.safetensors" if method != "zero_shot" else None
        if checkpoint:
            train_method(run, inputs, tmp_path / "cache", checkpoint)
        predictions = folder / "predictions.parquet"
        predict_clips(run, inputs.splits, [several.frames], inputs.texts, inputs.backbone, checkpoint, predictions)
        measure_quickly(folder, predictions, inputs.confusables, folder / "metrics.parquet")
        return folder

    return do


def test_clips_have_a_motion_and_a_colour(several):
    rows = tables.read_rows("clips", several.clips)
    assert {row["label"] for row in rows} == {None}
    assert {tuple(row["labels"]) for row in rows} == {
        (m, c) for m in ("moving right", "moving left") for c in ("red", "blue")
    }
    assert tables.read_metadata(several.clips)["multi_label"]
    rules = {row["rule"] for row in tables.read_rows("confusables", several.confusables)}
    assert rules == {"text"}  # confusion of clips is not defined where a clip has both classes


def test_a_run_from_training_to_precision(ran):
    folder = ran("mean_pool", epochs=3)
    rows = tables.read_rows("predictions", folder / "predictions.parquet")
    assert {(row["target"], len(row["targets"])) for row in rows} == {(None, 2)}
    sample = read_predictions(folder / "predictions.parquet")["test", "ordered"]
    assert sample.labels_BK.sum(1).tolist() == [2] * 4
    metrics = {row["metric"] for row in tables.read_rows("metrics", folder / "metrics.parquet")}
    assert metrics == {"map", "lrap"}
    assert len(curve(folder, "val_map")) == len(curve(folder, "val_loss")) == 3
    assert 0 <= curve(folder, "val_map")[-1] <= 1
    positives, clips = 2, 4  # of each label, on validation clips; the mean over the rankings by hand
    rankings = list(itertools.combinations(range(1, clips + 1), positives))
    by_hand = np.mean([np.mean(np.array([1, 2]) / ranking) for ranking in rankings])
    assert curve(folder, "val_chance") == pytest.approx([by_hand] * 3)
    calibration = tables.read_metadata(folder / "predictions.parquet")["calibration"]
    assert calibration["odds"]


def test_training_learns_more_than_the_share_of_each_label(ran):
    folder = ran("mean_pool", epochs=10, lr=1e-3, image_encoder="trained", batch_size=8)
    assert curve(folder, "train_loss")[-1] < np.log(2) - 0.03  # each label has half of the clips
    sample = read_predictions(folder / "predictions.parquet")["test", "ordered"]
    assert abs(sigmoid(sample.scores_BK).mean() - 0.5) < 0.2  # scores are log-odds


def test_the_threshold_is_trained_and_saved(ran):
    folder = ran("mean_pool", epochs=1)
    tensors, _ = load_tensors(folder / "checkpoint.safetensors")
    assert tensors["label_threshold"].abs() > 0
    assert curve(folder, "train_loss")[0] == pytest.approx(np.log(2), abs=0.15)  # it starts at the share of labels


def test_an_untrained_method_is_scored_without_a_threshold(ran):
    folder = ran("zero_shot")
    sample = read_predictions(folder / "predictions.parquet")["test", "ordered"]
    assert sample.multi_label
    assert np.isfinite(sample.scores_BK).all()


def test_a_batch_in_pieces_has_the_gradient_of_the_whole(several, tmp_path):
    gradients = []
    for micro_batch in (None, 2):
        run = several.write_run(tmp_path, "mean_pool", micro_batch=micro_batch, batch_size=8, epochs=1)
        prepared = prepare(run, several.inputs(), 1)
        batch = next(prepared.train_clips.epoch(0))
        step = choose_step(prepared, None)
        if step is None:
            total(prepared.objective.losses(batch)).backward()
        else:
            step(batch, (0,))
        gradients.append(torch.cat([p.grad.flatten() for p in prepared.parameters]))
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("method", ["linear_probe", "moted"])
def test_a_method_with_losses_of_its_own_is_refused(several, tmp_path, method):
    run = several.write_run(tmp_path, method)
    with pytest.raises(ValueError, match=f"{method} serves one class per clip, and these have several"):
        prepare(run, several.inputs(), 1)


def test_the_threshold_gives_the_share_of_labels():
    scores_BK = torch.randn(50, 6, generator=torch.Generator().manual_seed(0)) * 3 + 20
    threshold = find_threshold(scores_BK, 0.2)
    assert float((scores_BK - threshold).sigmoid().mean()) == pytest.approx(0.2, abs=1e-5)

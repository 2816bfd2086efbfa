"""moted from few clips, and on classes that it never saw: trained and tested as the pipeline does it, on a few shapes."""

import numpy as np
import pytest

from kinetext.backbones.open_clip_vit import OpenClipViT
from kinetext.config.data import ProtocolOptions
from kinetext.data.splits import read_splits, split_clips
from kinetext.evaluation.predict import predict_clips
from kinetext.evaluation.predictions import read_predictions
from kinetext.training.train import train_method

NOVEL = ["growing", "shrinking"]
TRAINING = {"image_encoder": "frozen", "text_encoder": "frozen", "epochs": 1, "lr": 1e-3, "lr_new": 1e-2}


@pytest.fixture
def path(world, tmp_path):
    """A function of a protocol to where its table `splits` lies."""

    def do(protocol, **source):
        output = tmp_path / f"{protocol}.parquet"
        split_clips("shapes", world.clips, [world.frames], protocol, ProtocolOptions(novel=NOVEL), output, **source)
        return output

    return do


def train(world, folder, splits):
    run = world.write_run(folder, "moted", **TRAINING)
    inputs = world.inputs(splits)
    train_method(run, inputs, folder / "cache", folder / "checkpoint.safetensors")
    return folder


def predict(world, folder, splits, trained):
    checkpoint = folder / "checkpoint.safetensors" if trained else None
    output = folder / f"{splits.stem}_{trained}.parquet"
    predict_clips(folder / "run.yaml", splits, [world.frames], world.texts, world.backbone, checkpoint, output)
    return {
        split: predictions for (split, order), predictions in read_predictions(output).items() if order == "ordered"
    }


def test_moted_learns_from_few_clips_and_is_tested_on_all(world, path, tmp_path):
    splits = path("few_shot_2")
    folder = train(world, tmp_path / "run", splits)
    assert len(read_splits(splits)["train"].rows) == 2 * 4
    predictions, before = (predict(world, folder, splits, trained)["test"] for trained in (True, False))
    assert predictions.labels == world.labels
    assert predictions.scores_BK.shape == (8, 4)
    assert np.isfinite(predictions.scores_BK).all()
    assert np.abs(predictions.scores_BK - before.scores_BK).max() > 1e-2


def test_moted_recognises_classes_that_it_only_has_descriptions_of(world, path, tmp_path):
    """Held out of training (novel), or met in another data set (unseen): one checkpoint, the same scores."""
    base = path("base_to_novel")
    folder = train(world, tmp_path / "run", base)
    other = path("zero_shot_from_first", source=base, source_frames=[world.frames])
    novel = predict(world, folder, base, True)["novel"]
    strange = predict(world, folder, other, True)
    assert novel.labels == strange["unseen"].labels == NOVEL
    assert strange["test"].labels == world.labels
    assert novel.scores_BK.shape == (4, 2)
    np.testing.assert_allclose(strange["unseen"].scores_BK, novel.scores_BK, rtol=1e-5)
    assert np.ptp(novel.scores_BK, axis=1).min() > 1e-3  # the two descriptions differ


def test_frozen_texts_are_encoded_once_in_a_whole_training(world, path, tmp_path, monkeypatch):
    calls = []
    encode = OpenClipViT.encode_text

    def counted(self, tokens):
        calls.append(len(tokens.ids_KL))
        return encode(self, tokens)

    monkeypatch.setattr(OpenClipViT, "encode_text", counted)
    train(world, tmp_path / "run", path("supervised"))
    assert sum(calls) == 4 * 3  # four classes, each with a name, a start and an end; nothing a step, nothing an epoch

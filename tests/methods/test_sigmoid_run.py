"""training.loss: sigmoid, from the first step to predictions, for classes and for captions."""

import pytest
import torch
import torch.nn.functional as F

from kinetext.core import tables
from kinetext.core.tensors import load_tensors
from kinetext.evaluation.predict import predict_clips
from kinetext.methods.base import THRESHOLD_SCALE
from kinetext.training.setup import prepare
from kinetext.training.train import train_method
from left import curve


@pytest.fixture(params=["world", "captioned"])
def data(request, on_cpu):
    return request.getfixturevalue(request.param)


def ready(data, folder, **training):
    return prepare(data.write_run(folder, "mean_pool", loss="sigmoid", **training), data.inputs(), 1)


def test_the_first_batch_has_the_right_share_of_positive_pairs(data, tmp_path):
    prepared = ready(data, tmp_path, image_encoder="trained")
    batch = next(prepared.train_clips.epoch(0))
    prepared.method.eval()
    with torch.no_grad():
        loss = prepared.objective.losses(batch)
        assert list(loss) == ["sigmoid"]
        if data.labels:
            scores_BK = prepared.method.score(prepared.method.encode_video(batch.clips), prepared.objective.text())
            target_B = batch.text_N
        else:
            scores_BK = prepared.method.score(*prepared.objective.encode(batch))
            target_B = torch.arange(len(scores_BK))
        logits_BK = scores_BK - THRESHOLD_SCALE * prepared.method.label_threshold
    K = scores_BK.shape[1]
    assert logits_BK.sigmoid().mean().item() == pytest.approx(1 / K, rel=1e-3)
    wanted_BK = F.one_hot(target_B, K).float()
    losses_BK = F.binary_cross_entropy_with_logits(logits_BK, wanted_BK, reduction="none")
    assert loss["sigmoid"].item() == pytest.approx(losses_BK.sum(1).mean().item(), rel=1e-5)


def test_a_run_learns_and_is_tested_with_its_checkpoint(data, tmp_path):
    options = {"image_encoder": "frozen", "text_encoder": "trained", "epochs": 6, "lr": 1e-4, "select": "best_val"}
    folder = tmp_path / "run"
    run_yaml = data.write_run(folder, "mean_pool", loss="sigmoid", **options)
    train_method(run_yaml, data.inputs(), tmp_path / "cache", folder / "checkpoint.safetensors")
    losses = curve(folder, "train_loss")
    assert losses[-1] < losses[0]
    assert len(curve(folder, "val_loss")) == 6
    tensors, _ = load_tensors(folder / "checkpoint.safetensors")
    assert tensors["label_threshold"].abs() > 0
    files = data.inputs()
    sources = (files.splits, files.frames, files.texts, files.backbone)
    predict_clips(run_yaml, *sources, folder / "checkpoint.safetensors", folder / "predictions.parquet")
    assert tables.read_rows("predictions", folder / "predictions.parquet")


def test_a_bias_of_the_backbone_takes_the_place_of_the_threshold(tiny):
    from method_inputs import build

    method = build(tiny, "mean_pool")
    assert method.needs_threshold("sigmoid", multi_label=False)
    assert not method.needs_threshold("softmax", multi_label=False)
    tiny.has_bias = True
    try:
        assert not method.needs_threshold("sigmoid", multi_label=False)
        assert method.needs_threshold("softmax", multi_label=True)
    finally:
        del tiny.has_bias

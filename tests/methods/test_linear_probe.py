"""linear_probe equals scikit-learn's regression on the same features, and goes through a checkpoint."""

import json

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from kinetext.backbones.checkpoint import load_backbone
from kinetext.methods.base import build_method
from kinetext.methods.checkpoint import load_trained
from left import curve

pytestmark = pytest.mark.usefixtures("on_cpu")


@pytest.mark.parametrize("classes", [2, 3])
def test_scores_are_the_regressions_log_probabilities(tiny, classes):
    generator = torch.Generator().manual_seed(0)
    frames_NTD = torch.randn(30, 6, tiny.embed_dim, generator=generator)
    target_N = torch.arange(30) % classes
    method = build_method(tiny, "linear_probe", {"pool": "thirds", "C": 3.0})
    text = torch.zeros(classes, tiny.embed_dim)
    method.fit(frames_NTD, target_N, text)
    thirds = [frames_NTD[:, part].mean(1) for part in (slice(0, 2), slice(4, 6))]
    x = np.concatenate([(t / t.norm(dim=-1, keepdim=True)).double().numpy() for t in thirds], 1)
    model = LogisticRegression(C=3.0, max_iter=1000).fit(x, target_N.numpy())
    ours = method.score(method.encode_frames(frames_NTD), text).log_softmax(-1)
    np.testing.assert_allclose(ours.numpy(), model.predict_log_proba(x), atol=1e-4)


def test_a_class_without_a_clip_and_other_classes_are_refused(tiny):
    method = build_method(tiny, "linear_probe", {})
    text = torch.zeros(3, tiny.embed_dim)
    with pytest.raises(ValueError, match="is not fitted yet"):
        method.score(torch.zeros(1, tiny.embed_dim), text)
    with pytest.raises(ValueError, match="class 2 has no training clip"):
        method.fit(torch.randn(4, 2, tiny.embed_dim), torch.tensor([0, 1, 0, 1]), text)
    method.fit(torch.randn(6, 2, tiny.embed_dim), torch.arange(6) % 3, text)
    with pytest.raises(ValueError, match="was fitted to 3 classes and cannot score 2"):
        method.score(torch.zeros(1, tiny.embed_dim), text[:2])


def test_train_method_fits_once_and_writes_a_checkpoint(trained, world):
    folder = trained("linear_probe")
    cost = json.loads((folder / "cost.json").read_text())
    method = build_method(load_backbone(world.backbone), "linear_probe", {})
    load_trained(method, folder / "checkpoint.safetensors")
    assert set(method.fitted) == {"weight_KF", "bias_K"}
    assert cost["trained_parameters"] == 4 * (method.backbone.embed_dim + 1)
    assert cost["new_parameters"] == 0
    assert len(curve(folder, "train_top1")) == len(curve(folder, "val_top1")) == 1

"""A backbone without a text encoder: check-config refuses methods that need texts, and a linear probe runs to its scores."""

import numpy as np
import pytest
import torch
import yaml

from kinetext.backbones.architecture import token_limit
from kinetext.backbones.checkpoint import save_backbone
from kinetext.backbones.embed import embed_frames, embed_labels
from kinetext.config.texts import ConfusablesOptions
from kinetext.core import plugins, tables
from kinetext.evaluation.predict import predict_clips
from kinetext.plan import check_config
from kinetext.texts.mining import mine_confusables
from kinetext.training.setup import Inputs
from kinetext.training.train import train_method
from repository import HELPERS

FAMILY = '''"""kinetext-tiny without its text encoder."""
from kinetext.contracts.inputs import TinyWithoutText


class Pictures(TinyWithoutText):
    """The image encoder alone."""

    @classmethod
    def token_counter(cls, architecture):
        raise NotImplementedError
'''


@pytest.fixture
def module(tmp_path):
    (tmp_path / "pictures.py").write_text(FAMILY)
    return str(tmp_path / "pictures.py")


def config(module, method, **parts):
    values = yaml.safe_load((HELPERS / "tiny.yaml").read_text())
    values["backbones"]["tiny"] = {"module": module}
    values["methods"] = {method: values["methods"].get(method, {})}
    values["experiments"] = {"tiny": {**values["experiments"]["tiny"], "methods": [method], "protocol": "supervised"}}
    return check_config({**values, **parts})


def test_a_method_that_needs_texts_is_refused(module):
    message = (
        "experiments.tiny: mean_pool compares clips with texts, and backbone tiny has no text encoder; take a method"
    )
    with pytest.raises(ValueError, match=message):
        config(module, "mean_pool")
    assert config(module, "linear_probe")
    with pytest.raises(ValueError, match="rule: text needs the features of the class names, and backbone tiny has no"):
        config(module, "linear_probe", confusables={"rule": "text"})


@pytest.mark.usefixtures("on_cpu")
def test_a_linear_probe_is_fitted_and_scores(module, world, tmp_path):
    torch.manual_seed(0)
    backbone = tmp_path / "backbone"
    save_backbone(plugins.load("backbones", module)(), backbone, {"weights": "random"}, module)
    context_length, count = token_limit(backbone)
    assert (context_length, count("a red circle")) == (32, 0)
    features, names, mined = tmp_path / "00000.arrow", tmp_path / "labels.npz", tmp_path / "confusables.parquet"
    embed_frames(backbone, world.frames, features)
    embed_labels(backbone, world.clips, names)
    mine_confusables(world.clips, world.splits(), [features], names, ConfusablesOptions(), mined)
    assert {row["rule"] for row in tables.read_rows("confusables", mined)} == {"features", "declared"}
    run = world.write_run(tmp_path / "run", "linear_probe")
    inputs = Inputs(world.splits(), [world.frames], world.texts, mined, backbone)
    train_method(run, inputs, tmp_path / "cache", tmp_path / "run/checkpoint.safetensors")
    output = tmp_path / "run/predictions.parquet"
    weights = tmp_path / "run/checkpoint.safetensors"
    predict_clips(run, world.splits(), [world.frames], world.texts, backbone, weights, output)
    rows = tables.read_rows("predictions", output)
    assert np.isfinite([row["score_K"] for row in rows]).all()
    assert {len(row["score_K"]) for row in rows} == {4}

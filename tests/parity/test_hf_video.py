"""Video encoders equal those of transformers, from random configurations, with its classification heads on top."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from kinetext.backbones import hf_video
from kinetext.backbones.architecture import read_architecture
from kinetext.backbones.checkpoint import load_backbone, save_backbone
from kinetext.backbones.embed import embed_frames, prepare_backbone
from kinetext.backbones.hf_video import HfVideo
from kinetext.config.backbone import BackboneOptions
from kinetext.core.schemas import FRAME_ORDERS
from kinetext.core.tables import open_shard, read_rows
from kinetext.data.store import FrameStore
from kinetext.evaluation.predict import predict_clips
from kinetext.methods.base import build_method
from kinetext.methods.checkpoint import load_trained
from kinetext.plan import check_config
from kinetext.training.train import train_method
from small_video import needs_transformers, videomae, vjepa

MODELS = {"vjepa2": vjepa, "videomae": videomae}


def clips(frames=8, clips=2):
    return torch.randn(clips, frames, 3, 64, 64, generator=torch.Generator().manual_seed(1))


def save(model, folder):
    """Save a model of transformers; return the backbone that is read from there, in float64."""
    model.save_pretrained(folder)
    return HfVideo.prepare(HfVideo.Config(weights=str(folder))).double().eval()


@needs_transformers
def test_v_jepa_2_equals_transformers_with_its_attentive_pooler(tmp_path):
    model, frames_BTCHW = vjepa().double(), clips().double()
    backbone = save(vjepa(), tmp_path)
    with torch.no_grad():
        tokens_BTNV = backbone.visual_tokens(frames_BTCHW, (2,))[2]
        assert tokens_BTNV.shape == (2, 4, 4, 48)
        expected = model.vjepa2(frames_BTCHW, skip_predictor=True).last_hidden_state
        torch.testing.assert_close(tokens_BTNV.flatten(1, 2), expected, rtol=1e-9, atol=1e-9)
        logits = model.classifier(model.pooler(tokens_BTNV.flatten(1, 2)))
        torch.testing.assert_close(logits, model(frames_BTCHW).logits, rtol=1e-9, atol=1e-9)


@needs_transformers
@pytest.mark.parametrize("use_mean_pooling", [True, False])
def test_videomae_equals_transformers_with_its_classification_head(tmp_path, use_mean_pooling):
    model, frames_BTCHW = videomae(use_mean_pooling).double(), clips().double()
    backbone = save(videomae(use_mean_pooling), tmp_path)
    with torch.no_grad():
        tokens_BTNV = backbone.visual_tokens(frames_BTCHW, (2,))[2]
        assert tokens_BTNV.shape == (2, 4, 4, 48)
        expected = model.videomae(frames_BTCHW).last_hidden_state
        torch.testing.assert_close(tokens_BTNV.flatten(1, 2), expected, rtol=1e-9, atol=1e-9)
        if use_mean_pooling:
            logits = model.classifier(model.fc_norm(backbone.encode_frames(frames_BTCHW).mean(1)))
            torch.testing.assert_close(logits, model(frames_BTCHW).logits, rtol=1e-9, atol=1e-9)


@needs_transformers
def test_names_of_biases_before_transformers_5_are_read(tmp_path):
    expected = save(videomae(), tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    renamed = {n.replace("query.bias", "q_bias").replace("value.bias", "v_bias"): t for n, t in tensors.items()}
    save_file(renamed, tmp_path / "model.safetensors")
    backbone = HfVideo.prepare(HfVideo.Config(weights=str(tmp_path))).double().eval()
    assert torch.equal(backbone.encode_frames(clips().double()), expected.encode_frames(clips().double()))


@needs_transformers
@pytest.mark.parametrize("name", MODELS)
def test_a_prepared_encoder_is_read_without_the_folder(tmp_path, name):
    backbone = save(MODELS[name](), tmp_path / "hub").float()
    save_backbone(backbone, tmp_path / "saved", {"weights": "test"})
    facts = HfVideo.prepared_facts(None, read_architecture(tmp_path / "saved"))
    assert facts == HfVideo.facts(HfVideo.Config(weights=str(tmp_path / "hub")))
    loaded = load_backbone(tmp_path / "saved")
    assert torch.equal(loaded.encode_frames(clips()), backbone.encode_frames(clips()))
    assert not any("predictor" in tensor or "classifier" in tensor for tensor in backbone.stored_tensors())


@needs_transformers
def test_pixels_are_those_of_the_folder_or_imagenets(tmp_path):
    assert save(vjepa(), tmp_path).preprocess == hf_video.IMAGENET
    pixels = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.25, 0.25, 0.25]}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(pixels))
    backbone = HfVideo.prepare(HfVideo.Config(weights=str(tmp_path)))
    assert backbone.preprocess.mean == (0.5, 0.5, 0.5)
    assert backbone.preprocess.std == (0.25, 0.25, 0.25)


@needs_transformers
def test_weights_that_do_not_fit_are_refused(tmp_path):
    save(vjepa(), tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    part = {name: tensor for name, tensor in tensors.items() if "layer.1" not in name}
    save_file(part, tmp_path / "model.safetensors")
    options = HfVideo.Config(weights=str(tmp_path))
    with pytest.raises(ValueError, match=r"lacks \d+ tensors of the encoder, such as encoder\.layer\.1"):
        HfVideo.prepare(options)
    save_file({name: t[:1].clone() for name, t in tensors.items()}, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=r"should be .*; is config\.json that of the weights"):
        HfVideo.prepare(options)
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(ValueError, match="model_type is 'bert'; hf_video takes vjepa2 and videomae"):
        HfVideo.facts(options)
    with pytest.raises(ValueError, match=r"has no config\.json; give a folder that holds"):
        HfVideo.facts(HfVideo.Config(weights=str(tmp_path / "none")))


@needs_transformers
def test_clips_of_other_lengths_and_methods_inside_the_encoder_are_refused(tmp_path):
    jepa, mae = save(vjepa(), tmp_path / "a").float(), save(videomae(), tmp_path / "b").float()
    assert jepa.encode_frames(clips(4)).shape == (2, 2, 48)  # rotary positions: any number of steps
    with pytest.raises(ValueError, match="takes clips of a multiple of 2 frames, not 5"):
        jepa.encode_frames(clips(5))
    with pytest.raises(ValueError, match="takes clips of exactly 8 frames, not 4"):
        mae.encode_frames(clips(4))
    with pytest.raises(ValueError, match="this method changes the layers of an image encoder"):
        jepa.visual_tokens(clips(), (2,), lambda number, layer, x: x)


@needs_transformers
def test_probes_read_steps_of_tokens_and_see_the_order_of_frames(tmp_path):
    backbone = save(vjepa(), tmp_path).float()
    method = build_method(backbone, "linear_probe", {"C": 100.0}).eval()
    assert method.mixes_frames
    with torch.inference_mode():
        frames_NTD = method.frame_features(method.image_tokens(clips(clips=4)))
        assert frames_NTD.shape == (4, 4, 48)
        method.fit(frames_NTD, torch.tensor([0, 1, 0, 1]), torch.zeros(2, 0))
        score = method.score(method.encode_video(clips()), torch.zeros(2, 0))
        turned = method.score(method.encode_video(clips().flip(1)), torch.zeros(2, 0))
    assert (score - turned).abs().max() > 1e-3  # the mean of steps, too, depends on it


@needs_transformers
def test_features_of_frames_are_steps_of_tokens(world, tmp_path):
    videomae().save_pretrained(tmp_path / "hub")
    options = BackboneOptions(module="hf_video", weights=str(tmp_path / "hub"))
    prepare_backbone(options, tmp_path / "backbone")
    embed_frames(tmp_path / "backbone", world.frames, tmp_path / "features.arrow")
    features = open_shard("features", tmp_path / "features.arrow")["frame_TD"].to_pylist()
    assert {np.shape(frame_TD) for frame_TD in features} == {(4, 48)}
    assert np.isfinite(features).all()


@needs_transformers
@pytest.mark.usefixtures("on_cpu")
@pytest.mark.parametrize("probe", ["linear_probe", "knn", "attentive_probe"])
def test_a_probe_is_trained_and_tested_with_frames_encoded_again_for_each_order(probe, world, tmp_path):
    vjepa().save_pretrained(tmp_path / "hub")
    prepare_backbone(BackboneOptions(module="hf_video", weights=str(tmp_path / "hub")), tmp_path / "backbone")
    run, checkpoint = world.write_run(tmp_path, probe), tmp_path / "checkpoint.safetensors"
    options = yaml.safe_load(run.read_text()) | {"dataset_options": {"frames": {"interpolation": "bilinear"}}}
    run.write_text(yaml.safe_dump(options))  # as the weights need it
    train_method(run, replace(world.inputs(), backbone=tmp_path / "backbone"), tmp_path / "cache", checkpoint)
    output = tmp_path / "predictions.parquet"
    predict_clips(run, world.splits(), [world.frames], world.texts, tmp_path / "backbone", checkpoint, output)
    rows = read_rows("predictions", output)
    scores = {order: np.array([r["score_K"] for r in rows if r["frame_order"] == order]) for order in FRAME_ORDERS}
    store = FrameStore([world.frames])
    frames_BTCHW = store.batch([row["clip_id"] for row in rows if row["frame_order"] == "reversed"]).flip(1)
    method = build_method(load_backbone(tmp_path / "backbone"), probe, options["method_options"]).eval()
    load_trained(method, checkpoint)
    with torch.inference_mode():
        expected_BK = method.score(method.encode_video(frames_BTCHW), torch.zeros(4, 0))
    np.testing.assert_allclose(scores["reversed"], expected_BK, atol=1e-4)
    assert np.abs(scores["reversed"] - scores["ordered"]).max() > 1e-3


@needs_transformers
def test_a_configuration_is_checked_for_texts_and_numbers_of_frames(tmp_path):
    videomae().save_pretrained(tmp_path)
    values = {
        "backbones": {"video": {"module": "hf_video", "weights": str(tmp_path)}},
        "datasets": {"shapes": {"frames": {"num_frames": 8, "size_px": 64, "interpolation": "bilinear"}}},
        "texts": {"names": {}},
        "methods": {"linear_probe": {}, "zero_shot": {}},
        "experiments": {
            "one": {"datasets": ["shapes"], "backbone": "video", "methods": ["linear_probe"], "texts": ["names"]}
        },
    }
    check_config(values)
    values["methods"]["linear_probe"] = {"num_frames": 6, "training": {"sampling": "segment"}}
    with pytest.raises(
        ValueError, match=r"backbone video takes clips of exactly 8 frames, not 6; set methods\.linear_p"
    ):
        check_config(values)
    values["experiments"]["one"]["methods"] = ["zero_shot"]
    with pytest.raises(ValueError, match="backbone video has no text encoder"):
        check_config(values)


def test_without_transformers_a_sentence_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(hf_video.importlib.util, "find_spec", lambda name: None)
    (tmp_path / "config.json").write_text('{"model_type": "vjepa2"}')
    with pytest.raises(
        ValueError, match=r"needs the package transformers; install it: pip install 'kinetext\[video\]'"
    ):
        HfVideo.facts(HfVideo.Config(weights=str(tmp_path)))

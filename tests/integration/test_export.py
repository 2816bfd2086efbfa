"""`kinetext export`: the written model gives the scores of the run, without the results folder."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch

from kinetext.core.tables import read_rows
from kinetext.evaluation.classify import VideoClassifier, classify, load_classifier
from kinetext.evaluation.export_model import export_model
from kinetext.evaluation.onnx_session import PACKAGES, require_onnx
from kinetext.evaluation.run_files import find_run_files
from results import make_results

pytestmark = pytest.mark.usefixtures("on_cpu")
NO_ONNX = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
needs_onnx = pytest.mark.skipif(bool(NO_ONNX), reason=f"onnx: {', '.join(NO_ONNX)} not installed")
FRAMES = {"num_frames": 8, "size_px": 64, "encoding": "raw"}


@pytest.fixture(scope="module")
def run(world, tmp_path_factory):
    results = make_results(world, tmp_path_factory.mktemp("export") / "results")
    (file,) = results.glob("runs/**/run.yaml")
    return file.parent


@pytest.fixture
def video(world):
    return next(Path(row["path"]) for row in read_rows("clips", world.clips) if row["split"] == "test")


def test_weights_are_those_of_the_run_and_open_clip_loads_them(run, video, tmp_path, capfd):
    output = tmp_path / "model"
    assert "open_clip" in export_model(run, "open_clip", output)
    expected = VideoClassifier(find_run_files(run))
    exported = load_classifier(model=output)
    assert exported.names == expected.names
    assert exported.calibration == expected.calibration
    assert np.array_equal(exported.scores(video), expected.scores(video))
    clip, _, _ = open_clip.create_model_and_transforms(f"local-dir:{output}")
    state = expected.method.backbone.clip.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in clip.state_dict().items())
    assert classify([video], top=1, model=output / "open_clip_model.safetensors") == (1, 0)
    assert expected.top_labels(video)[0]["label"] in capfd.readouterr().out


def test_an_export_needs_a_new_folder_and_a_method_that_fits(run, tmp_path, world):
    with pytest.raises(ValueError, match="exists already"):
        export_model(run, "open_clip", tmp_path)
    text = (run / "run.yaml").read_text()
    (run / "run.yaml").write_text(text.replace("method_module: mean_pool", "method_module: seq_transformer"))
    try:
        with pytest.raises(ValueError, match=r"mean_pool is more than the weights.*take --format onnx"):
            export_model(run, "open_clip", tmp_path / "model")
    finally:
        (run / "run.yaml").write_text(text)
    assert not (tmp_path / "model").exists()


def test_a_run_or_a_model_is_needed_and_a_wrong_file_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"either --run.*or --model"):
        load_classifier()
    with pytest.raises(ValueError, match=r"absent\.onnx: is missing"):
        load_classifier(model=tmp_path / "absent.onnx")
    (tmp_path / "kinetext.json").write_text('{"format": "onnx"}')
    with pytest.raises(ValueError, match="no description of an exported model"):
        load_classifier(model=tmp_path)


def test_without_onnx_the_package_is_named():
    with pytest.raises(ValueError, match=r"no_such_package not installed; run: pip install 'kinetext\[onnx\]'"):
        require_onnx("no_such_package")


@needs_onnx
def test_onnx_gives_the_scores_of_the_run(run, video, tmp_path):
    output = tmp_path / "model"
    export_model(run, "onnx", output)
    content = json.loads((output / "kinetext.json").read_text())
    assert content["largest_difference"] < 1e-4
    assert content["input"]["shape"] == ["clips", 8, 3, 64, 64]
    expected, exported = VideoClassifier(find_run_files(run)), load_classifier(model=output / "model.onnx")
    np.testing.assert_allclose(exported.scores(video), expected.scores(video), rtol=0, atol=1e-4)
    rows = [classifier.top_labels(video) for classifier in (expected, exported)]
    assert [row["label"] for row in rows[0]] == [row["label"] for row in rows[1]]


def test_transformers_loads_the_weights_too(tiny, tmp_path):
    transformers = pytest.importorskip("transformers", reason="transformers: not installed")
    torch.nn.init.normal_(tiny.clip.text_projection, std=0.1)
    tiny.export(tmp_path)
    theirs = transformers.CLIPModel.from_pretrained(tmp_path).double().eval()
    tiny.double()
    pixels, texts = torch.rand(2, 3, 64, 64, dtype=torch.float64), ["a red circle", "the blue square falls, slowly"]
    words = transformers.CLIPTokenizer.from_pretrained(tmp_path)(texts, padding=True, return_tensors="pt")
    tokens = tiny.tokenize(texts)
    assert torch.equal(words["input_ids"][tokens.mask_KL], tokens.ids_KL[tokens.mask_KL])
    with torch.inference_mode():
        image_FD = theirs.visual_projection(theirs.vision_model(pixel_values=pixels).pooler_output)
        text_KD = theirs.text_projection(theirs.text_model(**words).pooler_output)
        torch.testing.assert_close(tiny.encode_frames(pixels[None])[0], image_FD, rtol=0, atol=1e-10)
        torch.testing.assert_close(tiny.encode_text(tokens)[0], text_KD, rtol=0, atol=1e-10)
    assert theirs.logit_scale.item() == tiny.clip.logit_scale.item()

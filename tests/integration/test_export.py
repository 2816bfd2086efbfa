"""`kinetext export`: the written model gives the scores of the run, without the results folder."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch

from kinetext.backbones.checkpoint import save_backbone
from kinetext.backbones.text_table import tabulate_texts
from kinetext.config.data import FrameOptions
from kinetext.core.tables import read_rows
from kinetext.core.tensors import load_tensors
from kinetext.data.frames import extract_clip
from kinetext.evaluation.classify import VideoClassifier, classify, load_classifier
from kinetext.evaluation.export_model import TOLERANCE, OnnxModule, export_model, write_onnx
from kinetext.evaluation.onnx_session import PACKAGES, require_onnx
from kinetext.evaluation.run_files import find_run_files
from method_inputs import LABELS, build, fit, noise_clips, perturb
from results import make_results
from worlds import World, text_rows

pytestmark = pytest.mark.usefixtures("on_cpu")
NO_ONNX = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
needs_onnx = pytest.mark.skipif(bool(NO_ONNX), reason=f"onnx: {', '.join(NO_ONNX)} not installed")
SMALL_FRAMES = {"num_frames": 8, "size_px": 32, "encoding": "raw"}
QKV, PATCHES = "visual.transformer.resblocks.0.attn.in_proj_weight", "visual.conv1.weight"


@pytest.fixture(scope="module")
def run(world, tmp_path_factory):
    results = make_results(world, tmp_path_factory.mktemp("export") / "results")
    (file,) = results.glob("runs/**/run.yaml")
    return file.parent


@pytest.fixture
def small_world(world, tmp_path):
    """The same clips in 32 px, for a small model with a ViT of timm."""
    import small_timm

    folder = tmp_path / "world"
    (folder / "pe").mkdir(parents=True)
    save_backbone(small_timm.small("pe"), folder / "pe", {"weights": "random"}, "timm_vit")
    for table in (world.clips, world.texts, world.confusables, world.folder / "shards.txt"):
        (folder / table.name).symlink_to(table)
    small = World(folder, folder / "pe", world.labels)
    options = FrameOptions(**SMALL_FRAMES)
    small.keep_frames([extract_clip(row, options) for row in read_rows("clips", small.clips)])
    return small


@pytest.fixture
def video(world):
    return next(Path(row["path"]) for row in read_rows("clips", world.clips) if row["split"] == "test")


def assert_weights_are_those_of_the_run(run, output, video) -> VideoClassifier:
    """The exported weights give the scores of the run to the bit, and open_clip loads all of them."""
    expected, exported = VideoClassifier(find_run_files(run)), load_classifier(model=output)
    assert exported.names == expected.names
    assert exported.calibration == expected.calibration
    assert np.array_equal(exported.scores(video), expected.scores(video))
    clip, _, _ = open_clip.create_model_and_transforms(f"local-dir:{output}")
    theirs, ours = clip.state_dict(), expected.method.backbone.clip.state_dict()
    assert theirs.keys() == ours.keys()
    assert all(torch.equal(tensor, ours[name]) for name, tensor in theirs.items())
    return expected


def test_weights_are_those_of_the_run_and_open_clip_loads_them(run, video, tmp_path, capfd):
    output = tmp_path / "model"
    assert "open_clip" in export_model(run, "open_clip", output)
    expected = assert_weights_are_those_of_the_run(run, output, video)
    assert classify([video], top=1, model=output / "open_clip_model.safetensors") == (1, 0)
    assert expected.top_labels(video)[0]["label"] in capfd.readouterr().out


@pytest.mark.parametrize(
    ("training", "changed"),
    [({"image_encoder": "lora", "text_encoder": "lora"}, {QKV}), ({"wise_ft_alpha": 0.5}, {QKV, PATCHES})],
    ids=["lora", "wise_ft"],
)
def test_merged_lora_and_interpolated_weights_are_exported(world, video, tmp_path, training, changed):
    results = make_results(world, tmp_path / "results", **training)
    (file,) = results.glob("runs/**/run.yaml")
    export_model(file.parent, "open_clip", tmp_path / "model")
    assert_weights_are_those_of_the_run(file.parent, tmp_path / "model", video)
    exported = load_tensors(tmp_path / "model/open_clip_model.safetensors")[0]
    pretrained = load_tensors(world.backbone / "weights.safetensors")[0]
    assert exported.keys() == pretrained.keys()
    assert {name for name in (QKV, PATCHES) if not torch.equal(exported[name], pretrained[name])} == changed


def test_a_run_of_a_model_with_a_vit_of_timm_is_exported(small_world, video, tmp_path):
    results = make_results(small_world, tmp_path / "results", SMALL_FRAMES)
    (file,) = results.glob("runs/**/run.yaml")
    assert "open_clip" in export_model(file.parent, "open_clip", tmp_path / "model")
    assert_weights_are_those_of_the_run(file.parent, tmp_path / "model", video)


@pytest.mark.parametrize("name", ["eva02", "registers", "mobileclip_b"])
def test_open_clip_loads_the_weights_and_statistics_of_a_vit_of_timm(name, tmp_path):
    import small_timm

    backbone = small_timm.small(name)
    backbone.export(tmp_path)
    clip, _, _ = open_clip.create_model_and_transforms(f"local-dir:{tmp_path}")
    images = torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        small_timm.assert_equal_features(backbone.encode_frames(images[None])[0], clip.eval().encode_image(images))


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


@needs_onnx
@pytest.mark.parametrize("name", ["stan", "moted", "linear_probe", "knn", "tip_adapter", "x_pool", "x_clip", "ost"])
def test_onnx_takes_methods_that_are_more_than_weights(tiny, name, tmp_path):
    method = build(tiny, name, **({"iterations": 5} if name == "ost" else {}))
    perturb(method)
    table = tabulate_texts(text_rows(LABELS), LABELS, tiny)
    if method.fits:
        fit(method, noise_clips(), table)
    with torch.no_grad():
        module = OnnxModule(method, method.encode_texts(table)).eval()
        frames_VTCHW = torch.randint(256, (2, 4, 3, 64, 64), dtype=torch.uint8)
        largest = float(module(frames_VTCHW).abs().max())
    assert write_onnx(module, frames_VTCHW, tmp_path / "model.onnx") < TOLERANCE * max(1, largest)


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

"""Weights of a backbone: each form gives the same tensors, no file runs code, and a file that is no weights gives a sentence."""

import copy
import gzip
import json
import os
import pickle
import shutil
import zipfile
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from kinetext.backbones.catalogue import ASSETS
from kinetext.backbones.download import HUB_FILES, hub_state
from kinetext.backbones.embed import prepare_backbone
from kinetext.backbones.native_models import facts_of
from kinetext.backbones.open_clip_vit import Architecture, OpenClipViT
from kinetext.backbones.torchscript import read_torchscript
from kinetext.backbones.weights import find_weights, read_weights
from kinetext.config.backbone import TINY, BackboneOptions
from kinetext.plan import check_config, hub_facts, plan_runs
from kinetext.plan.inputs import HUB_FACTS

V, L, D = 8, 5, 6  # width, words, joint width of the small models here


class Named(nn.Module):
    """A module whose parts have OpenAI's names."""

    def __init__(self, tensors: dict[str, torch.Tensor]) -> None:
        super().__init__()
        inner: dict[str, dict[str, torch.Tensor]] = {}
        for name, tensor in tensors.items():
            first, _, rest = name.partition(".")
            if rest:
                inner.setdefault(first, {})[rest] = tensor
            elif tensor.is_floating_point() and name != "attn_mask":
                self.register_parameter(name, nn.Parameter(tensor))
            else:
                self.register_buffer(name, tensor)
        for name, part in inner.items():
            self.add_module(name, Named(part))

    def forward(self) -> None:
        return None


def block(prefix: str) -> dict[str, torch.Tensor]:
    shapes = {
        "attn.in_proj_weight": (3 * V, V),
        "attn.in_proj_bias": (3 * V,),
        "attn.out_proj.weight": (V, V),
        "attn.out_proj.bias": (V,),
        "mlp.c_fc.weight": (4 * V, V),
        "mlp.c_fc.bias": (4 * V,),
        "mlp.c_proj.weight": (V, 4 * V),
        "mlp.c_proj.bias": (V,),
        **{f"ln_{i}.{kind}": (V,) for i in (1, 2) for kind in ("weight", "bias")},
    }
    return {f"{prefix}.{name}": torch.randn(shape).half() for name, shape in shapes.items()}


@pytest.fixture(scope="module")
def openai() -> dict[str, torch.Tensor]:
    """Tensors as OpenAI's files have them: matrices in half precision, layer norms and embeddings in float32."""
    torch.manual_seed(1)
    return {
        "visual.class_embedding": torch.randn(V),
        "visual.conv1.weight": torch.randn(V, 3, 4, 4).half(),
        "visual.positional_embedding": torch.randn(5, V),
        "visual.ln_pre.weight": torch.randn(V),
        "visual.proj": torch.randn(V, D).half(),
        **block("visual.transformer.resblocks.0"),
        **block("visual.transformer.resblocks.1"),
        **block("transformer.resblocks.0"),
        "token_embedding.weight": torch.randn(11, V).half(),
        "positional_embedding": torch.randn(L, V),
        "text_projection": torch.randn(V, D).half(),
        "logit_scale": torch.tensor(4.6),
    }


MARKS = {"input_resolution": torch.tensor(8), "context_length": torch.tensor(L), "vocab_size": torch.tensor(11)}


def write_torchscript(tensors: dict[str, torch.Tensor], path: Path) -> None:
    torch.jit.save(torch.jit.script(Named(tensors).eval()), path)


def assert_same(tensors: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert tensors.keys() == expected.keys()
    for name, tensor in expected.items():
        wanted = tensor.float() if tensor.is_floating_point() else tensor
        assert tensors[name].dtype == wanted.dtype, name
        assert torch.equal(tensors[name], wanted), name


@pytest.mark.filterwarnings("ignore:.*torch.jit.*")
def test_torchscript_is_read_tensor_by_tensor(openai, tmp_path):
    path = tmp_path / "ViT-B-32.pt"
    write_torchscript(openai | MARKS | {"transformer.resblocks.0.attn_mask": torch.zeros(L, L)}, path)
    assert any("/code/" in name for name in zipfile.ZipFile(path).namelist())
    assert_same(read_weights(path), openai | MARKS)
    assert read_torchscript(path)["visual.proj"].dtype == torch.float16


FORMS = {
    "safetensors": lambda tensors, path: save_file(tensors, path),
    "safetensors named .pt": lambda tensors, path: save_file(tensors, path),
    "tensors": lambda tensors, path: torch.save(tensors, path),
    "older torch": lambda tensors, path: torch.save(tensors, path, _use_new_zipfile_serialization=False),
    "training": lambda tensors, path: torch.save(
        {"epoch": 3, "name": "run", "state_dict": {f"module.{n}": t for n, t in tensors.items()}, "optimizer": {}}, path
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_each_form_gives_the_same_tensors(openai, tmp_path, form):
    path = tmp_path / "weights.pt"
    FORMS[form](openai, path)
    assert_same(read_weights(path), openai)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_real_numbers_become_float32(tmp_path, dtype):
    path = tmp_path / "weights.safetensors"
    save_file({"a": torch.tensor([0.5, 3.0], dtype=dtype), "count": torch.tensor(3)}, path)
    tensors = read_weights(path)
    assert tensors["a"].dtype == torch.float32
    assert tensors["a"].tolist() == [0.5, 3.0]
    assert tensors["count"].dtype == torch.int64


# a backbone from each form


@pytest.fixture(scope="module")
def tiny_clip() -> OpenClipViT:
    torch.manual_seed(2)
    return OpenClipViT(Architecture(TINY))


def prepare(weights: Path | str) -> OpenClipViT:
    return OpenClipViT.prepare(OpenClipViT.Config(model=TINY, weights=str(weights)))


@pytest.mark.filterwarnings("ignore:.*torch.jit.*")
def test_openai_file_becomes_a_backbone_with_quick_gelu(tiny_clip, tmp_path):
    state = {name: tensor.clone() for name, tensor in tiny_clip.clip.state_dict().items()}
    halved = {n: t.half() if t.ndim > 1 and "embedding" not in n else t for n, t in state.items()}
    write_torchscript(halved | MARKS, tmp_path / "openai.pt")
    backbone = prepare(tmp_path / "openai.pt")
    assert backbone.architecture()["quick_gelu"] is True
    assert type(backbone.visual.transformer.resblocks[0].mlp.gelu).__name__ == "QuickGELU"
    assert_same(backbone.clip.state_dict(), halved)


PREPROCESS_CFG = {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4]}


def write_snapshot(
    folder: Path, state: dict[str, torch.Tensor], file: str, preprocess_cfg: dict = PREPROCESS_CFG
) -> dict[str, torch.Tensor]:
    folder.mkdir(parents=True, exist_ok=True)
    state = {name: tensor.clone() for name, tensor in state.items()}
    write = save_file if file.endswith("safetensors") else torch.save
    write(state, folder / file)
    content = {"model_cfg": {"embed_dim": D, "quick_gelu": True}, "preprocess_cfg": preprocess_cfg}
    (folder / "open_clip_config.json").write_text(json.dumps(content))
    return state


@pytest.mark.parametrize("file", HUB_FILES)
def test_folder_of_the_hub_gives_weights_pixels_and_activation(tiny_clip, tmp_path, file):
    state = write_snapshot(tmp_path / "hub", tiny_clip.clip.state_dict(), file)
    backbone = prepare(tmp_path / "hub")
    assert_same(backbone.clip.state_dict(), state)
    architecture = backbone.architecture()
    assert architecture["mean"] == [0.5, 0.4, 0.3]
    assert architecture["std"] == [0.2, 0.3, 0.4]
    assert architecture["quick_gelu"] is True


@pytest.fixture
def hub_cache(tmp_path, monkeypatch) -> Path:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def write_to_cache(
    cache: Path, state: dict[str, torch.Tensor], preprocess_cfg: dict = PREPROCESS_CFG
) -> dict[str, torch.Tensor]:
    """Write weights as hf-hub:me/clip to a cache of the hub."""
    repository, commit = cache / "models--me--clip", "a" * 40
    state = write_snapshot(repository / "snapshots" / commit, state, HUB_FILES[0], preprocess_cfg)
    (repository / "refs").mkdir()
    (repository / "refs/main").write_text(commit)
    return state


def test_name_on_the_hub_is_read_from_the_cache(tiny_clip, hub_cache):
    state = write_to_cache(hub_cache, tiny_clip.clip.state_dict())
    assert_same(prepare("hf-hub:me/clip").clip.state_dict(), state)
    assert hub_state("me/clip") == ("", False)


OTHERS = {**PREPROCESS_CFG, "size": 64, "interpolation": "bilinear", "resize_mode": "squash"}


@pytest.mark.parametrize("family", ["native", "timm"])
@pytest.mark.parametrize("source", ["folder", "cache"])
def test_facts_have_the_preprocessing_of_the_loaded_model(tiny_clip, hub_cache, tmp_path, family, source):
    """Frames are checked with `facts`. CLIP and PE-Core have other values than these weights."""
    plugin, clip, name = OpenClipViT, tiny_clip.clip, TINY
    if family == "timm":
        import small_timm

        plugin, clip, name = small_timm.TimmViT, small_timm.small("pe").clip, small_timm.NAMES["pe"]
    if source == "folder":
        write_snapshot(tmp_path / "hub", clip.state_dict(), HUB_FILES[0], OTHERS)
        config = plugin.Config(model=name, weights=str(tmp_path / "hub"))
    else:
        config = plugin.Config(model=name, weights="hf-hub:me/clip")
        with pytest.raises(ValueError, match="hf-hub:me/clip is not in the cache and cannot be downloaded"):
            plugin.facts(config)
        write_to_cache(hub_cache, clip.state_dict(), OTHERS)
    facts, preprocess = plugin.facts(config), plugin.prepare(config).preprocess
    assert (
        (facts.interpolation, facts.resize_mode)
        == (preprocess.interpolation, preprocess.resize_mode)
        == ("bilinear", "squash")
    )
    assert (list(preprocess.mean), list(preprocess.std)) == (PREPROCESS_CFG["mean"], PREPROCESS_CFG["std"])


def test_a_plan_with_weights_of_the_hub_does_not_depend_on_the_cache(tiny_clip, hub_cache, tmp_path, monkeypatch):
    """A job on another machine has what Snakemake passes to it; a moved folder of results has the prepared backbone."""
    write_to_cache(hub_cache, tiny_clip.clip.state_dict(), OTHERS)
    experiment = {"datasets": ["shapes"], "backbone": "hub", "methods": ["mean_pool"], "texts": ["names"]}

    def frame_sets(name="clip"):
        values = {
            "results": str(tmp_path / "results"),
            "backbones": {"hub": {"model": TINY, "weights": f"hf-hub:me/{name}"}},
            **{"datasets": {"shapes": {}}, "methods": {"mean_pool": {}}, "texts": {"names": {}}},
            "experiments": {"first": experiment},
        }
        config = check_config(values)
        return [run.frame_options.frame_set for run in plan_runs(config).values()], hub_facts(config)

    sets, passed = frame_sets()
    assert sets == ["64-squash-bilinear"]
    folder = tmp_path / "results/backbones/hub"
    prepare_backbone(BackboneOptions(model=TINY, weights="hf-hub:me/clip"), folder)
    shutil.rmtree(hub_cache)
    assert frame_sets() == (sets, passed)
    with pytest.raises(ValueError, match="hf-hub:me/other is not in the cache"):  # the folder holds other weights
        frame_sets("other")
    shutil.rmtree(folder)
    with pytest.raises(
        ValueError, match=r"backbones\.hub\.weights: hf-hub:me/clip is not in the cache.*give the folder"
    ):
        frame_sets()
    monkeypatch.setenv(HUB_FACTS, passed)
    assert frame_sets() == (sets, passed)
    with pytest.raises(ValueError, match="hf-hub:me/other is not in the cache"):
        frame_sets("other")


@pytest.mark.parametrize(
    ("preprocess_cfg", "message"),
    [
        (
            {"resize_mode": "longest"},
            "the weights need resize_mode: longest, and only shortest and squash are supported",
        ),
        ({"interpolation": ["bicubic"]}, r"the weights need interpolation: \['bicubic'\]"),
        ({"mean": [0.5, 0.5]}, "is no description of an open_clip model"),
        ([], "is no description of an open_clip model"),
    ],
)
def test_a_preprocessing_that_is_not_supported_is_refused_by_the_check(tiny_clip, tmp_path, preprocess_cfg, message):
    write_snapshot(tmp_path / "hub", {}, HUB_FILES[0], preprocess_cfg)
    config = OpenClipViT.Config(model=TINY, weights=str(tmp_path / "hub"))
    for check in (OpenClipViT.facts, OpenClipViT.prepare):
        with pytest.raises(ValueError, match=f"open_clip_config.json: {message}"):
            check(config)
    (tmp_path / "hub/open_clip_config.json").unlink()
    with pytest.raises(ValueError, match=r"hub lacks open_clip_config\.json; give the file"):
        OpenClipViT.facts(config)


def test_name_on_the_hub_without_network_says_what_to_put_where(hub_cache):
    with pytest.raises(
        ValueError, match=r"hf-hub:me/clip is not in the cache .*`hf download me/clip`, then give the folder"
    ):
        find_weights("hf-hub:me/clip")
    message, fatal = hub_state("me/clip")
    assert message.startswith("hf-hub:me/clip is not in the cache and cannot be downloaded")
    assert fatal


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ("hf-hub:clip", "hf-hub:clip is no name on the hub; write hf-hub:owner/name"),
        ("missing.pt", "there is no file missing.pt"),
        (".", r"folder \. holds neither .*safetensors nor .*bin \(found: model.safetensors\)"),
    ],
)
def test_missing_weights_are_refused_by_the_check_of_the_configuration(tmp_path, monkeypatch, weights, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"")
    config = OpenClipViT.Config(model=TINY, weights=weights)
    with pytest.raises(ValueError, match=f"weights: {message}"):
        OpenClipViT.facts(config)
    with pytest.raises(ValueError, match=f"weights: {message}"):
        OpenClipViT.prepare(config)


def test_what_does_not_fit_is_named(tiny_clip, tmp_path):
    path = tmp_path / "weights.pt"
    state = dict(tiny_clip.clip.state_dict())
    torch.save({n: t for n, t in state.items() if n != "visual.proj"}, path)
    with pytest.raises(ValueError, match=r"does not fit kinetext-tiny: it lacks 1 tensors, such as visual.proj; is it"):
        prepare(path)
    torch.save(state | {"new": torch.zeros(1)}, path)
    with pytest.raises(ValueError, match="it has 1 tensors more, such as new"):
        prepare(path)
    torch.save(state | {"visual.proj": torch.zeros(2, 2)}, path)
    with pytest.raises(ValueError, match=r"visual.proj is \(2, 2\) and should be \(128, \d+\)"):
        prepare(path)


def test_a_scale_of_one_number_fits_either_shape(tiny_clip, tmp_path):
    state = dict(tiny_clip.clip.state_dict())
    torch.save(state | {"logit_scale": torch.tensor([3.0])}, tmp_path / "weights.pt")
    assert prepare(tmp_path / "weights.pt").clip.logit_scale.item() == 3.0


def test_positions_of_another_image_size_and_text_length_are_interpolated(tiny_clip, tmp_path):
    state = dict(tiny_clip.clip.state_dict())
    ones = {"visual.positional_embedding": torch.ones(1 + 5 * 5, 128), "positional_embedding": torch.ones(7, 128)}
    torch.save(state | ones, tmp_path / "weights.pt")
    clip = prepare(tmp_path / "weights.pt").clip
    for name in ones:
        assert clip.state_dict()[name].shape == state[name].shape
        torch.testing.assert_close(clip.state_dict()[name], torch.ones_like(state[name]))


# hostile and broken files


class Hostile:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def torchscript_with(path: Path, pickled: bytes) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/constants.pkl", b"\x80\x02).")
        archive.writestr("a/data.pkl", pickled)
        archive.writestr("a/data/0", bytes(8))


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize("form", ["pickle", "torch", "torchscript"])
def test_no_code_of_a_file_is_run(tmp_path, protocol, form):
    created, path = tmp_path / "created", tmp_path / "weights.pt"
    pickled = pickle.dumps({"state_dict": {"a": Hostile(created)}}, protocol)
    if form == "pickle":
        path.write_bytes(pickled)
    elif form == "torch":
        torch.save({"a": Hostile(created)}, path, pickle_protocol=max(protocol, 2))
    else:
        torchscript_with(path, pickled)
    with pytest.raises(ValueError, match=r"weights\.pt: ") as raised:
        read_weights(path)
    assert "\n" not in str(raised.value)
    assert not created.exists()
    pickle.loads(pickled)
    assert created.exists()  # it would have


def entry(offset: str, size: str, stride: str) -> bytes:
    """Return a TorchScript module with one tensor, written in the opcodes of protocol 0."""
    storage = b"((Vstorage\nctorch\nFloatStorage\nV0\nVcpu\nI2\ntQ"
    numbers = "".join(f"({''.join(f'I{n}' + chr(10) for n in values.split())}t" for values in (size, stride))
    tensor = b"ctorch._utils\n_rebuild_tensor_v2\n" + storage + f"I{offset}\n{numbers}".encode() + b"I00\n}tR"
    return b"\x80\x02c__torch__\nA\n)\x81}Vx\n" + tensor + b"sb."


def test_a_module_written_by_hand_is_read(tmp_path):
    torchscript_with(tmp_path / "a.pt", entry("0", "2", "1"))
    assert read_weights(tmp_path / "a.pt")["x"].tolist() == [0.0, 0.0]


CYCLE = b"\x80\x02c__torch__\nA\n)\x81q\x00}Vx\nh\x00sb."
SHARED = (
    b"\x80\x02c__torch__\nA\nq\xff)\x81q\x00"
    + b"".join(b"h\xff)\x81q%c}(Vx\nh%cVy\nh%cub" % (i, i - 1, i - 1) for i in range(1, 40))
    + b"."
)
TORCHSCRIPTS = {
    "too large": (entry("0", "1000000000000", "0"), "tensor x is larger than its storage"),
    "outside": (entry("1", "2", "1"), "out of bounds"),
    "cycle": (CYCLE, "its modules contain themselves"),
    "shared": (SHARED, "more than 100000 attributes"),
    "memory": (b"\x80\x02)r\xff\xff\xff\x7f.", "more memory than it can need"),
    "no module": (b"\x80\x02).", ""),
    "cut": (b"\x80\x02c__torch__\nA\n)", ""),
}


@pytest.mark.parametrize("name", TORCHSCRIPTS)
def test_damaged_torchscript_gets_a_sentence(tmp_path, name):
    pickled, message = TORCHSCRIPTS[name]
    torchscript_with(tmp_path / "a.pt", pickled)
    with pytest.raises(ValueError, match=rf"a\.pt: a TorchScript archive that cannot be read as tensors \(.*{message}"):
        read_weights(tmp_path / "a.pt")


def write_compressed(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data.pkl", bytes(1_000_000))


def write_overlapping(path: Path) -> None:
    """Two entries have the same bytes, so that the file is smaller than what it holds."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data.pkl", b"\x80\x02).")
        archive.writestr("a/data/0", bytes(10_000))
        twin = copy.copy(archive.filelist[-1])
        twin.filename = "a/data/1"
        archive.filelist.append(twin)


def write_cut(path: Path, share: float, write) -> None:
    write({"a": torch.zeros(1000)}, path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])


def write_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("notes.txt", "no weights")


def write_npz(path: Path) -> None:
    with path.open("wb") as file:
        np.savez(file, a=np.zeros(2))


BROKEN = {
    "empty": (lambda path: path.write_bytes(b""), "is empty; expected are safetensors"),
    "text": (lambda path: path.write_text("<html>Not found</html>"), "is text that begins with '<html>Not found"),
    "lfs": (lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\n"), "is a pointer of Git LFS"),
    "npz": (write_npz, r"is NumPy arrays \(npz\)"),
    "npy": (lambda path: path.write_bytes(b"\x93NUMPY\x01\x00"), "is a NumPy array;"),
    "gzip": (lambda path: path.write_bytes(gzip.compress(b"a")), "is a gzip archive"),
    "noise": (lambda path: path.write_bytes(bytes(range(200, 256)) * 4), "is of no known format"),
    "zip": (write_zip, "is a zip archive of other files"),
    "bomb": (write_compressed, "is an archive with compressed tensors"),
    "overlap": (write_overlapping, "is an archive with compressed tensors"),
    "cut safetensors": (lambda path: write_cut(path, 0.5, save_file), "safetensors that cannot be read .*complete"),
    "cut checkpoint": (lambda path: write_cut(path, 0.5, torch.save), "is a zip archive that ends early"),
    "python objects": (
        lambda path: torch.save({"args": Namespace(a=1)}, path),
        r"a checkpoint .*it names argparse\.Namespace",
    ),
    "pickle": (lambda path: path.write_bytes(pickle.dumps({"a": 1})), "a pickle that cannot be read as tensors"),
    "number": (lambda path: torch.save({"state_dict": {"epoch": 3}}, path), "epoch is no tensor; save"),
    "no tensors": (lambda path: torch.save({"state_dict": {}}, path), "holds no tensors"),
    "list": (lambda path: torch.save([torch.zeros(1)], path), "holds list"),
}


@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_a_file_that_is_no_weights_gets_a_sentence(tmp_path, name, suffix):
    write, message = BROKEN[name]
    path = tmp_path / f"weights{suffix}"
    write(path)
    with pytest.raises(ValueError, match=rf"weights\{suffix}: {message}") as raised:
        read_weights(path)
    assert "\n" not in str(raised.value)


def test_shipped_weights_are_read_like_any_file():
    assert len(read_weights(ASSETS / "tiny/weights.safetensors")) > 50
    assert facts_of(TINY).num_layers == 4

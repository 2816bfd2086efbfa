"""kinetext init: the configuration that it writes passes check-config, has what the question needs, and says why."""

import shutil

import pytest
import yaml
from typer.testing import CliRunner

from kinetext.cli import app
from kinetext.plan import load_config, plan_runs
from kinetext.start import init as start
from kinetext.start.choices import Machine, choose_backbone, choose_max_failed, choose_training
from kinetext.start.descriptions import choose_descriptions, covering_bank
from kinetext.start.survey import Survey, guess_delimiter, survey
from kinetext.start.template import Study, flow, render
from kinetext.texts.providers.bundled import read_bank
from videos import write_video

CPU, GPU = Machine(gpu=False, cores=2), Machine(gpu=True, cores=16)
TRAINED = {"mean_pool", "seq_transformer", "stan"}


def clips_of(folder, train=20, labels=("nod", "wave", "sit down", "stand up"), **others):
    """A survey of a folder with so many training clips per class, and four test clips."""
    counts = {(label, split): n for label in labels or (None,) for split, n in (("train", train), ("test", 4))}
    return Survey("folder", {"root": str(folder)}, counts, tuple(labels), seconds=(2.0, 3.0, 4.0), **others)


def study_of(folder, clips, machine, backbone=None, describe=True, **texts):
    study = start.choose_study(folder, folder / "mine.yaml", clips, machine, backbone, None)
    arguments = {"file": None, "server": None, "model": None} | texts
    descriptions = choose_descriptions(clips.labels, **arguments) if describe and clips.labels else None
    return Study(**{**vars(study), "descriptions": descriptions})


def checked(folder, study):
    path = folder / "mine.yaml"
    path.write_text(render(study))
    return load_config(path)


@pytest.mark.parametrize("machine", [CPU, GPU], ids=["cpu", "gpu"])
@pytest.mark.parametrize("backbone", [None, "tiny", "ViT-L-14"])
@pytest.mark.parametrize("train", [1, 20, 5000, 100_000])
def test_what_is_written_passes_the_check(tmp_path, machine, backbone, train):
    config = checked(tmp_path, study_of(tmp_path, clips_of(tmp_path, train), machine, backbone))
    assert len(plan_runs(config)) == 3 * 4 + 1 + 3 * 4 + 3 + 2 * 3 + 3
    for experiment in config.experiments.values():
        trains = set(experiment.methods) & {*TRAINED, "linear_probe", "moted"}
        assert experiment.seeds == ([0, 1, 2] if trains else [0])
        assert not trains or trains == set(
            experiment.methods
        )  # untrained methods get one seed, so not in one experiment


@pytest.mark.parametrize(
    ("model", "tag"), [("ViT-B-16", "openai"), ("ViT-B-16-SigLIP", "webli"), ("PE-Core-B-16", "meta")]
)
def test_a_model_gets_weights_that_exist(model, tag):
    assert choose_backbone(CPU, model, None).value[1] == {"model": model, "pretrained": tag}


@pytest.mark.parametrize(
    ("model", "problem"),
    [
        ("ViT-H-14", "has several weights, laion2b_s32b_b79k, metaclip_fullcc, .*; pass a file .* with --weights"),
        ("ViT-B-16-plus", "has no published weights; pass a file"),
        ("ViT-B-61", "open_clip has no model 'ViT-B-61'; did you mean 'ViT-B-16'"),
    ],
)
def test_a_model_whose_weights_are_not_clear_needs_a_file(model, problem):
    with pytest.raises(ValueError, match=problem):
        choose_backbone(CPU, model, None)
    assert choose_backbone(CPU, "ViT-H-14", "a.pt").value[1] == {"model": "ViT-H-14", "weights": "a.pt"}


def test_every_method_that_takes_descriptions_gets_them_and_the_controls(tmp_path):
    config = checked(tmp_path, study_of(tmp_path, clips_of(tmp_path), CPU))
    pairs = {(m, t) for e in config.experiments.values() for m in e.methods for t in e.texts}
    described = {method for method, texts in pairs if texts == "described"}
    assert described == {*TRAINED, "moted", "zero_shot", "description_ensemble", "ordered_descriptions"}
    assert {texts for _, texts in pairs} == {"names", "described", "random_words", "shuffled", "swapped"}
    assert config.texts["shuffled"].options["of"] == config.texts["described"].model_dump()


def test_captions_are_retrieval(tmp_path):
    (tmp_path / "list.csv").touch()
    clips = clips_of(tmp_path, labels=())
    clips = Survey(
        **{**vars(clips), "module": "csv", "options": {"root": str(tmp_path), "list": f"{tmp_path}/list.csv"}}
    )
    config = checked(tmp_path, study_of(tmp_path, clips, GPU))
    assert {texts for e in config.experiments.values() for texts in e.texts} == {"captions"}
    assert {method for e in config.experiments.values() for method in e.methods} == {"zero_shot", *TRAINED}


def test_a_cpu_gets_sixteen_clips_a_class_of_many_and_a_frozen_encoder(tmp_path):
    config = checked(tmp_path, study_of(tmp_path, clips_of(tmp_path, 1000), CPU))
    assert {e.protocol for e in config.experiments.values()} == {"few_shot_16"}
    assert config.methods["stan"].training.image_encoder == "frozen"
    config = checked(tmp_path, study_of(tmp_path, clips_of(tmp_path, 1000), GPU))
    assert {e.protocol for e in config.experiments.values()} == {"supervised"}
    assert config.methods["stan"].training.image_encoder == "trained"


def test_fewer_clips_get_higher_rates_and_more_epochs(tmp_path):
    few, many = (choose_training(clips_of(tmp_path, n), GPU, "supervised", tiny=False) for n in (20, 100_000))
    assert (few.value["lr"], few.value["epochs"], few.value["image_encoder"]) == (1e-5, 30, "lora")
    assert (many.value["lr"], many.value["epochs"], many.value["image_encoder"]) == (2e-6, 3, "trained")
    assert "low-rank" in few.reason


def test_descriptions_come_from_what_there_is(tmp_path, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    labels = tuple(read_bank("hmdb51")["classes"])[:5]
    assert covering_bank(labels) == "hmdb51"
    assert choose_descriptions(labels, None, None, None).value["options"] == {"bank": "hmdb51"}
    chat = choose_descriptions(("nod", "wave"), None, None, None)
    assert chat.value["options"] == {"model": "gpt-4o", "max_usd": 1}
    assert "export OPENAI_API_KEY=" in chat.reason
    monkeypatch.setenv("OPENAI_API_KEY", "sk-1")
    assert "export" not in choose_descriptions(("nod", "wave"), None, None, None).reason
    local = choose_descriptions(("nod", "wave"), None, "http://localhost:1/v1", "qwen")
    assert local.value["options"] == {"base_url": "http://localhost:1/v1", "model": "qwen"}
    with pytest.raises(ValueError, match="--server: needs --model"):
        choose_descriptions(("nod", "wave"), None, "http://localhost:1/v1", None)


def test_a_sample_with_many_faults_raises_what_may_fail(tmp_path):
    clips = clips_of(tmp_path, unreadable=("a (cut)",))
    assert choose_max_failed(clips).value == 0.5  # one of four: twice that share
    assert choose_max_failed(clips_of(tmp_path)).value == 0.05


@pytest.mark.parametrize(
    "value", ["yes", "a b", "1", "x: y", "#a", "plain", "a-b_c", 'quo"te', "{x}", 2e-6, 0.05, 3, True]
)
def test_values_come_back_from_yaml(value):
    assert yaml.safe_load(f"[{flow(value)}]") == [value]


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    root = tmp_path_factory.mktemp("root") / "my videos"
    for label in ("nod", "wave"):
        (root / label).mkdir(parents=True)
    first = write_video(root / "nod/0.mp4", 12)
    for number in range(1, 6):
        shutil.copy(first, root / f"nod/{number}.mp4")
    for number in range(6):
        shutil.copy(first, root / f"wave/{number}.mp4")
    (root / "wave/5.mp4").write_text("not a video")
    (root / "empty").mkdir()
    shutil.copy(first, root / "nod/photo.jpg")
    return root


def test_the_command_looks_at_the_videos_and_says_what_it_chose(videos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["init", str(videos), "-o", "study.yaml", "--backbone", "tiny"])
    assert done.exit_code == 0, done.output
    assert "12 clips (train 8, val 2, test 2), 2 classes" in done.output
    assert "no clip from empty/ (a class folder without a video)" in done.output
    assert "no clip from nod/photo.jpg (a video, MP4 by its content, with a suffix of none; rename it)" in done.output
    assert "1 of 12 clips cannot be read: wave/5.mp4 (not_a_video" in done.output
    assert "2 test clips: an accuracy of 50 % has an interval of about +- 69 points" in done.output
    config = load_config(tmp_path / "study.yaml")
    assert config.results == "results_study"
    assert config.datasets["my_videos"].max_failed == 0.2
    assert "half of the clips are longer than 0.48 s" in (tmp_path / "study.yaml").read_text()
    second = CliRunner().invoke(app, ["init", str(videos), "-o", "study.yaml"])
    assert "study.yaml: exists; name another file with -o, or delete it" in str(second.exception)


def test_a_list_is_read_with_its_own_delimiter(videos, tmp_path):
    rows = [f"nod/{n}.mp4;{'train' if n < 4 else 'test'};nod" for n in range(6)]
    rows += [f"wave/{n}.mp4;{'train' if n < 3 else 'test'};wave" for n in range(5)]
    path = tmp_path / "list.csv"
    path.write_text("\n".join(["path;split;label", *rows]) + "\n")
    assert guess_delimiter(path) == ";"
    clips = survey(path, videos)
    assert (clips.options["delimiter"], clips.clips("train"), clips.clips("test")) == (";", 7, 4)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ((), "has no folders; put the videos into one folder per class"),
        (("train/nod/0.mp4",), "has no clips of the split test; add some, for example a folder test/CLASS/"),
        (("nod/0.mp4", "nod/1.mp4", "nod/2.mp4"), "has the class 'nod' only"),
        (
            ("train/nod/0.mp4", "test/Nod/0.mp4"),
            "'Nod' is none of the 1 classes of the training clips; did you mean 'nod'",
        ),
    ],
)
def test_a_folder_that_cannot_answer_the_question_is_refused(tmp_path, names, message):
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    with pytest.raises(ValueError, match=message):
        survey(tmp_path)


def test_a_source_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(ValueError, match="there is no such folder or file"):
        survey(tmp_path / "none")
    with pytest.raises(ValueError, match="--root: is for a list of clips"):
        survey(tmp_path, tmp_path)


@pytest.mark.parametrize("name", ["2024", "2024-05-01", "on", "null", "my videos", "Übung", "🎬"])
def test_any_folder_name_gives_a_configuration_that_is_read(tmp_path, name):
    folder = tmp_path / name
    folder.mkdir()
    path = tmp_path / "mine.yaml"
    path.write_text(render(study_of(folder, clips_of(folder), CPU)), "utf-8")
    (dataset,) = load_config(path).datasets.values()
    assert dataset.options["root"] == str(folder)

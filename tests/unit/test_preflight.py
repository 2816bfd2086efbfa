"""The preflight: each thing that would stop a run or spoil its results is one sentence that says what to do."""

import json
import os
import shutil
from collections import namedtuple
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
import yaml
from typer.testing import CliRunner

from chat_world import serving
from kinetext.cli import app
from kinetext.config.data import DatasetOptions
from kinetext.core.tables import write_table
from kinetext.data.index import index_clips
from kinetext.data.stale import stale_clips
from kinetext.plan import check_config, plan_runs
from kinetext.plan.inputs import backbone_facts
from kinetext.start import budget, preflight
from kinetext.start.checks import Check
from kinetext.texts.cache import fetch_reply
from kinetext.texts.chat.client import Server
from kinetext.texts.chat.probe import model_names, probe_server
from kinetext.texts.providers.chat_api import ChatApi
from kinetext.texts.questions import class_question

DEAD = "http://127.0.0.1:9/v1"  # nothing answers there
CHAT = {"module": "chat_api", "options": {"model": "m", "max_repairs": 0}}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The working folder: two classes with training and test clips, whose files hold no video."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr(budget, "measure_rate", lambda slots: budget.Rate("cpu", 40.0, slots))
    for name in ("train/nod/0", "train/nod/1", "train/wave/0", "train/wave/1", "test/nod/0", "test/wave/0"):
        path = tmp_path / f"videos/{name}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return tmp_path


def values(texts=None, **others):
    """A configuration of one method on two text sets."""
    return {
        "backbones": {"tiny": {"model": "kinetext-tiny"}},
        "datasets": {"mine": {"module": "folder", "options": {"root": "videos"}, "frames": {"size_px": 64}}},
        "texts": {"names": {}, **({"gpt": texts} if texts else {})},
        "methods": {"zero_shot": {}, "mean_pool": {}},
        "experiments": {
            "all": {
                **{"datasets": ["mine"], "backbone": "tiny", "methods": ["zero_shot", "mean_pool"]},
                "texts": ["names", *(["gpt"] if texts else [])],
            }
        },
        **others,
    }


def findings(texts=None, **others):
    """The findings as text, those that stop first."""
    checks = list(preflight.preflight(check_config(values(texts, **others)), "mine.yaml"))
    return [str(c) for c in checks if c.level == "stop"], [str(c) for c in checks if c.level != "stop"]


def test_a_study_that_can_run_has_its_size_its_disk_and_its_time(folder):
    stops, others = findings()
    assert stops == []
    assert "datasets.mine: 6 clips (train 4, val 0, test 2), 2 classes" in others
    assert any("2 test clips: an accuracy of 50 % has an interval of about +- 69 points" in line for line in others)
    assert any(line.startswith("disk of results: about 0.") for line in others)
    assert any(
        "no GPU: everything is computed on the CPU; 2 runs to do, roughly under two minutes" in x for x in others
    )


def test_clips_that_are_not_rendered_yet_give_no_estimate(folder):
    data = {"mine": {"module": "shapes", "frames": {"size_px": 64}}}
    stops, others = findings(datasets=data)
    assert stops == []
    assert any("2 runs to do, no estimate yet (2 without an estimate: their clips are not listed" in x for x in others)
    assert not (folder / "results").exists()


def test_a_missing_key_stops_before_anything_costs_time(folder):
    stops, others = findings(CHAT)
    (line,) = stops
    assert line.startswith(
        "stop: texts.gpt: no key in OPENAI_API_KEY, and none of its answers is cached; `export OPENAI"
    )
    assert any("texts.gpt: 2 classes of mine: about" in line and "price unknown" in line for line in others)


def test_a_control_needs_the_key_of_what_it_rearranges(folder):
    stops, _ = findings({"module": "shuffled", "options": {"of": CHAT}})
    assert "texts.gpt: no key in OPENAI_API_KEY" in stops[0]


def test_a_second_round_needs_the_keys_and_servers_of_both_rounds_and_both_cost(folder, monkeypatch):
    second = {"module": "refined", "options": {**CHAT["options"], "of": CHAT}}
    confusables = {"rule": "text"}
    stops, others = findings(second, confusables=confusables)
    assert [line.partition(",")[0] for line in stops] == ["stop: texts.gpt: no key in OPENAI_API_KEY"]  # once
    first, of = [line for line in others if "2 classes of mine: about" in line]
    assert first.startswith("texts.gpt: ")
    assert of.startswith("texts.gpt.of: ")
    with serving(monkeypatch) as server:
        second["options"] |= {"base_url": server.url, "api_key_env": "TEST_KEY"}
        stops, _ = findings(second, confusables=confusables)
    assert [line.partition(",")[0] for line in stops] == ["stop: texts.gpt.of: no key in OPENAI_API_KEY"]


def test_captions_cost_no_more_than_there_are_training_clips(folder):
    def note(clips, protocol):
        texts = {"module": "captions_of_clips", "options": {"model": "m", "clips": clips}}
        config = values(texts)
        config["experiments"]["all"] |= {"protocol": protocol}
        checks = preflight.preflight(check_config(config), "mine.yaml")
        return next(str(check) for check in checks if "2 classes of mine: about" in str(check))

    assert note(5, "supervised") == note(2, "supervised") != note(1, "supervised")  # two per class
    assert note(5, "few_shot_1") == note(1, "supervised")


def test_known_prices_give_the_cost(folder):
    _, others = findings({"module": "chat_api", "options": {"model": "gpt-4o"}})
    assert any("USD" in line and line.startswith("texts.gpt: 2 classes of mine") for line in others)


def test_cached_replies_may_be_enough(folder):
    options = {"model": "m", "base_url": DEAD, "max_repairs": 0}
    request = class_question("nod", [], ChatApi.Config(**options)).request
    fetch_reply(request, Path("results/cache"), lambda: {"reply": "{}"})
    stops, others = findings({"module": "chat_api", "options": options})
    assert stops == []
    assert any(f"no connection to {DEAD}" in line and "all classes may be cached" in line for line in others)


def test_a_table_that_is_there_needs_no_server(folder):
    table = folder / "results/data/mine/supervised/tiny/texts/gpt.parquet"
    write_table("texts", [], table)
    stops, _ = findings(CHAT)
    assert stops == []


def test_a_server_gets_one_request_and_is_named_if_it_is_down(folder, monkeypatch):
    with serving(monkeypatch) as server:
        options = {"model": "m", "base_url": server.url, "max_repairs": 0, "retries": 0}
        stops, _ = findings({"module": "chat_api", "options": options})
        assert stops == []  # it has no list of models, and answers
        assert server.requests == []  # no completion was asked for
    stops, _ = findings({"module": "chat_api", "options": options | {"base_url": DEAD}})
    assert f"no connection to {DEAD}" in stops[0]
    assert "is the server running?" in stops[0]


def test_a_list_of_models_is_read_if_it_is_one():
    assert model_names(json.dumps({"data": [{"id": "n"}]})) == {"n"}
    assert model_names("<html>") == model_names("[]") == model_names('{"data": [1]}') == set()


def test_a_tracking_server_that_is_down_is_a_warning(folder):
    stops, others = findings(tracking={"uri": "http://127.0.0.1:9"})
    assert stops == []
    assert any(line.startswith("warning: tracking: no connection to http://127.0.0.1:9") for line in others)


def test_weights_that_cannot_be_had_stop(folder, monkeypatch):
    from kinetext.backbones.open_clip_vit import OpenClipViT

    message = "the weights 'openai' of ViT-B-32 are not on this machine and cannot be downloaded (no route)"
    monkeypatch.setattr(OpenClipViT, "weights_state", classmethod(lambda cls, config: (message, True)))
    data = {"mine": {"module": "folder", "options": {"root": "videos"}}}
    backbones = {"tiny": {"model": "ViT-B-32", "pretrained": "openai"}}
    stops, _ = findings(backbones=backbones, datasets=data)
    assert stops == [f"stop: backbones.tiny: {message}; check the network, or set `weights` to a local file of them"]
    weights = folder / "results/backbones/tiny/weights.safetensors"
    weights.parent.mkdir(parents=True)
    weights.touch()
    assert findings(backbones=backbones, datasets=data)[0] == []


def test_frames_follow_from_the_description_of_weights_that_is_downloaded(folder, monkeypatch):
    from huggingface_hub import constants

    from kinetext.backbones import open_clip_base, weights

    def download(repository, names):
        snapshot = folder / "cache/models--me--clip/snapshots" / ("a" * 40)
        snapshot.mkdir(parents=True, exist_ok=True)
        (snapshot / names[0]).write_text('{"model_cfg": {}, "preprocess_cfg": {"resize_mode": "squash"}}')
        (snapshot.parents[1] / "refs").mkdir(exist_ok=True)
        (snapshot.parents[1] / "refs/main").write_text("a" * 40)
        return snapshot / names[0]

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder / "cache"))
    monkeypatch.setattr(open_clip_base, "hub_state", lambda repository: ("600 MB of weights will be downloaded", False))
    monkeypatch.setattr(weights, "hub_file", download)
    data = {"mine": {"module": "folder", "options": {"root": "videos"}}}
    backbones = {"tiny": {"model": "ViT-B-32", "weights": "hf-hub:me/clip"}}
    stops, others = findings(backbones=backbones, datasets=data)
    assert stops == []  # the frames follow from the backbone
    assert "backbones.tiny: 600 MB of weights will be downloaded" in others
    data["mine"]["frames"] = {"resize_mode": "shortest"}
    with pytest.raises(
        ValueError, match=r"datasets\.mine\.frames\.resize_mode is shortest, but backbone tiny takes squash"
    ):
        findings(backbones=backbones, datasets=data)


def test_a_full_disk_stops(folder, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(1, 1, 1000))
    stops, _ = findings()
    assert "disk of results: about" in stops[0]
    assert "free space, or set `results` to another disk" in stops[0]


def test_a_list_that_contradicts_itself_stops_with_its_own_sentence(folder):
    shutil.move(folder / "videos/test/nod", folder / "videos/test/Nod")
    stops, _ = findings()
    assert stops[0].startswith(f"stop: datasets.mine: root: {folder}/videos/test/Nod: 'Nod' is none of the 2 classes")


def test_what_gives_no_clip_is_a_warning(folder):
    (folder / "videos/train/empty").mkdir()
    (folder / "videos/train/nod/a.txt").touch()
    _, others = findings()
    (line,) = [line for line in others if "give no clip" in line]
    assert "2 folders and files give no clip: train/empty/ (a class folder without a video), train/nod/a.txt" in line
    assert line.endswith("`kinetext inspect mine --config mine.yaml` lists all")


def test_classes_without_test_clips_or_with_one_training_clip_are_warnings(folder):
    (folder / "videos/test/wave/0.mp4").unlink()
    (folder / "videos/train/nod/1.mp4").unlink()
    stops, others = findings()
    assert stops == []
    assert "warning: datasets.mine: 1 of 2 classes have no test clips; their accuracy is unknown: wave" in others
    one = "1 of 2 classes have one training clip; add some, or remove the class: nod"
    assert f"warning: datasets.mine: {one}" in others


def index(folder):
    output = folder / "results/data/mine"
    options = DatasetOptions(module="folder", options={"root": str(folder / "videos")})
    index_clips("mine", options, output / "clips.parquet", output / "shards.txt", output / "media", folder / "cache")
    return output / "clips.parquet"


def test_a_video_that_was_overwritten_in_place_is_named(folder):
    clips = index(folder)
    assert stale_clips(clips) == []
    video = folder / "videos/train/nod/0.mp4"
    folder_time, video_time = os.stat(video.parent).st_mtime_ns, os.stat(video).st_mtime_ns
    video.write_text("another length")
    os.utime(video, ns=(video_time, video_time))
    os.utime(folder / "videos/train/nod/1.mp4", ns=(1, 1))
    (folder / "videos/train/wave/0.mp4").unlink()
    os.utime(video.parent, ns=(folder_time, folder_time))
    assert stale_clips(clips) == [
        "train/nod/0.mp4 (11 bytes before, 14 now)",
        "train/nod/1.mp4 (another modification time)",
        "train/wave/0.mp4 (deleted)",
    ]
    stops, others = findings()
    assert stops == []
    (line,) = [line for line in others if "changed since they were listed" in line]
    assert "3 videos changed since they were listed: train/nod/0.mp4 (11 bytes before" in line
    assert line.endswith("`kinetext run mine.yaml -- --forcerun index_clips` reads them again")
    assert stale_clips(index(folder)) == []


def test_a_file_that_was_absent_and_is_there_now_is_stale(folder, tmp_path):
    rows = [{"clip_id": "a", "path": str(tmp_path / "a.mp4"), "split": "train", "label": "x", "size_bytes": -1}]
    write_table("clips", rows, tmp_path / "clips.parquet", {"labels": ["x"]})
    assert stale_clips(tmp_path / "clips.parquet") == []
    (tmp_path / "a.mp4").touch()
    assert stale_clips(tmp_path / "clips.parquet") == ["a (was absent)"]
    write_table("clips", [rows[0] | {"size_bytes": None}], tmp_path / "old.parquet", {"labels": ["x"]})
    assert stale_clips(tmp_path / "old.parquet") == []


def test_the_command_exits_with_1_if_something_stops(folder):
    (folder / "mine.yaml").write_text(yaml.safe_dump(values(CHAT)))
    done = CliRunner().invoke(app, ["check-config", "mine.yaml"])
    assert (done.exit_code, done.stdout) == (0, "mine.yaml: 4 runs\n")
    done = CliRunner().invoke(app, ["check-config", "mine.yaml", "--preflight"])
    assert done.exit_code == 1
    assert "stop: texts.gpt: no key" in done.stdout
    (folder / "mine.yaml").write_text(yaml.safe_dump(values()))
    assert CliRunner().invoke(app, ["check-config", "mine.yaml", "--preflight"]).exit_code == 0


# ---- the estimate


def test_arithmetic_of_the_models_is_that_of_their_papers(folder):
    config = check_config(values())
    assert backbone_facts(config.backbones["tiny"]).image_gflop < 0.1
    options = config.backbones["tiny"].model_copy(update={"model": "ViT-B-16", "pretrained": "openai"})
    facts = backbone_facts(options)
    assert facts.image_gflop == pytest.approx(35.1, rel=0.03)  # 17.6 multiply-adds (ViT-B/16 at 224 px)
    assert facts.parameters == pytest.approx(149.6e6, rel=0.03)  # CLIP ViT-B/16


def test_a_trained_encoder_costs_more_than_a_frozen_one_and_epochs_count(folder):
    def gflop(**training):
        config = check_config(values(methods={"zero_shot": {}, "mean_pool": {"training": training}}))
        run = next(run for run in plan_runs(config).values() if run.method == "mean_pool")
        return budget.run_gflop(run, backbone_facts(config.backbones["tiny"]), budget.Counts(100, 20, 4), 8)

    frozen, trained = gflop(image_encoder="frozen"), gflop(image_encoder="trained")
    assert trained > 5 * frozen
    assert gflop(image_encoder="trained", epochs=20) == pytest.approx(2 * trained, rel=0.1)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(3, "under two minutes"), (130, "2 minutes"), (7300, "2 hours"), (3 * 86400, "3 days")],
)
def test_durations_are_rough(seconds, words):
    assert budget.duration(seconds) == words


def test_frames_take_what_was_measured():
    options = DatasetOptions(options={}).frames
    assert budget.frame_bytes(options) == 8 * 17_900
    assert budget.frame_bytes(options.model_copy(update={"encoding": "raw", "size_px": 64})) == 8 * 64 * 64 * 3


def test_texts_of_a_data_set_do_not_end_the_preflight(folder):
    (folder / "mine.csv").write_text("label,phase,sentence\nnod,whole,the head goes down\nwave,whole,a hand swings\n")
    stops, others = findings({"module": "file", "options": {"path": "{dataset}.csv"}})
    assert stops == []
    assert any(line.startswith("time: ") for line in others)


@pytest.mark.parametrize("status", [403, 404, 405, 501])
def test_a_server_without_a_readable_list_of_models_passes(monkeypatch, status):
    class Refusing(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_):
            pass

    monkeypatch.setenv("OPENAI_API_KEY", "k")
    with ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as http:
        Thread(target=http.serve_forever, daemon=True).start()
        server = Server(f"http://127.0.0.1:{http.server_port}/v1", "OPENAI_API_KEY", 5.0, 0, True)
        assert probe_server(server, "m") is None
        http.shutdown()


def test_names_cannot_control_the_terminal():
    assert "\x1b" not in str(Check("warning", "datasets.mine", "the class \x1b[2J has no test clips"))


def test_results_are_named_as_snakemake_names_them(folder):
    for results in ("./out", "out/", "a/../out"):
        assert check_config(values(results=results)).results == "out"


def asking(options):
    """A configuration of a method that asks a model behind an API."""
    methods = {"zero_shot": {}, "asked": {"module": "video_llm", "options": options}}
    experiment = {"datasets": ["mine"], "backbone": "tiny", "methods": ["asked"], "texts": ["names"], "seeds": [0, 1]}
    return {"methods": methods, "experiments": {"all": experiment}}


def test_a_method_that_asks_a_server_needs_its_key_and_says_what_it_costs(folder):
    stops, others = findings(**asking({}))
    (line,) = stops
    assert line.startswith("stop: methods.asked: no key in OPENAI_API_KEY, and none of its answers is cached; `export")
    costs = [line for line in others if line.startswith("methods.asked: 2 requests about clips of mine, seed ")]
    assert len(costs) == 2
    assert "USD" in costs[0]


def test_a_method_that_asks_a_server_needs_the_server(folder, monkeypatch):
    with serving(monkeypatch) as server:
        stops, others = findings(**asking({"model": "m", "base_url": server.url, "api_key_env": "TEST_KEY"}))
        assert stops == []
        assert server.requests == []  # no clip was asked about
        assert any("methods.asked: 2 requests" in line and "price unknown" in line for line in others)
    stops, _ = findings(**asking({"model": "m", "base_url": DEAD, "retries": 0}))
    assert stops[0].startswith(f"stop: methods.asked: no connection to {DEAD}")
    for seed in (0, 1):
        write_table(
            "predictions", [], folder / f"results/runs/mine/supervised/tiny/asked/names/seed{seed}/predictions.parquet"
        )
    assert findings(**asking({"model": "m", "base_url": DEAD, "retries": 0}))[0] == []


def test_a_list_of_choices_that_is_too_long_stops(folder, monkeypatch):
    for name in ("train/jump/0", "test/jump/0"):
        (folder / f"videos/{name}.mp4").parent.mkdir(parents=True)
        (folder / f"videos/{name}.mp4").write_text(name)
    with serving(monkeypatch) as server:
        stops, _ = findings(**asking({"model": "m", "base_url": server.url, "max_choices": 2}))
    assert "methods.asked: each of its requests would list 3 choices of mine, and options.max_choices is 2" in stops[0]


def test_examples_need_classes_and_training_clips_of_the_data_set(folder):
    config = values(**asking({"examples": 2}))
    config["datasets"]["other"] = config["datasets"]["mine"]
    config["experiments"]["all"] |= {"protocol": "zero_shot_from_other"}
    with pytest.raises(ValueError, match="asked shows 2 training clips as examples, and the training clips have other"):
        check_config(config)
    config = values(**asking({}))
    config["methods"]["asked"] |= {"num_frames": 4, "testing": {"clips": 3}}
    with pytest.raises(ValueError, match=r"asked is asked once per clip, but methods\.asked\.testing has 3 views"):
        check_config(config)


def test_a_run_that_asks_a_server_has_no_backbone(folder):
    (run, _) = plan_runs(check_config(values(**asking({})))).values()
    assert run.backbone_options == {}
    assert run.run == "mine/supervised/tiny/asked/names/seed0"

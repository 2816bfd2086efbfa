"""The workflow from a configuration to the report, and what it does again when something has changed or was killed.

One finished run (tiny.yaml) is shared: most tests ask what a dry run of a changed configuration or source would do
beside it, and the few that run something work in a copy of its folder.
"""

import json
import os
import resource
import shutil
import signal
import sqlite3
import time
import zipfile
from pathlib import Path

import psutil
import pytest
from safetensors.torch import save_file

from calls import AFTER_METRICS, RUNS, TINY, jobs, overlay, planned, snakemake, start, wait_for
from chat_server import about_the_class
from chat_world import options, serving
from kinetext.backbones.checkpoint import save_backbone
from kinetext.backbones.open_clip_vit import Architecture, OpenClipViT
from kinetext.backbones.tiny import Tiny
from kinetext.backbones.values import Preprocess
from kinetext.config.backbone import TINY as BACKBONE
from kinetext.core import tables
from repository import ROOT

pytestmark = pytest.mark.workflow


def test_snakemakes_own_report_holds_the_page_its_figures_and_its_numbers(copied):
    done = snakemake(copied, "--report", "report.zip")
    assert done.returncode == 0, done.output
    with zipfile.ZipFile(copied / "report.zip") as packed:
        names = {Path(name).name for name in packed.namelist()}
    assert {"report.html", "metrics.csv", "differences.csv", "costs.csv"} <= names
    assert {path.name for path in (copied / "results/figures").glob("[!.]*")} <= names


def test_one_call_writes_everything(finished):
    results = finished / "results"
    assert "<html" in (results / "report.html").read_text()
    metrics = tables.read_rows("metrics", results / "tables/metrics.parquet")
    assert {row["method"] for row in metrics} == {"zero_shot", "mean_pool"}
    assert (finished / RUNS / "mean_pool/names/seed0/checkpoint.safetensors").exists()
    assert not (finished / RUNS / "zero_shot/names/seed0/checkpoint.safetensors").exists()
    with sqlite3.connect(results / "mlflow.db") as database:
        (count,) = database.execute("select count(*) from runs where lifecycle_stage = 'active'").fetchone()
    assert count == 4  # two methods, and above each the mean of its seeds
    benchmarks = {
        path.relative_to(results / "benchmarks").parts[0].removesuffix(".tsv")
        for path in (results / "benchmarks").rglob("*.tsv")
    }
    assert len(benchmarks) == 16  # a rule, a folder


def test_a_second_call_has_nothing_to_do(finished):
    done = snakemake(finished)
    assert done.returncode == 0
    assert "Nothing to be done" in done.output


def test_a_folder_named_elsewhere_is_another_set_of_results(finished, tmp_path):
    done = snakemake(finished, "-n", "--config", f"results={tmp_path}/other")
    assert jobs(done.output)["index_clips"] == 1


def test_a_configuration_file_takes_the_place_of_the_default_one(finished):
    """From the repository's root too, where config.yaml lies: its experiments are not mixed in."""
    done = snakemake(ROOT, "-n", "--nolock", "--config", f"results={finished}/nowhere")
    assert done.returncode == 0, done.output
    assert jobs(done.output)["plan_run"] == 2


def test_a_changed_hyper_parameter_runs_that_method_again(finished, tmp_path):
    configs = overlay(tmp_path, methods={"mean_pool": {"training": {"lr": 2.0e-4}}})
    assert planned(finished, configs=configs) == {
        **{"plan_run": 1, "train_method": 1, "predict_clips": 1, "measure_run": 1},
        **AFTER_METRICS,
    }


def test_a_new_method_runs_only_its_own_jobs(finished, tmp_path):
    configs = overlay(
        tmp_path,
        methods={"stan": {"options": {"layers": 2}, "training": {"epochs": 1}}},
        experiments={"tiny": {"methods": ["zero_shot", "mean_pool", "stan"]}},
    )
    assert planned(finished, configs=configs) == {
        **{"plan_run": 1, "train_method": 1, "predict_clips": 1, "measure_run": 1},
        **AFTER_METRICS,
    }


def test_a_new_seed_runs_only_its_own_jobs(finished, tmp_path):
    configs = overlay(tmp_path, experiments={"tiny": {"seeds": [0, 1]}})
    assert planned(finished, configs=configs) == {
        **{"plan_run": 2, "train_method": 1, "predict_clips": 2, "measure_run": 2},
        **AFTER_METRICS,
    }


def with_backbones(folder, backbones):
    """A configuration with the backbones `tiny` or `squashed`, whose frames are 64-squash-bilinear."""
    (folder / "hub").mkdir(exist_ok=True)
    save_file(Tiny().clip.state_dict(), folder / "hub/open_clip_model.safetensors")
    preprocess_cfg = {"resize_mode": "squash", "interpolation": "bilinear"}
    (folder / "hub/open_clip_config.json").write_text(json.dumps({"model_cfg": {}, "preprocess_cfg": preprocess_cfg}))
    return overlay(
        folder,
        backbones={"squashed": {"model": "kinetext-tiny", "weights": str(folder / "hub")}},
        experiments={"tiny": {"backbone": backbones}},
    )


@pytest.mark.parametrize("backbones", [["tiny", "squashed"], ["squashed", "tiny"]])
def test_a_backbone_with_other_frames_shares_clips_and_splits(finished, tmp_path, backbones):
    configs = with_backbones(tmp_path, backbones)
    assert planned(finished, configs=configs) == {
        **{"extract_frames": 1, "check_frames": 1, "prepare_backbone": 1, "embed_frames": 1, "embed_labels": 1},
        **{"mine_confusables": 1, "describe_classes": 1},
        **{"plan_run": 2, "train_method": 1, "predict_clips": 2, "measure_run": 2},
        **AFTER_METRICS,
    }


def test_a_backbone_with_smaller_frames_leaves_existing_splits_as_they_are(tmp_path):
    """The frames of `tiny` are the first in the order of sizes and names."""
    splits = "results/data/shapes/base_to_novel/splits.parquet"
    done = snakemake(tmp_path, splits, configs=with_backbones(tmp_path, ["squashed"]))
    assert done.returncode == 0, done.output
    assert tables.read_metadata(tmp_path / splits)["frame_set"] == "64-squash-bilinear"
    assert planned(tmp_path, splits, configs=with_backbones(tmp_path, ["squashed", "tiny"])) == {}
    assert (
        jobs(snakemake(tmp_path, splits, "-n", configs=with_backbones(tmp_path, ["tiny"])).output)["split_clips"] == 1
    )


def test_limits_of_a_server_and_of_failed_clips_rerun_nothing(copied, tmp_path, monkeypatch):
    table = "results/data/shapes/base_to_novel/tiny/texts/gpt.parquet"

    def configured(**changes):
        gpt = {"module": "chat_api", "options": options(server, **changes)}
        return overlay(tmp_path, texts={"gpt": gpt}, experiments={"tiny": {"texts": ["gpt"]}})

    with serving(monkeypatch) as server:
        server.script = about_the_class
        done = snakemake(copied, table, configs=configured(max_usd=1, price_in=1, price_out=1))
    assert done.returncode == 0, done.output
    assert planned(copied, table, configs=configured(max_usd=9, price_in=2, price_out=1, batch=True, timeout_s=9)) == {}
    assert planned(copied, table, configs=configured(temperature=0.5)) == {"describe_classes": 1}
    assert planned(copied, configs=overlay(tmp_path, datasets={"shapes": {"max_failed": 0.2}})) == {}


def test_frames_for_weights_on_the_hub_are_planned_without_its_cache(tmp_path, monkeypatch):
    """A folder of results that was moved to another machine holds the prepared backbone."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    preprocess = Preprocess((0.5,) * 3, (0.5,) * 3, "bilinear", "squash")
    backbone = OpenClipViT(Architecture(BACKBONE, preprocess=preprocess))
    save_backbone(backbone, tmp_path / "results/backbones/tiny", {"weights": "hf-hub:me/clip"})
    configs = overlay(tmp_path, backbones={"tiny": {"weights": "hf-hub:me/clip"}})
    frames = "results/data/shapes/frames/64-squash-bilinear/frames.json"
    assert planned(tmp_path, frames, configs=configs) == {"index_clips": 1, "check_frames": 1}
    shutil.rmtree(tmp_path / "results")
    refused = snakemake(tmp_path, frames, "-n", configs=configs)
    assert refused.returncode == 1
    assert "backbones.tiny.weights: hf-hub:me/clip is not in the cache" in refused.output


def test_rivals_in_a_file_are_mined_when_it_changes(copied, tmp_path):
    rivals = tmp_path / "shapes.csv"
    rivals.write_text("label,rival\nmoving right,moving left\n")
    configs = overlay(tmp_path, confusables={"rule": "file", "file": str(tmp_path / "{dataset}.csv")})
    table = "results/data/shapes/base_to_novel/tiny/confusables.parquet"
    done = snakemake(copied, table, configs=configs)
    assert done.returncode == 0, done.output
    rows = tables.read_rows("confusables", copied / table)
    assert [(r["label"], r["rival"]) for r in rows if r["rule"] == "file"] == [("moving right", "moving left")]
    assert jobs(snakemake(copied, table, "-n", configs=configs).output) == {}
    rivals.write_text("label,rival\nmoving left,moving right\n")
    assert jobs(snakemake(copied, table, "-n", configs=configs).output) == {"mine_confusables": 1}


def test_the_title_costs_one_job(finished, tmp_path):
    configs = overlay(tmp_path, report={"title": "another"})
    assert planned(finished, configs=configs) == {"render_report": 1, "all": 1}


@pytest.mark.parametrize(
    ("file", "line", "expected"),
    [
        ("src/kinetext/evaluation/metrics/recall.py", "NEW = 1", {"measure_run": 2, **AFTER_METRICS}),
        ("src/kinetext/evaluation/predictions.py", "NEW = 1", {"measure_run": 2, **AFTER_METRICS}),
        ("src/kinetext/report/differences.py", "NEW = 1", {"collect_metrics": 1, "render_report": 1, "all": 1}),
        ("src/kinetext/report/render.py", "NEW = 1", {"render_report": 1, "all": 1}),
        ("src/kinetext/report/page/page.html.j2", "<p>new</p>", {"render_report": 1, "all": 1}),
        ("src/kinetext/texts/mining.py", "# a comment", {}),  # no training depends on it
        ("src/kinetext/training/train.py", "NEW = 1", {}),  # the checkpoint says which commit made it
    ],
)
def test_a_changed_source_file_reruns_what_is_cheap(finished, tmp_path, file, line, expected):
    source = tmp_path / "source"
    for name in ("Snakefile", "config.yaml"):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, source / name)
    for name in ("workflow", "src", "envs"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("*.safetensors", "__pycache__"))
    with (source / file).open("a") as changed:
        changed.write(f"{line}\n")
    assert planned(finished, source=source) == expected


def test_a_misspelt_key_stops_within_seconds(tmp_path):
    configs = overlay(tmp_path, experiment={})
    before, started_s = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = snakemake(tmp_path, configs=configs, fresh=True)
    assert time.monotonic() - started_s < 120  # it waits for nothing
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert cpu_s < 30  # about 6 on an idle machine, nearly all of it imports; other tests run at the same time
    assert done.returncode != 0
    assert f"{TINY}, {configs[1]}: experiment: unknown key; did you mean 'experiments'?" in done.output
    assert "Traceback" not in done.output
    assert not (tmp_path / "results").exists()


# ---- killed


def training_job(process):
    """The process of `kinetext train-method` below a call."""
    try:
        below = psutil.Process(process.pid).children(recursive=True)
        trains = [job for job in below if "train-method" in job.cmdline() and "python" in job.cmdline()[0]]
    except psutil.Error:
        return None
    return trains[0] if trains else None


def test_a_killed_training_and_a_killed_snakemake_go_on_where_they_were(copied, tmp_path):
    configs = overlay(tmp_path, methods={"mean_pool": {"training": {"epochs": 150}}})
    finished_before = {p: p.stat().st_mtime_ns for p in (copied / RUNS / "zero_shot").rglob("*.parquet")}
    jobs_planned = {"plan_run": 1, "train_method": 1, "predict_clips": 1, "measure_run": 1, **AFTER_METRICS}
    assert planned(copied, configs=configs) == jobs_planned

    # one job is killed: the call fails, what it declared is deleted, its state is kept
    call = start(copied, configs=configs)
    try:
        wait_for(lambda: list((copied / "results/cache/train").glob("*.pt")), call)
        training_job(call).send_signal(signal.SIGKILL)
        assert call.wait(600) != 0
    finally:
        if call.poll() is None:
            os.killpg(call.pid, signal.SIGKILL)
    assert not (copied / RUNS / "mean_pool/names/seed0/checkpoint.safetensors").exists()
    assert list((copied / "results/cache/train").glob("*.pt"))  # the last state and, by now, perhaps the one before it
    del jobs_planned["plan_run"]  # that one was finished
    assert planned(copied, configs=configs) == jobs_planned

    # the power fails: Snakemake and its jobs end without a word
    log = copied / "results/logs/train_method/shapes/base_to_novel/tiny/mean_pool/names/seed0.log"
    log.unlink()
    call = start(copied, configs=configs)
    try:
        wait_for(lambda: log.exists() and "resuming after epoch" in log.read_text(), call)
    finally:
        os.killpg(call.pid, signal.SIGKILL)
        call.wait()

    # Snakemake cannot know that nobody else works in the folder; it says how to tell it
    refused = snakemake(copied, configs=configs)
    assert refused.returncode != 0
    assert "--unlock" in refused.output
    assert snakemake(copied, "--unlock", configs=configs).returncode == 0
    done = snakemake(copied, configs=configs)
    assert done.returncode == 0, done.output
    assert jobs(done.output) == jobs_planned
    assert "resuming after epoch" in log.read_text()
    assert {p: p.stat().st_mtime_ns for p in (copied / RUNS / "zero_shot").rglob("*.parquet")} == finished_before
    curves = tables.pq.read_table(copied / RUNS / "mean_pool/names/seed0/curves.parquet").to_pylist()
    assert [row["epoch"] for row in curves if row["metric"] == "train_loss"] == list(range(1, 151))


# ---- bad videos


def test_a_bad_video_is_a_row_and_too_many_stop_before_training(copied, tmp_path):
    media = next((copied / "results/data/shapes/media").glob("*"))
    for split, label, number in [
        (s, c, n) for s in ("train", "test") for c in ("moving_right", "moving_left") for n in (0, 1)
    ]:
        folder = tmp_path / "videos" / split / label
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(media / split / label / f"{number:04d}.mp4", folder)
    (tmp_path / "videos/train/moving_left/bad.mp4").write_text("no video at all")
    values = {
        "datasets": {
            "mine": {"module": "folder", "options": {"root": str(tmp_path / "videos")}, "frames": {"size_px": 64}}
        },
        "experiments": {
            "tiny": {"datasets": ["mine"], "protocol": "supervised", "methods": ["mean_pool"]},
        },
        "confusables": {"rule": "text"},
    }
    predicted = "results/runs/mine/supervised/tiny/mean_pool/names/seed0/predictions.parquet"

    values["datasets"]["mine"]["max_failed"] = 0.1  # 1 of 9 is more
    done = snakemake(copied, predicted, configs=overlay(tmp_path, **values))
    assert done.returncode != 0
    assert "1 of 9 clips have no frames, more than max_failed 0.1 allows" in done.output
    rows = tables.open_shard("frames", copied / "results/data/mine/frames/64-shortest-bicubic/00000.arrow").to_pylist()
    failed = {row["clip_id"]: row["error"] for row in rows if row["status"] == "failed"}
    assert list(failed) == ["train/moving_left/bad.mp4"]
    assert len(rows) == 9
    assert f"train/moving_left/bad.mp4: {failed['train/moving_left/bad.mp4']}" in done.output
    assert not (copied / "results/logs/train_method/mine").exists()

    values["datasets"]["mine"]["max_failed"] = 0.2
    done = snakemake(copied, predicted, configs=overlay(tmp_path, **values))
    assert done.returncode == 0, done.output
    assert (copied / predicted).exists()


# ---- other data


def copy_videos(media, root, split, names):
    """Some of the rendered videos of two classes, as a user's own folders."""
    for label in ("moving_right", "moving_left"):
        (root / split / label).mkdir(parents=True, exist_ok=True)
        for name in names:
            shutil.copy(media / "test" / label / "0000.mp4", root / split / label / name)


def test_a_video_more_is_extracted_alone_and_another_data_sets_run_is_tested_on_them(copied, tmp_path):
    media, root = next((copied / "results/data/shapes/media").glob("*")), tmp_path / "videos"
    copy_videos(media, root, "test", ["a.mp4", "b.mp4", "c.mp4"])
    mine = {"module": "folder", "options": {"root": str(root)}, "frames": {"size_px": 64}, "shard_clips": 4}
    experiment = {"datasets": ["mine"], "protocol": "zero_shot_from_shapes", "methods": ["mean_pool"]}
    configs = overlay(tmp_path, datasets={"mine": mine}, experiments={"tiny": experiment}, confusables={"rule": "text"})
    metrics = "results/runs/mine/zero_shot_from_shapes/tiny/mean_pool/names/seed0/metrics.parquet"
    done = snakemake(copied, metrics, configs=configs)
    assert done.returncode == 0, done.output
    trained = jobs(done.output)["train_method"], (copied / "results/runs/shapes/supervised/tiny/mean_pool/names/seed0")
    assert trained[0] == 1
    assert (trained[1] / "checkpoint.safetensors").exists()
    counted = {(r["split"], r["clips"]) for r in tables.read_rows("metrics", copied / metrics) if r["metric"] == "top1"}
    assert counted == {("test", 6)}  # both names are trained on: none is unseen

    assert jobs(snakemake(copied, metrics, "-n", configs=configs).output) == {}
    full = copied / "results/data/mine/frames/64-shortest-bicubic/00000.arrow"
    before = full.stat().st_mtime_ns
    copy_videos(media, root, "test", ["d.mp4"])
    done = snakemake(copied, "results/data/mine/frames/64-shortest-bicubic/frames.json", configs=configs)
    assert done.returncode == 0, done.output
    assert full.stat().st_mtime_ns == before
    assert (
        "4 clips: 4 ok; 2 kept from before"
        in (copied / "results/logs/extract_frames/mine/64-shortest-bicubic/00001.log").read_text()
    )


def test_an_edited_file_of_texts_reruns_what_depends_on_it_and_nothing_else(copied, tmp_path):
    labels = tables.read_metadata(copied / "results/data/shapes/clips.parquet")["labels"]
    (tmp_path / "mine.csv").write_text("label,sentence\n" + "".join(f"{k},a shape does it {k}ly\n" for k in labels))
    experiment = {"datasets": ["shapes"], "protocol": "base_to_novel", "backbone": "tiny", "methods": ["zero_shot"]}
    configs = overlay(
        tmp_path,
        texts={"mine": {"module": "file", "options": {"path": str(tmp_path / "mine.csv")}}},
        experiments={"mine": {**experiment, "texts": ["mine"]}},
    )
    metrics = [f"{RUNS}/zero_shot/{texts}/seed0/metrics.parquet" for texts in ("names", "mine")]
    done = snakemake(copied, *metrics, configs=configs)
    assert done.returncode == 0, done.output
    assert jobs(snakemake(copied, *metrics, "-n", configs=configs).output) == {}
    with (tmp_path / "mine.csv").open("a") as file:
        file.write(f"{labels[0]},it never stands still\n")
    expected = {"describe_classes": 1, "predict_clips": 1, "measure_run": 1}
    assert jobs(snakemake(copied, *metrics, "-n", configs=configs).output) == expected


def test_captions_go_the_same_way(copied, tmp_path):
    captioned = {
        "options": {"pairs": ["across"], "train": 1, "val": 0, "test": 2, "workers": 1},
        "frames": {"size_px": 64},
    }
    experiment = {"datasets": ["shapes_captions"], "protocol": "supervised", "methods": ["zero_shot"]}
    values = {"datasets": {"shapes_captions": captioned}, "texts": {"captions": {}}}
    configs = overlay(tmp_path, **values, experiments={"tiny": {**experiment, "texts": ["captions"]}})
    metrics = "results/runs/shapes_captions/supervised/tiny/zero_shot/captions/seed0/metrics.parquet"
    done = snakemake(copied, metrics, configs=configs)
    assert done.returncode == 0, done.output
    assert "embed_frames" not in jobs(done.output)  # there are no classes to mine
    metric_names = {row["metric"] for row in tables.read_rows("metrics", copied / metrics)}
    assert {"t2v_r1", "v2t_mdr", "t2v_r1:dsl"} <= metric_names

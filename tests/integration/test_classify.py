"""Classify a folder and a list of videos with a trained run: `kinetext classify`."""

import csv
from pathlib import Path

import pytest

from kinetext.config.data import FrameOptions
from kinetext.core.tables import read_rows
from kinetext.evaluation import classify as module
from kinetext.evaluation.classifier import Classifier
from kinetext.evaluation.classify import classify
from results import make_results
from videos import hangs_or_crashes


@pytest.fixture(scope="module")
def results(world, tmp_path_factory):
    return make_results(world, tmp_path_factory.mktemp("classify") / "results")


def test_folders_and_lists_become_rows_and_so_do_errors(world, results, tmp_path, capfd):
    (run,) = (path.parent for path in results.glob("runs/**/run.yaml"))
    clips = [row for row in read_rows("clips", world.clips) if row["split"] == "test"]
    folder = tmp_path / "videos" / "deep"
    folder.mkdir(parents=True)
    for number, row in enumerate(clips[:3]):
        (folder / f"{number}.mp4").symlink_to(row["path"])
    (folder / "bad.mp4").write_text("no video")
    (folder / "notes.txt").write_text("not a list, as it is in a folder")
    (tmp_path / "list.csv").write_text(f"path,start_s,end_s\n{clips[3]['path']},0.5,1.5\nabsent.mp4,,\n")
    output = tmp_path / "out.csv"
    assert classify([tmp_path / "videos", tmp_path / "list.csv"], run, 2, output) == (6, 2)
    with output.open() as file:
        rows = list(csv.DictReader(file))
    assert [row["path"].rpartition("/")[2] for row in rows if row["rank"] in ("1", "")][:4] == [
        *("0.mp4", "1.mp4", "2.mp4", "bad.mp4")
    ]
    assert [row["rank"] for row in rows] == ["1", "2"] * 3 + [""] + ["1", "2"] + [""]
    listed = next(row for row in rows if row["start_s"])
    assert (listed["start_s"], listed["end_s"]) == ("0.5", "1.5")
    assert [bool(row["error"]) for row in rows] == [False] * 6 + [True] + [False] * 2 + [True]
    labels = [row["label"] for row in read_rows("clips", world.clips)]
    assert all(row["label"] in labels for row in rows if row["rank"])

    assert classify([folder / "0.mp4"], run, 1) == (1, 0)
    printed = capfd.readouterr().out.splitlines()
    assert printed[0].endswith("0.mp4")
    assert printed[1].endswith(rows[0]["label"])


def test_a_decoder_that_hangs_or_crashes_costs_one_video(tmp_path, monkeypatch):
    classifier = Classifier()
    classifier.frames = FrameOptions(num_frames=4, size_px=32, clip_limit_s=2)
    monkeypatch.setattr(module, "load_classifier", lambda run, model: classifier)
    monkeypatch.setattr(module, "extract_clip", hangs_or_crashes)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.mp4").write_text("no video")
    videos = [Path("hangs.mp4"), Path("crashes.mp4"), Path("bad.mp4")]
    assert classify(videos, output=tmp_path / "out.csv") == (3, 3)
    with (tmp_path / "out.csv").open() as file:
        errors = [row["error"] for row in csv.DictReader(file)]
    assert errors[:2] == [
        "timeout: not done after 2 s, tried twice",
        "decoder crashed: its process ended with exit code 3",
    ]
    assert errors[2]

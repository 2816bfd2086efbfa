"""What `kinetext inspect` says of a data set, with everything wrong that there may be."""

import csv
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from typer.testing import CliRunner

from captioned import write_msrvtt
from kinetext import cli
from kinetext.config.data import DatasetOptions
from kinetext.data.duplicates import find_duplicates
from kinetext.data.inspect import inspect
from kinetext.data.sheet import Cell, draw_sheet
from official import write_ucf101
from videos import write_video, write_wide


@pytest.fixture
def folder(tmp_path):
    """Two classes; a training clip is a test clip, too, one file is no video and one has a part missing."""
    root = tmp_path / "root"
    for number, name in enumerate(("train/push_up/1", "train/push_up/2", "train/sit_up/1", "test/push_up/1")):
        path = root / f"{name}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_video(path, 10 + number, container={"movflags": "+faststart"})
    (root / "test/sit_up").mkdir()
    (root / "test/sit_up/same.mkv").write_bytes((root / "train/push_up/2.mp4").read_bytes())
    (root / "train/sit_up/same.mp4").write_bytes((root / "train/sit_up/1.mp4").read_bytes())
    (root / "train/sit_up/text.mp4").write_text("not a video")
    (root / "train/sit_up/empty.mp4").touch()
    whole = write_video(tmp_path / "whole.mp4", 60, container={"movflags": "+faststart"}).read_bytes()
    (root / "train/push_up/cut.mp4").write_bytes(whole[: len(whole) // 2])
    return root


def look(tmp_path, module, options, capsys):
    inspect("mine", DatasetOptions(module=module, options=options), tmp_path / "media", tmp_path / "found")
    return capsys.readouterr().out


def test_a_folder_with_everything_wrong(folder, tmp_path, capsys):
    printed = look(tmp_path, "folder", {"root": str(folder)}, capsys)
    assert "mine: 9 clips: train 7, val 0, test 2" in printed
    assert "2 classes; clips per class (min / median / max): train 3 / 3.5 / 4, test 1 / 1 / 1" in printed
    assert "smallest classes: push up 4, sit up 5" in printed
    assert "files equal to another: 4 in 2 groups, 1 of them across splits" in printed
    groups = (tmp_path / "found/duplicates.txt").read_text().splitlines()
    assert groups[0] == f"test, train: {folder}/test/sit_up/same.mkv = {folder}/train/push_up/2.mp4"
    assert groups[1].startswith("train: ")
    assert "of 9 clips, evenly spaced, 7 can be read" in printed
    assert "sizes 64x48 (7)" in printed
    assert "codecs h264 (7)" in printed
    assert (
        "cannot be read: 2: train/sit_up/empty.mp4 (empty_file: zero bytes), train/sit_up/text.mp4 (not_a_vid"
        in printed
    )
    assert "pictures of 9 clips: ok (6), failed (2), truncated (1)" in printed
    assert "not ok: 3: train/push_up/cut.mp4 (" in printed
    with (tmp_path / "found/classes.csv").open() as file:
        assert list(csv.reader(file)) == [
            ["class", "train", "val", "test"],
            ["push up", "3", "0", "1"],
            ["sit up", "4", "0", "1"],
        ]
    sheet = np.asarray(Image.open(tmp_path / "found/sheet.png"))
    assert (sheet == (0xC8, 0x10, 0x2E)).all(2).sum() > 2 * 2 * (176 + 132)  # the borders of two that failed


def test_pixels_that_are_not_square_are_a_line(tmp_path, capsys):
    for name in ("train/nod/0", "test/nod/0"):
        (tmp_path / f"root/{name}.mp4").parent.mkdir(parents=True)
    write_wide(tmp_path / "root/train/nod/0.mp4")
    write_video(tmp_path / "root/test/nod/0.mp4", 10)
    printed = look(tmp_path, "folder", {"root": str(tmp_path / "root")}, capsys)
    assert "  pixels that are not square, width / height: 2 (1); aspect: display" in printed


def test_official_lists(tmp_path, capsys):
    options = write_ucf101(tmp_path)
    (tmp_path / "videos/YoYo/new.avi").write_bytes(b"RIFF")
    printed = look(tmp_path, "ucf101", options, capsys)
    assert "test: 2 listed, 3783 published" in printed
    assert "classes: 3 listed, 101 published" in printed
    assert "list " + options["annotations"] + "/classInd.txt: sha256 " in printed
    absent = tmp_path / "videos/YoYo/v_YoYo_g01_c01.avi"
    assert f"absent files: 1: {absent}" in printed
    assert (tmp_path / "found/absent.txt").read_text() == f"{absent}\n"
    assert (tmp_path / "found/unlisted.txt").read_text() == f"{tmp_path}/videos/YoYo/new.avi\n"
    assert "(not_found: there is no such file)" in printed


def test_texts_longer_than_a_backbone_reads_are_counted(tmp_path, capsys):
    options, words = DatasetOptions(module="msrvtt", options=write_msrvtt(tmp_path)), lambda text: len(text.split()) + 2
    limits = {"b16": (7, words), "large": (8, words)}  # the longest caption has 6 words
    inspect("mine", options, tmp_path / "media", tmp_path / "found", token_limits=limits)
    printed = capsys.readouterr().out
    [longest] = {line.rpartition(": ")[2] for line in printed.splitlines() if "cuts their end" in line}
    assert len(longest.split()) == 6
    assert "warning: 1 of 5 texts are longer than the 7 tokens of b16, which cuts their end: " in printed


def test_captions(tmp_path, capsys):
    printed = look(tmp_path, "msrvtt", write_msrvtt(tmp_path), capsys)
    assert "captions: 5; per clip 1 / 1 / 2, words per caption 2 / 3 / 6 (min / median / max)" in printed
    assert "classes;" not in printed
    assert "train: 2 listed, 9000 published" in printed
    assert "pictures of 4 clips: ok (4)" in printed


def test_the_command_reads_the_configuration(folder, tmp_path):
    config = yaml.safe_load(Path("config.yaml").read_text())
    config["results"] = str(tmp_path / "results")
    config["datasets"]["mine"] = {"module": "folder", "options": {"root": str(folder)}}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    call = ["inspect", "mine", "--config", str(tmp_path / "config.yaml"), "--clips", "3"]
    result = CliRunner().invoke(cli.app, call)
    assert result.exit_code == 0, result.output
    assert "of 3 clips, evenly spaced" in result.output
    assert (tmp_path / "results/inspect/mine/sheet.png").exists()
    call[1] = "mien"
    result = CliRunner().invoke(cli.app, call)
    assert "there is no data set 'mien'; did you mean 'mine'?" in str(result.exception)


def test_only_files_with_the_same_bytes_are_equal(tmp_path):
    long = bytes(200_000)
    contents = {
        "a": long,
        "b": long,
        "c": long[:100_000] + b"!" + long[100_001:],
        "d": b"x",
        "e": b"y",
        "f": b"",
        "g": b"",
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    paths = [str(tmp_path / name) for name in [*contents, "absent"]]
    assert find_duplicates(paths) == ([paths[:2]], {paths[-1]})


def test_a_sheet_takes_any_text(tmp_path):
    cells = [("", "", Cell("failed", "x" * 900)), ("w" * 300 + "\udce9 漢字", "n" * 99, Cell("failed"))]
    cells += [("a b " * 60, "", Cell("damaged", "why", np.zeros((5, 176, 3), np.uint8)))]
    draw_sheet(cells, tmp_path / "sheet.png")
    assert Image.open(tmp_path / "sheet.png").size == (3 * 188 + 12, 132 + 48 + 4 + 24)

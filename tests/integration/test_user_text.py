"""Text of the user in paths, class names and titles: the shell, Snakemake and matplotlib take it as it is."""

import pytest
import yaml

from calls import TINY, planned, snakemake
from kinetext.core import tables
from videos import write_video

pytestmark = pytest.mark.workflow

CLASSES = ["{x}", "<x>", "$$", "$\\frac{$", "a'b"]
RESULTS = "my results; touch PWNED 'a\" $HOME"


def test_class_folders_and_results_with_characters_of_the_shell_and_of_snakemake(tmp_path):
    values = yaml.safe_load(TINY.read_text())
    videos = tmp_path / "{root}" / "<videos>"
    for label in CLASSES:
        (videos / label).mkdir(parents=True)
        for i in range(3):
            write_video(videos / label / f"{i}.mp4", 4)
    values["results"] = RESULTS
    values["report"] = {"title": "{x} <b>"}
    values["datasets"] = {"mine": {"module": "folder", "options": {"root": str(videos)}, "frames": {"size_px": 64}}}
    values["confusables"]["rule"] = "text"
    values["experiments"]["tiny"] |= {"datasets": ["mine"], "protocol": "supervised"}
    config = tmp_path / "odd.yaml"
    config.write_text(yaml.safe_dump(values))
    done = snakemake(tmp_path, f"{RESULTS}/data/mine/frames/64-shortest-bicubic/00000.arrow", configs=[config])
    assert done.returncode == 0, done.output
    clips = tmp_path / RESULTS / "data/mine/clips.parquet"
    assert tables.read_metadata(clips)["labels"] == sorted(CLASSES)
    assert {path.name for path in tmp_path.iterdir()} == {".snakemake", "odd.yaml", "{root}", RESULTS}

    assert "index_clips" not in planned(tmp_path, configs=[config])
    write_video(videos / "{x}" / "new.mp4", 4)
    assert planned(tmp_path, configs=[config])["index_clips"] == 1

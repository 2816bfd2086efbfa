"""Models behind an API through the whole workflow, from clips to the report, without a second bill: a method that asks
about test clips, and texts that are captions of training clips.
"""

import json
import re
import zlib

import yaml

from calls import TINY, snakemake
from chat_server import completion
from chat_world import KEY, serving
from kinetext.core.tables import read_rows
from reported import Page

TEXTS = "results/data/shapes/base_to_novel/tiny/texts/seen.parquet"
RUN = "results/runs/shapes/base_to_novel/tiny/asked/names/seed0"


def write_config(folder, server):
    """The tiny experiment with a method that asks the server in place of the one that trains."""
    config = yaml.safe_load(TINY.read_text())
    options = {"model": "m", "base_url": server.url, "api_key_env": "TEST_KEY", "price_in": 1.0, "price_out": 2.0}
    config["methods"] = {"zero_shot": {}, "asked": {"module": "video_llm", "options": options}}
    config["experiments"]["tiny"]["methods"] = ["zero_shot", "asked"]
    config["texts"]["seen"] = {"module": "captions_of_clips", "options": options}
    seen = {"methods": ["zero_shot"], "texts": ["seen"]}
    config["experiments"]["seen"] = config["experiments"]["tiny"] | seen
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return (folder / "config.yaml",)


def answer(asked):
    """The first class of the list, and once in four clips nothing; or a caption."""
    pictures = json.dumps(asked["messages"])
    if "Describe the movement in this clip" in pictures:
        number = zlib.crc32(pictures.encode())
        parts = {"start": f"low {number}", "steps": ["half up", "nearly up"], "end": f"high {number}"}
        return completion(json.dumps(parts | {"whole": [f"it climbs {number}"]}))
    first = re.search(r"1\. ([a-z ]+)", pictures)[1]
    return completion(json.dumps({"choices": [1]}) if zlib.crc32(pictures.encode()) % 4 else f"It may be {first}.")


def test_a_model_behind_a_server_is_a_row_of_the_report(tmp_path, monkeypatch):
    with serving(monkeypatch) as server:
        server.script = answer
        configs = write_config(tmp_path, server)
        done = snakemake(tmp_path, configs=configs, fresh=True)
        assert done.returncode == 0, done.output
        asked = len(server.requests)
        clips = read_rows("predictions", tmp_path / RUN / "predictions.parquet")
        captions = read_rows("texts", tmp_path / TEXTS)
        shown = {clip for row in captions for clip in (row["clips"] or "").split(" | ") if clip}
        assert {clip.split("/")[0] for clip in shown} == {"train"}
        assert len(shown) == 2 * 4  # all training clips of the two base classes
        assert {row["label"] for row in captions if row["clips"]} == {"moving right", "moving left"}
        assert asked == len(clips) + len(shown) > len(shown)
        written_ns = (tmp_path / RUN / "predictions.parquet").stat().st_mtime_ns
        done = snakemake(tmp_path, "--forcerun", "predict_clips", "describe_classes", configs=configs, fresh=True)
        assert done.returncode == 0, done.output
        assert (tmp_path / RUN / "predictions.parquet").stat().st_mtime_ns > written_ns
        assert len(server.requests) == asked  # all replies were cached
    tables = tmp_path / "results/tables"
    costs = {row["method"]: row for row in read_rows("costs", tables / "costs.parquet")}
    assert costs["asked"]["requests_per_clip"] == 2  # among the base classes, and among all
    assert costs["asked"]["usd_per_clip"] == 2 * (400 * 1e-6 + 100 * 2e-6)
    assert costs["asked"]["gflops_per_clip"] is None
    assert costs["zero_shot"]["requests_per_clip"] is None
    runs = {row["method"]: row for row in read_rows("runs", tables / "runs.parquet")}
    assert runs["asked"]["answers"].startswith("m-2024-05 answered; ")
    assert runs["zero_shot"]["answers"] is None
    metrics = {row["metric"] for row in read_rows("metrics", tables / "metrics.parquet") if row["method"] == "asked"}
    assert "top1" in metrics
    page = Page((tmp_path / "results/report.html").read_text())
    assert "asked, names, seed 0: m-2024-05 answered" in page.text["results"]
    assert "requests" in page.text["cost"]
    written = (path for path in (tmp_path / "results").rglob("*") if path.is_file())
    assert not any(KEY.encode() in path.read_bytes() for path in written)

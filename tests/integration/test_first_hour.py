"""A user's first hour with Snakemake: the preflight stops a run at once, doctor's advice works when typed, failed clips are
tried again.
"""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from urllib.request import Request, urlopen

import pytest
import yaml

from calls import BIN, RUNS, TINY, environment, jobs, overlay, snakemake
from kinetext.core import tables
from kinetext.data.retry import failed_clips
from videos import write_video

pytestmark = pytest.mark.workflow


def type_in(folder, command):
    """Run a command as a user types it."""
    words = {"cwd": folder, "env": environment(), "shell": True, "capture_output": True, "text": True}
    return subprocess.run(command, **words, check=False)


def doctor_lines(folder):
    done = type_in(folder, f"{BIN}/kinetext doctor --config tiny.yaml")
    *lines, last = done.stdout.splitlines()
    return [line for line in lines if "; " in line], last


def test_a_missing_key_stops_before_the_first_job(tmp_path):
    configs = overlay(
        tmp_path,
        texts={"names": {}, "gpt": {"module": "chat_api", "options": {"api_key_env": "NO_SUCH_KEY"}}},
        experiments={"tiny": {"texts": ["names", "gpt"]}},
    )
    done = snakemake(tmp_path, "-q", configs=configs)  # which hides Snakemake's sentences, not these
    assert done.returncode != 0
    assert (
        "stop: texts.gpt: no key in NO_SUCH_KEY, and none of its answers is cached; `export NO_SUCH_KEY=" in done.output
    )
    assert "Nothing was run. KINETEXT_PREFLIGHT=warn" in done.output
    assert "Traceback" not in done.output
    assert not (tmp_path / "results/data").exists()
    page = (tmp_path / "results/report.html").read_text()
    assert "no key in NO_SUCH_KEY" in page
    assert "4 of 4 runs" in page
    dry = snakemake(tmp_path, "-n", configs=configs)
    assert dry.returncode == 0
    assert "no key" not in dry.output


def test_the_advice_of_doctor_works_when_it_is_typed(copied):
    shutil.copy(TINY, copied / "tiny.yaml")
    (copied / "config.yaml").write_text("results: elsewhere\n")
    damaged = [
        "results/tables/metrics.parquet",
        "results/tables/runs.parquet",
        f"{RUNS}/zero_shot/names/seed0/metrics.parquet",
        f"{RUNS}/mean_pool/names/seed0/predictions.parquet",
        "results/data/shapes/base_to_novel/tiny/confusables.parquet",
    ]
    for name in damaged:
        (copied / name).write_bytes((copied / name).read_bytes()[:100])
    shard = next((copied / "results/data/shapes/frames").rglob("*.arrow"))
    shard.unlink()
    plan = copied / f"{RUNS}/zero_shot/names/seed0/run.yaml"
    plan.write_text(plan.read_text().replace("seed: 0", "seed: 7"))
    (copied / "results/tables/costs.parquet").unlink()
    lines, _ = doctor_lines(copied)
    assert len(lines) == len(damaged) + 3
    for line in lines:
        path, advice = line.split(": ")[0], line.split("; ", 1)[1]
        if advice.startswith("delete it"):
            (copied / path).unlink()
        for command in re.findall(r"`([^`]+)`", advice):
            done = type_in(copied, f"PATH={BIN}:$PATH {command}")
            assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        assert (copied / path).is_file()
    assert doctor_lines(copied)[0] == []
    done = snakemake(copied)
    assert done.returncode == 0
    assert doctor_lines(copied)[0] == []


def videos_of(folder):
    """Write two classes of four videos each; one video cannot be read yet."""
    for label in ("nod", "wave"):
        for number in range(4):
            path = folder / f"videos/{'test' if number == 3 else 'train'}/{label}/{number}.mp4"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_video(path, 10 + number, gop_size=number + 1)
    bad = folder / "videos/train/wave/1.mp4"
    good = bad.read_bytes()
    bad.write_bytes(b"not a video")
    return bad, good


def test_failed_clips_are_tried_again_on_request(tmp_path):
    bad, good = videos_of(tmp_path)
    values = yaml.safe_load(TINY.read_text())
    values["datasets"] = {
        "mine": {"module": "folder", "options": {"root": "videos"}, "frames": {"size_px": 64}, "max_failed": 0.5}
    }
    values["confusables"] = {}
    experiment = {"datasets": ["mine"], "backbone": "tiny", "methods": ["zero_shot"], "texts": ["names"]}
    values |= {"methods": {"zero_shot": {}}, "experiments": {"tiny": experiment}}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(values))
    done = snakemake(tmp_path, configs=(tmp_path / "mine.yaml",))
    assert done.returncode == 0, done.output
    (frames,) = (tmp_path / "results/data/mine/frames").iterdir()
    assert list(failed_clips(frames)["00000"]) == ["train/wave/1.mp4"]
    done = type_in(tmp_path, f"PATH={BIN}:$PATH kinetext retry-failed mine.yaml")
    assert done.stdout.startswith("mine: train/wave/1.mp4: not_a_video")
    assert done.stdout.endswith("mine.yaml: no failed clip can be read now; nothing is run\n")
    bad.write_bytes(good)  # it was being copied, say; nothing else notices
    done = type_in(tmp_path, f"PATH={BIN}:$PATH kinetext retry-failed mine.yaml -- --cores 2")
    assert done.returncode == 0, done.stderr
    assert "mine: train/wave/1.mp4: can be read now" in done.stdout
    assert failed_clips(frames) == {}
    kept = [path.read_text() for path in (tmp_path / "results/logs/extract_frames").rglob("*.log")]
    assert "7 kept from before" in kept[0]
    rows = tables.read_rows("predictions", next((tmp_path / "results/runs").rglob("predictions.parquet")))
    assert len({row["clip_id"] for row in rows}) == 2
    done = type_in(tmp_path, f"PATH={BIN}:$PATH kinetext retry-failed mine.yaml")
    assert done.stdout == "mine.yaml: no failed clip can be read now; nothing is run\n"
    assert jobs(snakemake(tmp_path, "-n", configs=(tmp_path / "mine.yaml",)).output) == {}


def test_the_dashboard_serves_the_runs_of_the_study_at_the_address_that_it_prints(copied):
    shutil.copy(TINY, copied / "tiny.yaml")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [BIN / "kinetext", "dashboard", "--config", "tiny.yaml", "--port", str(port)]
    server = subprocess.Popen(
        words, cwd=copied, env=environment(), stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        address = re.fullmatch(
            rf"recognition/shapes: http://127.0.0.1:{port}/#/experiments/(\d+)/runs\n", server.stdout.readline()
        )
        assert address
        body = json.dumps({"experiment_ids": [address[1]]}).encode()
        request = Request(
            f"http://127.0.0.1:{port}/api/2.0/mlflow/runs/search", body, {"Content-Type": "application/json"}
        )
        for _ in range(240):
            try:
                with urlopen(request, timeout=5) as reply:
                    runs = json.load(reply)["runs"]
                break
            except OSError:
                time.sleep(0.5)
        assert len(runs) == 4
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(30)


def test_a_dashboard_without_runs_says_so(tmp_path):
    shutil.copy(TINY, tmp_path / "tiny.yaml")
    done = type_in(tmp_path, f"{BIN}/kinetext dashboard --config tiny.yaml")
    assert done.returncode == 1
    assert "mlflow.db: does not exist yet" in done.stderr

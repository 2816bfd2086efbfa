"""Faults under Snakemake: what the user sees, what `kinetext doctor` says, and that nothing finished is lost or made twice.

A node that is lost: test_slurm.py; a killed training: test_workflow.py; MLflow's database deleted, or PostgreSQL restarted:
test_tracking.py, test_tracking_stores.py.
"""

import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from calls import AFTER_METRICS, RUNS, TINY, jobs, planned, snakemake, start, wait_for
from disks import fill, mount, no_mounts, small_disk
from kinetext.data.checks import list_shards
from kinetext.data.splits import read_splits
from kinetext.data.store import FrameStore
from kinetext.doctor import doctor as module
from kinetext.doctor import folder as folder_checks
from kinetext.evaluation.predictions import read_predictions

pytestmark = pytest.mark.workflow
unmountable = no_mounts()

RUN = RUNS / "zero_shot/names/seed0"
SHAPES = RUNS.parents[3] / "data/shapes"
SPLITS, SHARD = SHAPES / "base_to_novel/splits.parquet", SHAPES / "frames/64-shortest-bicubic/00000.arrow"
MADE = ("data", "backbones", "runs", "tables")  # what the pipeline has made, without logs and caches


@pytest.fixture
def doctor(monkeypatch, capsys):
    """Return a function from a folder to the lines that `kinetext doctor` prints there with a repair."""

    monkeypatch.setattr(folder_checks, "MIN_FREE_GIB", 1e-4)  # whatever this machine has
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)

    def run_doctor(folder):
        monkeypatch.chdir(folder)
        capsys.readouterr()
        shutil.copy(TINY, folder)
        count = module.doctor(None, Path(TINY.name))
        lines = [line for line in capsys.readouterr().out.splitlines()[:-1] if "; " in line]
        assert len(lines) == count
        return lines

    return run_doctor


def files(folder):
    """Every finished file, with its content."""
    paths = [path for part in MADE for path in (folder / "results" / part).rglob("*") if path.is_file()]
    return {path.relative_to(folder): path.read_bytes() for path in paths}


def times(folder):
    return {path: (folder / path).stat().st_mtime_ns for path in files(folder)}


def in_shell(line, folder):
    subprocess.run(line, shell=True, check=True, cwd=folder)


@pytest.mark.skipif(unmountable is not None, reason=f"mounts: {unmountable}")
def test_a_read_only_and_then_a_full_disk(finished, tmp_path, doctor):
    folder, metrics = tmp_path / "work", RUN / "metrics.parquet"
    shutil.copytree(finished, folder, symlinks=True, ignore=shutil.ignore_patterns("results"))
    with small_disk(folder / "results", 128 * 1024) as disk:
        shutil.copytree(finished / "results", disk, symlinks=True, dirs_exist_ok=True)
        (folder / metrics).unlink()
        before = times(folder)

        mount("-o", "remount,ro", disk)
        done = snakemake(folder, metrics)
        assert done.returncode != 0
        assert "results: is not writable. Mount it writable" in done.output
        assert "Traceback" not in done.output
        assert any(
            line.startswith("results: cannot be written to (Read-only file system); mount it")
            for line in doctor(folder)
        )
        mount("-o", "remount,rw", disk)
        assert times(folder) == before

        filler = fill(disk)
        done = snakemake(folder, metrics)
        assert done.returncode != 0
        sentence = "metrics.parquet: cannot be written (No space left on device); free space there and run it again"
        assert f"kinetext: {RUN}/{sentence}" in done.output
        (room,) = doctor(folder)
        assert room.startswith("results: its disk has 0.00 GiB free")
        assert times(folder) == before

        filler.unlink()
        done = snakemake(folder, metrics)
        assert done.returncode == 0, done.output
        assert jobs(done.output) == {"measure_run": 1}
        after = times(folder)
        assert after.pop(metrics)
        assert after == before


def test_a_corrupted_table_is_made_again_and_a_second_snakemake_is_kept_out(copied, doctor):
    predictions = RUN / "predictions.parquet"
    raw = bytearray((copied / predictions).read_bytes())
    raw[200] ^= 1
    (copied / predictions).write_bytes(raw)
    with pytest.raises(
        ValueError, match=r"predictions\.parquet: cannot be read as .* \(.*CRC.*\); delete it and run again"
    ):
        read_predictions(copied / predictions)
    (line,) = doctor(copied)
    assert line.startswith(f"{predictions}: is damaged or unreadable (")
    assert f"delete it, then `kinetext run tiny.yaml -- {predictions}` creates it again" in line
    (copied / predictions).unlink()
    before = times(copied)

    first = start(copied, predictions)
    try:
        wait_for(lambda: list((copied / ".snakemake/locks").glob("*")), first)
        os.killpg(first.pid, signal.SIGSTOP)  # until the second has been refused, however long that takes
        second = snakemake(copied, predictions)
        os.killpg(first.pid, signal.SIGCONT)
        assert second.returncode != 0
        assert "Directory cannot be locked" in second.output
        assert first.wait(600) == 0, (copied / "said.txt").read_text()
    finally:
        if first.poll() is None:
            os.killpg(first.pid, signal.SIGKILL)
    assert jobs((copied / "said.txt").read_text()) == {"predict_clips": 1}
    after = times(copied)
    assert after.pop(predictions)
    assert after == before
    assert doctor(copied) == []
    assert planned(copied) == {"measure_run": 1, **AFTER_METRICS}  # its speed is another one, so it counts as changed


def test_a_truncated_shard_and_a_corrupted_table_cost_their_own_jobs(copied, doctor):
    cached = copied / "results/cache/frames/shapes/64-shortest-bicubic/00000.arrow"
    cached.unlink()
    os.link(copied / SHARD, cached)  # one file with two names, as extract_frames leaves it
    before = files(copied)
    os.truncate(copied / SHARD, (copied / SHARD).stat().st_size // 2)
    os.truncate(copied / SPLITS, 1000)
    with pytest.raises(ValueError, match=r"00000\.arrow: cannot be read as a shard of frames"):
        FrameStore(list_shards(copied / SHAPES / "frames/64-shortest-bicubic/frames.json"))
    with pytest.raises(ValueError, match=r"splits\.parquet: cannot be read as"):
        read_splits(copied / SPLITS)
    splits, shard = doctor(copied)
    assert shard.startswith(f"{SHARD}: ")
    assert splits.startswith(f"{SPLITS}: ")

    for path, line, job in ((SHARD, shard, "extract_frames"), (SPLITS, splits, "split_clips")):
        commands = re.findall("`(.+?)`", line)
        assert commands[0] == f"kinetext run tiny.yaml -- {path}"
        (copied / path).unlink()
        done = snakemake(copied, path)
        assert done.returncode == 0, done.output
        assert jobs(done.output) == {job: 1}
        for more in commands[1:]:  # touch -r
            in_shell(more, copied)
    assert files(copied) == before
    assert doctor(copied) == []
    assert planned(copied) == {}


def test_a_clock_that_went_a_day_ahead_costs_two_commands(copied, doctor):
    before = files(copied)
    ahead = [SHARD, SPLITS, RUN / "predictions.parquet", SHAPES.parents[1] / "tables/runs.parquet"]
    for path in ahead:
        os.utime(copied / path, (time.time() + 86_400,) * 2)
    assert planned(copied)["train_method"] == 1  # everything after the shard
    (line,) = doctor(copied)
    assert line.startswith("results: 4 files are dated in the future")
    assert str(sorted(ahead)[0]) in line
    date, touch = re.findall("`(.+?)`", line)
    in_shell(date, copied)
    assert touch == "kinetext run tiny.yaml -- --touch"
    done = snakemake(copied, "--touch")
    assert done.returncode == 0, done.output
    assert planned(copied) == {}
    assert files(copied) == before
    assert doctor(copied) == []


def test_touch_without_the_date_mended_first_would_delete(copied):
    """Why doctor says `only then`: Snakemake takes what it dated for older than what it is made of, and removes it."""
    os.utime(copied / SHARD, (time.time() + 86_400,) * 2)
    assert snakemake(copied, "--touch").returncode != 0
    assert not (copied / SHAPES / "frames/64-shortest-bicubic/frames.json").exists()


def test_a_finished_folder_has_no_finding(finished, doctor):
    assert doctor(finished) == []

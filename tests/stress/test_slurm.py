"""The tiny experiment through a real SLURM of two nodes on this machine (slurm_machine.py); skipped where there is none.

The overlay is all that such a SLURM needs beside workflow/profiles/slurm: it has no accounting database, and shorter waits.
"""

import os
import shutil
import signal
import sys
import tempfile

import pytest
from filelock import FileLock

from calls import RUNS, overlay, snakemake, start, wait_for
from kinetext.core import tables
from repository import ROOT
from slurm_machine import missing, say, slurm

reason = missing()
pytestmark = [pytest.mark.workflow, pytest.mark.skipif(reason is not None, reason=f"SLURM: {reason}")]

# Snakemake, but that the plugin does not ask ten seconds later than the last time whether a job has ended
PROMPT = """
from snakemake.cli import main
from snakemake_executor_plugin_slurm import Executor
Executor.next_seconds_between_status_checks = property(lambda self: 1, lambda self, seconds: None)
main()
"""
HOW = {"program": (sys.executable, "-c", PROMPT)}
PROFILE = (
    *("--workflow-profile", ROOT / "workflow/profiles/slurm"),
    *("--slurm-status-command", "squeue", "--slurm-no-account"),
    *("--slurm-init-seconds-before-status-checks", "2", "--latency-wait", "10"),
)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with FileLock(f"{tempfile.gettempdir()}/kinetext-slurm.lock"), slurm(tmp_path_factory.mktemp("slurm")) as up:
        yield up


def rows(folder, name):
    """A result table without the columns that differ from run to run."""
    kept = tables.read_rows(name, folder / f"results/tables/{name}.parquet")
    return [{key: value for key, value in row.items() if not key.endswith(("_s", "_at", "host"))} for row in kept]


def test_the_tiny_experiment_gives_the_same_tables_as_here(cluster, finished, tmp_path):
    before = len(cluster.jobs())
    done = snakemake(tmp_path, *PROFILE, fresh=True, **HOW)
    assert done.returncode == 0, done.output
    jobs = cluster.jobs()[before:]
    assert {job["State"] for job in jobs} == {"COMPLETED"}
    assert len(jobs) == 6  # index, extract, embed, mine, train, evaluate: what takes seconds stays or shares a job
    assert {job["tres-per-job"] for job in jobs if job["Partition"] == "gpu"} == {"gres:gpu:1"}
    for name in ("metrics", "differences"):
        assert rows(tmp_path, name) == rows(finished, name)


def test_a_cancelled_training_and_one_on_a_lost_node_go_on_where_they_were(cluster, finished, tmp_path):
    work = tmp_path / "work"
    shutil.copytree(finished, work, symlinks=True)
    configs = overlay(tmp_path, methods={"mean_pool": {"training": {"epochs": 100}}})
    finished_before = {path: path.stat().st_mtime_ns for path in (work / RUNS / "zero_shot").rglob("*.parquet")}
    log = work / "results/logs/train_method/shapes/base_to_novel/tiny/mean_pool/names/seed0.log"
    log.unlink()
    before = len(cluster.jobs())

    def new_jobs():
        return cluster.jobs()[before:]

    def trains():
        return [job for job in new_jobs() if "train_method" in job["Comment"]]

    call = start(work, *PROFILE, configs=configs, **HOW)
    try:
        # scancel: Snakemake submits it again, and it goes on after the last epoch that was kept
        wait_for(lambda: list((work / "results/cache/train").glob("*.pt")), call)
        say("scancel", trains()[0]["JobID"])
        wait_for(lambda: log.exists() and "resuming after epoch" in log.read_text(), call)
        assert trains()[0]["State"] in ("CANCELLED", "COMPLETING")
        second = trains()[1]
        assert second["State"] == "RUNNING"
        log.unlink()

        # the node is gone: SLURM starts the same job on the other one
        cluster.lose_node(second["NodeList"])
        wait_for(lambda: log.exists() and "resuming after epoch" in log.read_text(), call)
        assert trains()[1]["JobID"] == second["JobID"]
        assert trains()[1]["NodeList"] != second["NodeList"]
        assert call.wait(600) == 0, (work / "said.txt").read_text()
    finally:
        if call.poll() is None:
            os.killpg(call.pid, signal.SIGKILL)
    assert len(trains()) == 2
    assert [job["State"] for job in new_jobs()] == ["CANCELLED", "COMPLETED", "COMPLETED"]
    output = (work / "said.txt").read_text()
    assert f"SLURM-job '{trains()[0]['JobID']}' failed, SLURM status is: 'CANCELLED'" in output
    curves = tables.pq.read_table(work / RUNS / "mean_pool/names/seed0/curves.parquet").to_pylist()
    assert [row["epoch"] for row in curves if row["metric"] == "train_loss"] == list(range(1, 101))
    assert {path: path.stat().st_mtime_ns for path in (work / RUNS / "zero_shot").rglob("*.parquet")} == finished_before

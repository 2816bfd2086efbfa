"""Profiles for clusters that no test has: dry runs of all, jobs through a submit command, and files in a bucket of a local S3."""

import re
import socket
import subprocess
import time
from contextlib import closing

import boto3
import pytest
from botocore.exceptions import BotoCoreError

from .test_workflow import BIN, ROOT, jobs, snakemake

pytestmark = pytest.mark.workflow

PLAN = {
    **{"prepare_backbone": 1, "index_clips": 1, "check_frames": 1, "split_clips": 1, "embed_labels": 1},
    **{"mine_confusables": 1, "describe_classes": 1, "plan_run": 2, "train_method": 1, "predict_clips": 2},
    **{"measure_run": 2, "log_run": 1, "collect_metrics": 1, "render_report": 1, "all": 1},
}


def profile(name):
    return "--workflow-profile", ROOT / "workflow/profiles" / name


@pytest.fixture(scope="module")
def bucket(tmp_path_factory):
    """A bucket of an S3 server on this machine, and the options that lead Snakemake there."""
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    said = open(tmp_path_factory.mktemp("s3") / "said.txt", "w")  # noqa: SIM115
    server = subprocess.Popen([BIN / "moto_server", "-H", "127.0.0.1", "-p", str(port)], stdout=said, stderr=said)
    keys = {"aws_access_key_id": "key", "aws_secret_access_key": "secret", "region_name": "us-east-1"}
    store = boto3.resource("s3", endpoint_url=address, **keys)
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                made = store.create_bucket(Bucket="lab")
                break
            except BotoCoreError:
                assert server.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.2)
        yield made, ("--storage-s3-endpoint-url", address, "--default-storage-prefix", "s3://lab/kinetext")
    finally:
        server.kill()
        server.wait()


@pytest.fixture(autouse=True)
def keys(monkeypatch):
    monkeypatch.setenv("SNAKEMAKE_STORAGE_S3_ACCESS_KEY", "key")
    monkeypatch.setenv("SNAKEMAKE_STORAGE_S3_SECRET_KEY", "secret")


@pytest.mark.parametrize("name", ["slurm", "cluster-generic"])
def test_a_dry_run_plans_the_same_jobs(name, tmp_path):
    done = snakemake(tmp_path, "-n", *profile(name))
    assert done.returncode == 0, done.output
    assert jobs(done.output) == PLAN


def test_a_dry_run_for_kubernetes_looks_into_the_bucket(bucket, tmp_path):
    done = snakemake(tmp_path, "-n", *profile("kubernetes"), *bucket[1])
    assert done.returncode == 0, done.output
    assert jobs(done.output) == PLAN
    assert "s3://lab/kinetext/results/report.html" in done.output


def test_a_result_is_kept_in_the_bucket(bucket, tmp_path):
    held, options = bucket
    done = snakemake(tmp_path, "--until", "index_clips", "--default-storage-provider", "s3", *options)
    assert done.returncode == 0, done.output
    assert "kinetext/results/data/shapes/clips.parquet" in {kept.key for kept in held.objects.all()}


def test_jobs_go_through_the_submit_command(tmp_path, monkeypatch):
    """A qsub that notes what it is asked for and runs the script: the command of the profile is the one that is tried."""
    programs = tmp_path / "programs"
    programs.mkdir()
    qsub = programs / "qsub"
    qsub.write_text(f'#!/bin/bash\necho "$@" >> {tmp_path}/asked.txt\nbash "${{@: -1}}" > /dev/null 2>&1 &\necho $!\n')
    qsub.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{BIN}:/usr/bin:/bin")
    work = tmp_path / "work"
    work.mkdir()
    table = "results/data/shapes/base_to_novel/splits.parquet"
    done = snakemake(work, table, *profile("cluster-generic"), "--latency-wait", "10")
    assert done.returncode == 0, done.output
    assert (work / table).exists()
    asked = (tmp_path / "asked.txt").read_text().splitlines()
    assert len(asked) == 3  # index_clips, the job of extract_frames, the job of split_clips
    assert all(re.search(r"-q batch .*select=1:ncpus=\d+:mem=\d+mb:ngpus=0 -l walltime=\d+ ", line) for line in asked)

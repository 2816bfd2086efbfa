"""The tiny experiment with its results in a bucket, by the profile `kubernetes`: an S3 server on this machine (moto), and for
each job a folder of its own that holds the workflow and nothing else, as a pod does. Instead of Kubernetes, which would need
a cluster, the executor `cluster-generic` starts the jobs; the package is installed, as in a pod's image.

What the imitation has in common with a volume that all pods see: the clips, which index_clips renders and names by absolute paths.
"""

import os
import shutil
import socket
import subprocess
import time
from contextlib import closing

import pytest

from calls import BIN, TINY, jobs, planned
from kinetext.core import tables
from repository import ROOT

pytest.importorskip("snakemake_storage_plugin_s3", reason="no S3 plugin: pip install kinetext[cluster]")
pytest.importorskip("moto", reason="no S3 server: pip install kinetext[dev]")
boto3 = pytest.importorskip("boto3")
pytestmark = pytest.mark.workflow

LIMIT_S = 600
SUBMIT = """#!/bin/sh
# prints the job's name, the folder that it runs in
node=$(mktemp -d {nodes}/XXXXXX)
cp -r {checkout}/* "$node"
cp "$1" "$node/given.sh"
cd "$node"
sed -E 's#cd [^ ]+ && ##' given.sh > job.sh  # Snakemake's own working folder is out of a pod's reach
setsid sh -c 'sh job.sh > said.txt 2>&1; echo $? > exit_status' > /dev/null 2>&1 &
echo "$node"
"""
STATUS = """#!/bin/sh
if [ ! -f "$1/exit_status" ]; then echo running; elif [ "$(cat "$1/exit_status")" = 0 ]; then echo success; else echo failed; fi
"""


@pytest.fixture
def bucket():
    """The address of an S3 server with an empty bucket named `lab`."""
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    server = subprocess.Popen(
        [BIN / "moto_server", "-H", "127.0.0.1", "-p", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + 60
        while True:
            with closing(socket.socket()) as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert server.poll() is None, "the S3 server has ended"
            assert time.monotonic() < deadline, "no S3 server"
            time.sleep(0.1)
        keys = {"aws_access_key_id": "x", "aws_secret_access_key": "x", "region_name": "us-east-1"}
        client = boto3.client("s3", endpoint_url=address, **keys)
        client.create_bucket(Bucket="lab")
        yield address, client
    finally:
        server.kill()
        server.wait()


def call(checkout, address, *arguments, executor="cluster-generic"):
    """Snakemake, as the profile has it but for its executor, the bucket and what a machine of two cores has."""
    words = [
        *(BIN / "snakemake", "--workflow-profile", "workflow/profiles/kubernetes", "--configfile", "tiny.yaml"),
        *("--executor", executor, "--cluster-generic-submit-cmd", checkout.parent / "submit.sh"),
        *("--cluster-generic-status-cmd", checkout.parent / "status.sh", "--seconds-between-status-checks", "1"),
        *("--default-storage-prefix", "s3://lab/study", "--storage-s3-endpoint-url", address),
        *("--storage-s3-region", "us-east-1", "--jobs", "2", "--retries", "0", "--latency-wait", "5"),
        *("--set-threads", "extract_frames=1", "embed_frames=1", "predict_clips=1", "train_method=1"),
        *arguments,
    ]
    secret = {"SNAKEMAKE_STORAGE_S3_ACCESS_KEY": "x", "SNAKEMAKE_STORAGE_S3_SECRET_KEY": "x", "NO_PROXY": "127.0.0.1"}
    paths = {"PATH": f"{BIN}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [str(word) for word in words], cwd=checkout, env={**os.environ, **secret, **paths},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=LIMIT_S, check=False,
    )  # fmt: skip


def test_the_tiny_experiment_in_a_bucket(finished, bucket, tmp_path):
    address, client = bucket
    checkout, nodes = tmp_path / "checkout", tmp_path / "nodes"
    nodes.mkdir()
    for name in ("workflow", "envs"):
        shutil.copytree(ROOT / name, checkout / name)
    shutil.copy(ROOT / "Snakefile", checkout)
    shutil.copy(TINY, checkout)
    for name, script in (("submit.sh", SUBMIT), ("status.sh", STATUS)):
        (tmp_path / name).write_text(script.replace("{nodes}", str(nodes)).replace("{checkout}", str(checkout)))
        (tmp_path / name).chmod(0o755)

    done = call(checkout, address, "-n", executor="kubernetes")
    assert jobs(done.stdout) == planned(tmp_path)
    done = call(checkout, address)
    output = "".join(path.read_text() for path in nodes.glob("*/said.txt"))
    assert done.returncode == 0, f"{done.stdout[-5000:]}\n{output[-5000:]}"
    assert "(100%) done" in done.stdout
    ended = [path.read_text().strip() for path in nodes.glob("*/exit_status")]
    assert len(ended) > 5
    assert set(ended) == {"0"}

    for name in ("metrics", "differences"):
        path = tmp_path / f"{name}.parquet"
        client.download_file("lab", f"study/results/tables/{name}.parquet", str(path))
        assert tables.read_rows(name, path) == tables.read_rows(name, finished / f"results/tables/{name}.parquet")
    page = client.get_object(Bucket="lab", Key="study/results/report.html")["Body"].read()
    assert page.count(b"data:image") == (finished / "results/report.html").read_bytes().count(b"data:image") > 0
    dry_run = call(checkout, address, "-n")
    assert "Nothing to be done" in dry_run.stdout, dry_run.stdout[-3000:]

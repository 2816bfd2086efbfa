"""The whole process group of the tiny experiment killed at random moments, until nothing is left to do.

KILLS in the environment is the number of kills, SEED decides the moments; `make campaign` makes two campaigns of 25.
"""

import os
import random
import signal
import subprocess
from contextlib import suppress

import pytest

from calls import planned, snakemake, start
from kinetext.core import tables

pytestmark = pytest.mark.workflow
KILLS, SEED = int(os.environ.get("KILLS", "5")), int(os.environ.get("SEED", "0"))
RUN_TO_RUN = ("_s", "_at", "host", "_mib")  # ends of the names of columns that differ from run to run


def rows(folder, name):
    kept = tables.read_rows(name, folder / f"results/tables/{name}.parquet")
    return [{key: value for key, value in row.items() if not key.endswith(RUN_TO_RUN)} for row in kept]


def test_killed_process_groups_change_no_number_and_leave_no_half_file(finished, tmp_path):
    moments = random.Random(SEED)
    for _ in range(KILLS):
        call = start(tmp_path)
        with suppress(subprocess.TimeoutExpired):
            call.wait(moments.uniform(3, 20))
            assert call.returncode == 0, (tmp_path / "said.txt").read_text()  # nothing was left to do
            continue
        os.killpg(call.pid, signal.SIGKILL)
        call.wait()
        assert snakemake(tmp_path, "--unlock").returncode == 0
    done = snakemake(tmp_path)
    assert done.returncode == 0, done.output
    assert planned(tmp_path) == {}
    for name in ("metrics", "differences", "confusions"):
        assert rows(tmp_path, name) == rows(finished, name)
    assert [str(path) for path in (tmp_path / "results").rglob("*.tmp")] == []

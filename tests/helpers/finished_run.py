"""One finished run of the tiny experiment, which all tests of the workflow share, and copies of it."""

import shutil

import pytest
from filelock import FileLock

from calls import planned, snakemake


@pytest.fixture(scope="session")
def finished(tmp_path_factory, worker_id):
    """A folder with one finished run; made once, and copied for each further process that tests in it."""
    if worker_id == "master":
        return make_finished(tmp_path_factory.mktemp("finished"))
    first = tmp_path_factory.getbasetemp().parent / "finished"  # the folder of all processes
    with FileLock(first.with_suffix(".lock")):
        if not first.exists():
            folder = make_finished(tmp_path_factory.mktemp("making"))
            shutil.copytree(folder, first, symlinks=True)
            return folder
    shutil.copytree(first, tmp_path_factory.getbasetemp() / "finished", symlinks=True)
    return tmp_path_factory.getbasetemp() / "finished"


def make_finished(folder):
    before = planned(folder)
    # how many shards there are is known later: extract_frames and embed_frames are not among them yet
    assert before.pop("index_clips") == 1
    assert before == {
        **{"prepare_backbone": 1, "check_frames": 1, "split_clips": 1, "embed_labels": 1, "mine_confusables": 1},
        **{"describe_classes": 1},
        **{"plan_run": 2, "train_method": 1, "predict_clips": 2, "measure_run": 2, "log_run": 1},
        **{"collect_metrics": 1, "render_report": 1, "all": 1},
    }
    assert not (folder / "results").exists()
    done = snakemake(folder, fresh=True)
    assert done.returncode == 0, done.output
    return folder


@pytest.fixture
def copied(finished, tmp_path):
    """A copy of the finished run that a test may change; Snakemake's notes come with it."""
    shutil.copytree(finished, tmp_path / "copied", symlinks=True)
    return tmp_path / "copied"

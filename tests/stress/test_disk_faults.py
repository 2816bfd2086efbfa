"""Disk faults: a full disk gives one message and damages no finished file, and changed bytes are noticed. The same with
Snakemake: test_workflow_faults.py.
"""

import errno
import json
import os
import random
import subprocess
import sys

import pytest
import torch

from disks import files_up_to, fill, no_mounts, small_disk
from kinetext.config.data import FrameOptions
from kinetext.core import tables
from kinetext.core.files import DiskError
from kinetext.core.tensors import load_tensors, save_tensors
from kinetext.data.frames import extract_frames
from kinetext.training.state import Progress, load_state, save_state
from videos import write_video

unmountable = no_mounts()
needs_mounts = pytest.mark.skipif(unmountable is not None, reason=f"mounts: {unmountable}")
MIB = 2**20


def write_table(path, size):
    tables.write_table("clips", [{"clip_id": random.Random(0).randbytes(size).hex()}], path)


def write_shard(path, size):
    tables.write_shard("frames", ([{"clip_id": str(n), "images": [bytes(size // 4)]}] for n in range(4)), path)


def write_weights(path, size):
    save_tensors({"a": torch.zeros(size // 4)}, path, {})


def training(size):
    """Return a method of this many bytes with the optimiser and the schedule of its training."""
    method = torch.nn.Linear(size // 4, 1, bias=False)
    optimiser = torch.optim.SGD(method.parameters(), 0.1)
    return method, optimiser, torch.optim.lr_scheduler.ConstantLR(optimiser)


def write_state(path, size):
    save_state(path, Progress(epoch=1), *training(size))


WRITERS = [write_table, write_shard, write_weights, write_state]


@pytest.fixture(params=["limit", pytest.param("disk", marks=needs_mounts)])
def refusing(request, tmp_path):
    """Yield a folder, a context that makes it refuse large files, and the reason and advice of the message."""
    if request.param == "limit":
        yield tmp_path, lambda: files_up_to(MIB), "File too large", "raise the limit on the size of files (ulimit -f)"
    else:
        with small_disk(tmp_path / "disk", 2048) as folder:
            yield folder, lambda: files_up_to(-1), "No space left on device", "free space there"


@pytest.mark.parametrize("write", WRITERS)
def test_full_disk_gives_one_message_and_keeps_the_old_file(refusing, write):
    folder, refuse, why, advice = refusing
    path = folder / "file"
    write(path, 1000)
    before = path.read_bytes()
    with refuse(), pytest.raises(DiskError) as raised:
        write(path, 4 * MIB)
    assert str(raised.value) == f"{path}: cannot be written ({why}); {advice} and run it again"
    assert path.read_bytes() == before
    assert list(folder.iterdir()) == [path]  # nothing half written
    write(path, 2000)  # there is room again
    assert path.read_bytes() != before


def test_training_resumes_from_the_state_before_the_full_disk(tmp_path):
    path = tmp_path / "state.pt"
    write_state(path, 1000)
    with files_up_to(500), pytest.raises(DiskError):
        save_state(path, Progress(epoch=2), *training(1000))
    assert load_state(path, *training(1000)).epoch == 1


def test_command_on_a_full_disk_prints_one_message_without_a_traceback(tmp_path):
    spec = {"run": "a/supervised/tiny/b/c/seed0", "dataset": "a", "protocol": "supervised", "method": "b", "texts": "c"}
    spec |= {"backbone": "tiny", "seed": 0, "protocol_options": {}, "method_module": "b", "method_options": {}}
    spec |= {"training": {}, "dataset_options": {}, "backbone_options": {}, "text_options": {}}
    command = [
        sys.executable,
        "-m",
        "kinetext",
        "plan-run",
        "--spec",
        json.dumps(spec),
        "--output",
        tmp_path / "run.yaml",
    ]
    limit = ["bash", "-c", 'ulimit -f 0; exec "$@"', "bash"]
    done = subprocess.run([*limit, *command], capture_output=True, text=True, check=False)
    message = "cannot be written (File too large); raise the limit on the size of files (ulimit -f) and run it again"
    assert (done.returncode, done.stderr) == (1, f"kinetext: {tmp_path / 'run.yaml'}: {message}\n")
    assert list(tmp_path.iterdir()) == []


@needs_mounts
def test_disk_without_free_space_accepts_no_file(tmp_path):
    with small_disk(tmp_path / "disk", 1024) as folder:
        filler = fill(folder)
        with pytest.raises(DiskError, match="No space left on device"):
            write_table(folder / "a.parquet", 1000)
        assert list(folder.iterdir()) == [filler]


# ---- failures that do not stop a job


def write_clip(folder):
    video = write_video(folder / "a.mp4", 12)
    row = {"clip_id": "a", "path": str(video), "split": "train", "label": "a", "shard": "00000"}
    tables.write_table("clips", [row], folder / "clips.parquet", {"labels": ["a"]})


def extract(folder):
    options = FrameOptions(num_frames=2, size_px=32, encoding="raw")
    shard = folder / "frames/00000.arrow"
    extract_frames(folder / "clips.parquet", "00000", options, shard, cache=folder / "cache")
    return tables.open_shard("frames", shard)["images"].to_pylist()


def test_disk_without_hard_links_keeps_no_copy_of_a_shard(tmp_path, monkeypatch, capsys):
    write_clip(tmp_path)

    def refused(*_):
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", refused)
    assert len(extract(tmp_path)[0]) == 2
    assert "cannot be linked (" in capsys.readouterr().err


# ---- bytes that a disk has changed


def test_images_that_changed_on_disk_are_decoded_again(tmp_path, capsys):
    write_clip(tmp_path)
    before = extract(tmp_path)
    shard = tmp_path / "frames/00000.arrow"
    raw = bytearray(shard.read_bytes())
    raw[raw.index(before[0][0]) + 100] ^= 1  # the same file as the one in the cache
    shard.write_bytes(raw)
    assert tables.open_shard("frames", tmp_path / "cache/00000.arrow")["images"].to_pylist() != before
    shard.unlink()
    assert extract(tmp_path) == before
    assert "kept from before" not in capsys.readouterr().err
    shard.unlink()
    assert extract(tmp_path) == before
    assert "1 kept from before" in capsys.readouterr().err


@pytest.mark.parametrize("share", [0, 0.5, 0.999])
def test_error_of_a_truncated_shard_or_checkpoint_names_the_file(tmp_path, share):
    for write, read in ((write_shard, lambda p: tables.open_shard("frames", p)), (write_weights, load_tensors)):
        path = tmp_path / write.__name__
        write(path, 4000)
        path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
        with pytest.raises(ValueError, match=f"{path.name}: cannot be read as .*; delete it and run again"):
            read(path)

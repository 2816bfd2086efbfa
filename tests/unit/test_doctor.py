"""kinetext doctor: a healthy folder has no finding, each kind of damage has one line that names the file and says what to do,
and nothing is changed by looking.
"""

import errno
import fcntl
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from importlib import metadata

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from safetensors import safe_open
from typer.testing import CliRunner

from kinetext.cli import app
from kinetext.core import tables
from kinetext.core.tensors import hash_matches, load_tensors, save_tensors
from kinetext.data.checks import check_frames
from kinetext.data.frames import content_hash
from kinetext.doctor import environment, examine, folder
from kinetext.texts.cache import fetch_reply, request_hash

CLIPS = 6
FRAMES = "frames/64-shortest-bicubic"
RUN = "runs/shapes/supervised/tiny/mean_pool/names/seed0"
SPEC = {
    **{"run": "shapes/supervised/tiny/mean_pool/names/seed0", "dataset": "shapes", "protocol": "supervised", "seed": 0},
    **{"method": "mean_pool", "texts": "names", "backbone": "tiny", "method_module": "mean_pool", "fingerprint": "f0"},
    **{"protocol_options": {}, "method_options": {}, "training": {}},
    **{"dataset_options": {}, "backbone_options": {}, "text_options": {}},
}


@pytest.fixture
def results(tmp_path, monkeypatch):
    """A small results folder with a file of each kind that is looked at."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr(folder, "ROOM_GIB", 0.0)  # whatever this machine has
    monkeypatch.chdir(tmp_path)
    made = tmp_path / "results"
    data, run = made / "data/shapes", made / RUN
    clips = [{"clip_id": f"c{n}", "path": f"/c{n}.mp4", "split": "train", "label": "a"} for n in range(CLIPS)]
    tables.write_table("clips", clips, data / "clips.parquet", {"labels": ["a"]})
    pictures = [[bytes([n]) * 3000] * 2 for n in range(CLIPS)]
    rows = [
        {"clip_id": f"c{n}", "status": "ok", "images": images, "content_hash": content_hash(images)}
        for n, images in enumerate(pictures)
    ]
    (data / FRAMES).mkdir(parents=True)
    tables.write_shard("frames", [rows[:3], rows[3:]], data / FRAMES / "00000.arrow")
    (data / "shards.txt").write_text("00000 aa\n")
    check_frames(data / "shards.txt", data / FRAMES, 1.0, data / FRAMES / "frames.json")
    features = [{"clip_id": f"c{n}", "frame_TD": [[0.5] * 8] * 2} for n in range(CLIPS)]
    tables.write_shard("features", [features], data / "features/tiny/00000.arrow")
    np.savez(data / "features/tiny/labels.npz", labels=np.array(["a"]), text_KD=np.zeros((1, 8)))
    weights = {"b": torch.arange(600.0), "a": torch.ones(2, 3, dtype=torch.bfloat16), "c": torch.tensor(1)}
    for path in (made / "backbones/tiny/weights.safetensors", run / "checkpoint.safetensors"):
        save_tensors(weights, path, {"made": "here"})
    (run / "run.yaml").write_text(yaml.safe_dump(SPEC))
    tables.write_table("metrics", [{"metric": "top1", "value": 0.5, "fingerprint": "f0"}], run / "metrics.parquet")
    pq.write_table(pa.table({"epoch": [1], "metric": ["train_loss"], "value": [1.0]}), run / "curves.parquet")
    (run / "cost.json").write_text("{}")
    fetch_reply({"model": "m", "label": "a"}, made / "cache/describe", lambda: {"reply": "it turns"})
    with sqlite3.connect(made / "mlflow.db") as database:
        database.execute("create table runs (name text)")
        database.executemany("insert into runs values (?)", [["x" * 500]] * 200)
    database.close()
    return made


def findings(results, capsys):
    """The lines that say what to do, and the exit status of the command is that there are some."""
    capsys.readouterr()
    count = examine.examine(results, results.parent / "config.yaml")
    *lines, last = capsys.readouterr().out.splitlines()
    found = [line for line in lines if "; " in line]
    assert len(found) == count
    assert last.endswith(f"{count or 'nothing'} to do")
    return found


def state(results):
    return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in results.rglob("*") if path.is_file()}


def test_a_healthy_folder_has_no_finding_and_stays_as_it_is(results, capsys):
    before = state(results)
    assert examine.examine(results, results.parent / "config.yaml") == 0
    said = capsys.readouterr().out
    assert (
        "looked at 3 tables, 2 shards, 2 files of weights, 1 runs, 1 cached replies, 12 files in all; nothing to do"
        in said
    )
    assert f"torch {torch.__version__}" in said
    assert state(results) == before


# ---- files


def cut(path, share):
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])


def flip(path, share):
    raw = bytearray(path.read_bytes())
    raw[int(share * len(raw))] ^= 0xFF
    path.write_bytes(raw)


def retype(path):
    table = pq.read_table(path)
    place = table.column_names.index("start_s")
    told = table.set_column(place, "start_s", pa.nulls(len(table), pa.string()))
    pq.write_table(told.replace_schema_metadata(table.schema.metadata), path)


def drop(path, column):
    pq.write_table(pq.read_table(path).drop_columns([column]), path)


def another_version(path):
    table = pq.read_table(path)
    pq.write_table(table.replace_schema_metadata({**table.schema.metadata, b"schema_version": b"99"}), path)


def redraw(path):
    """One pixel of the last clip, as a disk may do it; frames.json, which lists hashes, does not notice."""
    raw = bytearray(path.read_bytes())
    raw[raw.rindex(bytes([CLIPS - 1]) * 1000)] ^= 1
    path.write_bytes(raw)


def reorder(path):
    rows = tables.open_shard("frames", path).to_pylist()
    tables.write_shard("frames", [rows[::-1]], path)


def write(path, text):
    path.write_text(text)


WHOLE = "is not whole, or cannot be read ("
CLIPS_TABLE, SHARD, FEATURES = (
    "data/shapes/clips.parquet",
    f"data/shapes/{FRAMES}/00000.arrow",
    "data/shapes/features/tiny",
)
REPLY = f"cache/describe/replies/{request_hash({'model': 'm', 'label': 'a'})}.json"
DAMAGE = [
    (CLIPS_TABLE, lambda p: cut(p, 0.5), WHOLE),
    (CLIPS_TABLE, lambda p: cut(p, 0), WHOLE),
    (CLIPS_TABLE, lambda p: flip(p, 0.02), "CRC checksum"),
    (CLIPS_TABLE, retype, "is no table clips: column start_s is string, not double"),
    (CLIPS_TABLE, lambda p: drop(p, "split"), "is no table clips: column split is missing"),
    (CLIPS_TABLE, another_version, "was written by a later kinetext (schema 99"),
    (SHARD, lambda p: cut(p, 0.99), WHOLE),
    (SHARD, lambda p: cut(p, 0.5), WHOLE),
    (SHARD, redraw, f"1 clips have other pictures than were written, first c{CLIPS - 1}"),
    (f"{FEATURES}/00000.arrow", lambda p: cut(p, 0.5), WHOLE),
    (f"{FEATURES}/labels.npz", lambda p: flip(p, 0.5), WHOLE),
    (f"data/shapes/{FRAMES}/frames.json", lambda p: write(p, "{"), WHOLE),
    ("backbones/tiny/weights.safetensors", lambda p: flip(p, 0.9), "is not what was written"),
    (f"{RUN}/checkpoint.safetensors", lambda p: cut(p, 0.9), WHOLE),
    (f"{RUN}/run.yaml", lambda p: write(p, "run: ["), WHOLE),
    (f"{RUN}/run.yaml", lambda p: write(p, "run: a"), WHOLE),
    (f"{RUN}/curves.parquet", lambda p: cut(p, 0.5), WHOLE),
    (f"{RUN}/cost.json", lambda p: write(p, "{"), WHOLE),
    (REPLY, lambda p: cut(p, 0.5), "is not the reply that was kept here"),
    (REPLY, lambda p: write(p, p.read_text().replace('"label": "a"', '"label": "b"')), "is not the reply that was"),
    ("mlflow.db", lambda p: flip(p, 0.0), "is not whole (file is not a database)"),
    ("mlflow.db", lambda p: cut(p, 0.5), "is not whole ("),
]


@pytest.mark.parametrize(("name", "harm", "said"), DAMAGE, ids=[f"{n}-{name}" for n, (name, *_) in enumerate(DAMAGE)])
def test_a_damaged_file_is_named_with_what_to_do(results, capsys, name, harm, said):
    harm(results / name)
    (found,) = findings(results, capsys)
    assert found.startswith(f"{results / name}: ")
    assert said in found
    todo = found.rsplit("; ", 1)[1] if "touch -r" not in found else found
    assert any(words in todo for words in ("snakemake", "sync-tracking", "update this one", "will be asked for again"))


def test_all_of_them_are_named_at_once(results, capsys):
    names = [CLIPS_TABLE, SHARD, f"{RUN}/checkpoint.safetensors", "mlflow.db"]
    for name in names:
        cut(results / name, 0.5)
    assert sorted(line.split(": ")[0] for line in findings(results, capsys)) == sorted(str(results / n) for n in names)


def test_a_column_that_was_added_later_may_be_missing(results, capsys):
    drop(results / CLIPS_TABLE, "group")
    assert findings(results, capsys) == []


def test_frames_json_must_stand_for_the_shards_that_are_there(results, capsys):
    reorder(results / SHARD)
    listing = results / f"data/shapes/{FRAMES}/frames.json"
    (found,) = findings(results, capsys)
    assert found.startswith(f"{listing}: stands for other pictures than {results / SHARD} holds; delete it")
    (results / SHARD).unlink()
    (found,) = findings(results, capsys)
    assert found.startswith(
        f"{results / SHARD}: is missing, but {listing} lists it; `snakemake {results / SHARD}` makes"
    )


def test_metrics_of_an_earlier_plan_are_told_from_the_runs_own(results, capsys):
    (results / RUN / "run.yaml").write_text(yaml.safe_dump({**SPEC, "fingerprint": "f1"}))
    (found,) = findings(results, capsys)
    assert found == f"{results / RUN}/metrics.parquet: is of an earlier plan of this run (f0, now f1); run snakemake"


def test_weights_without_a_hash_are_told_and_no_finding(results, capsys):
    from safetensors.torch import save_file

    save_file({"a": torch.ones(2)}, results / "backbones/tiny/weights.safetensors")
    assert examine.examine(results, results.parent / "config.yaml") == 0
    assert "weights.safetensors: has no hash to compare" in capsys.readouterr().out


def test_the_hash_of_tensors_sees_names_types_shapes_and_bytes(tmp_path):
    def hash_of(**tensors):
        tensors = {name: tensor.clone() for name, tensor in tensors.items()}  # none may share memory
        save_tensors(tensors, tmp_path / "x.safetensors", {"made": "here"})
        assert load_tensors(tmp_path / "x.safetensors")[1] == {"made": "here"}
        assert hash_matches(tmp_path / "x.safetensors")
        with safe_open(tmp_path / "x.safetensors", "pt") as file:
            return json.loads(file.metadata()["kinetext"])["hash"]

    one = torch.arange(6.0)
    hashes = [
        hash_of(a=one, b=one),
        hash_of(a=one, c=one),
        hash_of(a=one, b=one.int()),
        hash_of(a=one, b=one.view(2, 3)),
        hash_of(a=one, b=one + 1),
        hash_of(a=one),
    ]
    assert len(set(hashes)) == len(hashes)
    assert hash_of(b=one, a=one) == hashes[0]


# ---- the folder


def test_what_a_killed_process_was_writing_is_to_be_deleted(results, capsys):
    ended = subprocess.Popen(["true"])
    ended.wait()
    mine, left = (results / RUN / f".metrics.parquet.{pid}.tmp" for pid in (os.getpid(), ended.pid))
    for path in (mine, left):
        path.write_text("half")
    (found,) = findings(results, capsys)
    assert found.startswith(f"{left}: was left half written")
    assert found.endswith("; delete it")


def test_locks_of_a_snakemake_that_is_gone(results, capsys):
    locks = results.parent / ".snakemake/locks"
    locks.mkdir(parents=True)
    (locks / "0.output.lock").write_text("results/report.html\nresults/tables/runs.parquet\n")
    (found,) = findings(results, capsys)
    assert found.startswith(f"{locks}: a Snakemake that was killed has left its locks; ")
    assert found.endswith("`snakemake --unlock`")
    program = results.parent / "snakemake"
    program.write_text("import time; print('up', flush=True); time.sleep(60)")
    running = subprocess.Popen([sys.executable, program], stdout=subprocess.PIPE)
    running.stdout.readline()
    try:
        assert findings(results, capsys) == []  # it holds them by right
    finally:
        running.kill()
        running.wait()
    (locks / "0.output.lock").write_text("others/report.html\n")
    assert findings(results, capsys) == []


def test_files_of_the_future_are_counted_and_the_first_named(results, capsys):
    ahead = sorted(path for path in results.rglob("*") if path.is_file())[:5]
    for path in ahead:
        os.utime(path, (time.time() + 86_400,) * 2)
    (found,) = findings(results, capsys)
    assert (
        f"5 files are dated in the future, as after a clock that was wrong: {ahead[0]}, {ahead[1]}, {ahead[2]}, ..."
        in found
    )
    assert f"`find {results} -newermt now -exec touch {{}} +`" in found
    subprocess.run(f"find {results} -newermt now -exec touch {{}} +", shell=True, check=True)
    assert findings(results, capsys) == []


def test_a_full_disk_a_read_only_one_and_one_without_locks(results, capsys, monkeypatch):
    monkeypatch.setattr(folder, "ROOM_GIB", 1.0)
    usage = shutil.disk_usage(results)._replace(free=2**29)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    (found,) = findings(results, capsys)
    assert found == f"{results}: 0.50 GiB of its disk are free, less than 1; free space there"
    monkeypatch.setattr(folder, "ROOM_GIB", 0.0)

    def refuse(*_, **__):
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patched:
        number = errno.ENOLCK
        patched.setattr(fcntl, "flock", refuse)
        (found,) = findings(results, capsys)
        assert found.startswith(f"{results}: has no file locks (No locks available)")
    number = errno.EROFS
    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    (found,) = findings(results, capsys)
    assert found.startswith(f"{results}: cannot be written to (Read-only file system); mount it writable")


# ---- the environment and the command


def test_packages_that_are_missing_or_too_old(monkeypatch):
    monkeypatch.setattr(
        metadata, "requires", lambda _: ["numpy<1", "no-such-package", 'absent; extra == "dev"', "pyarrow"]
    )
    found = [str(said) for said in environment.check_environment() if said.todo]
    assert found == [
        f"numpy: is version {np.__version__}, kinetext needs <1; `make setup`",
        "no-such-package: is not installed, kinetext needs it; `make setup`",
    ]


def test_a_torchvision_that_does_not_fit_is_one_finding_among_others(results, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision", None)
    cut(results / CLIPS_TABLE, 0.5)
    torchs, table = findings(results, capsys)
    assert f"torch {torch.__version__}".split("+")[0] in torchs
    assert "cannot be imported together" in torchs
    assert CLIPS_TABLE in table


def test_the_command_takes_the_folder_of_the_configuration_and_ends_with_1_when_there_is_something_to_do(results):
    results.rename(results.with_name("mine"))
    results.with_name("config.yaml").write_text("results: mine\n")
    done = CliRunner().invoke(app, ["doctor"])
    assert (done.exit_code, done.stdout.splitlines()[-1][-15:]) == (0, "; nothing to do")
    cut(results.with_name("mine") / CLIPS_TABLE, 0.5)
    done = CliRunner().invoke(app, ["doctor"])
    assert done.exit_code == 1
    assert f"mine/{CLIPS_TABLE}: {WHOLE}" in done.stdout
    assert CliRunner().invoke(app, ["doctor", "elsewhere"]).exit_code == 0


def test_a_configuration_that_cannot_be_read_is_a_finding(results, capsys):
    results.with_name("config.yaml").write_text("results: [\n")
    (found,) = findings(results, capsys)
    assert found.startswith(f"{results.with_name('config.yaml')}: cannot be read (")
    assert json.loads(
        (results / f"data/shapes/{FRAMES}/frames.json").read_text()
    )  # the rest was looked at: no further line

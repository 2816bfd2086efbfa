"""kinetext doctor: a healthy folder has no finding, each kind of damage has one line with the file and the repair, and no
check changes a file.
"""

import errno
import fcntl
import hashlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from importlib import metadata
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from safetensors import safe_open
from typer.testing import CliRunner

from kinetext.cli import app
from kinetext.config.run import fingerprint_of
from kinetext.core import tables
from kinetext.core.collected import COLLECTED
from kinetext.core.files import HOST, atomic_write
from kinetext.core.tensors import hash_matches, load_tensors, save_tensors
from kinetext.data.checks import check_frames
from kinetext.data.images import content_hash
from kinetext.doctor import doctor, environment, folder
from kinetext.texts.cache import fetch_reply, request_hash

CLIPS = 6
FRAMES = "frames/64-shortest-bicubic"
RUN = "runs/shapes/supervised/tiny/mean_pool/names/seed0"
SPEC = {
    **{"run": "shapes/supervised/tiny/mean_pool/names/seed0", "dataset": "shapes", "protocol": "supervised", "seed": 0},
    **{"method": "mean_pool", "texts": "names", "backbone": "tiny", "method_module": "mean_pool"},
    **{"protocol_options": {}, "method_options": {}, "training": {}},
    **{"dataset_options": {}, "backbone_options": {}, "text_options": {}},
}
SPEC["fingerprint"] = fingerprint_of(SPEC)


@pytest.fixture
def results(tmp_path, monkeypatch):
    """Yield a small results folder with a file of each kind that is checked."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr(folder, "MIN_FREE_GIB", 0.0)  # this machine may have less
    monkeypatch.chdir(tmp_path)
    results = tmp_path / "results"
    data, run = results / "data/shapes", results / RUN
    clips = [{"clip_id": f"c{n}", "path": f"/c{n}.mp4", "split": "train", "label": "a"} for n in range(CLIPS)]
    tables.write_table("clips", clips, data / "clips.parquet", {"labels": ["a"]})
    pictures = [[bytes([n]) * 3000] * 2 for n in range(CLIPS)]
    rows = [
        {
            **{"clip_id": f"c{n}", "source": f"source {n}", "status": "ok"},
            **{"images": images, "content_hash": content_hash(images)},
        }
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
    for path in (results / "backbones/tiny/weights.safetensors", run / "checkpoint.safetensors"):
        save_tensors(weights, path, {"origin": "here"})
    (run / "run.yaml").write_text(yaml.safe_dump(SPEC))
    tables.write_table(
        "metrics", [{"metric": "top1", "value": 0.5, "fingerprint": SPEC["fingerprint"]}], run / "metrics.parquet"
    )
    pq.write_table(pa.table({"epoch": [1], "metric": ["train_loss"], "value": [1.0]}), run / "curves.parquet")
    (run / "cost.json").write_text("{}")
    tables.write_table("predictions", [], run / "predictions.parquet")
    fetch_reply({"model": "m", "label": "a"}, results / "cache/describe", lambda: {"reply": "it turns"})
    with sqlite3.connect(results / "mlflow.db") as database:
        database.execute("create table runs (name text)")
        database.executemany("insert into runs values (?)", [["x" * 500]] * 200)
    database.close()
    return results


def findings(results, capsys):
    """Return the lines with a repair; their number is what the function returns."""
    capsys.readouterr()
    count = doctor.doctor(results, results.parent / "config.yaml")
    *lines, last = capsys.readouterr().out.splitlines()
    findings = [line for line in lines if "; " in line]
    assert len(findings) == count
    assert last.endswith(f"{count or 'nothing'} to repair")
    return findings


def state(results):
    return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in results.rglob("*") if path.is_file()}


def test_healthy_folder_has_no_finding_and_is_not_changed(results, capsys):
    before = state(results)
    assert doctor.doctor(results, results.parent / "config.yaml") == 0
    output = capsys.readouterr().out
    counts = "checked 4 tables, 2 shards, 2 weight files, 1 runs, 1 cached replies, 13 files in all; nothing to repair"
    assert counts in output
    assert f"torch {torch.__version__}" in output
    assert state(results) == before


# ---- files


def cut(path, share):
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])


def flip(path, share):
    raw = bytearray(path.read_bytes())
    raw[int(share * len(raw))] ^= 0xFF
    path.write_bytes(raw)


def flip_value(path):
    """Flip the last byte of the first column's values."""
    column = pq.read_metadata(path).row_group(0).column(0)
    flip(path, (column.data_page_offset + column.total_compressed_size - 1) / path.stat().st_size)


def retype(path):
    table = pq.read_table(path)
    column = table.column_names.index("start_s")
    retyped = table.set_column(column, "start_s", pa.nulls(len(table), pa.string()))
    pq.write_table(retyped.replace_schema_metadata(table.schema.metadata), path)


def drop(path, column):
    pq.write_table(pq.read_table(path).drop_columns([column]), path)


def another_version(path):
    table = pq.read_table(path)
    pq.write_table(table.replace_schema_metadata({**table.schema.metadata, b"schema_version": b"99"}), path)


def redraw(path):
    """Change one pixel of the last clip, as a disk may do; frames.json holds the stored hashes and still agrees."""
    raw = bytearray(path.read_bytes())
    raw[raw.rindex(bytes([CLIPS - 1]) * 1000)] ^= 1
    path.write_bytes(raw)


def displace(path):
    """Let an offset of a column lead out of the file. Arrow follows it, which ends the process with SIGSEGV."""
    offsets = bytes(tables.open_shard("frames", path)["source"].chunk(0).buffers()[1])
    content = path.read_bytes()
    assert content.count(offsets) == 2  # one in each batch
    path.write_bytes(content.replace(offsets, offsets[:4] + (2**30).to_bytes(4, "little") + offsets[8:]))


def reorder(path):
    rows = tables.open_shard("frames", path).to_pylist()
    tables.write_shard("frames", [rows[::-1]], path)


def write(path, text):
    path.write_text(text)


DAMAGED = "is damaged or unreadable ("
CLIPS_TABLE, SHARD, FEATURES = (
    "data/shapes/clips.parquet",
    f"data/shapes/{FRAMES}/00000.arrow",
    "data/shapes/features/tiny",
)
REPLY = f"cache/describe/replies/{request_hash({'model': 'm', 'label': 'a'})}.json"
DAMAGE = [
    (CLIPS_TABLE, lambda p: cut(p, 0.5), DAMAGED),
    (CLIPS_TABLE, lambda p: cut(p, 0), DAMAGED),
    (CLIPS_TABLE, flip_value, "CRC checksum"),
    (CLIPS_TABLE, retype, "is not a table `clips`: column start_s is string, not double"),
    (CLIPS_TABLE, lambda p: drop(p, "split"), "is not a table `clips`: column split is missing"),
    (CLIPS_TABLE, another_version, "was written by a later kinetext (schema 99"),
    (SHARD, lambda p: cut(p, 0.99), DAMAGED),
    (SHARD, lambda p: cut(p, 0.5), DAMAGED),
    (SHARD, displace, DAMAGED),
    (SHARD, redraw, f"the images of 1 clips differ from those that were written, first c{CLIPS - 1}"),
    (f"{FEATURES}/00000.arrow", lambda p: cut(p, 0.5), DAMAGED),
    (f"{FEATURES}/labels.npz", lambda p: flip(p, 0.5), DAMAGED),
    (f"data/shapes/{FRAMES}/frames.json", lambda p: write(p, "{"), DAMAGED),
    ("backbones/tiny/weights.safetensors", lambda p: flip(p, 0.9), "differs from what was written"),
    (f"{RUN}/checkpoint.safetensors", lambda p: cut(p, 0.9), DAMAGED),
    (f"{RUN}/run.yaml", lambda p: write(p, "run: ["), DAMAGED),
    (f"{RUN}/run.yaml", lambda p: write(p, "run: a"), DAMAGED),
    (f"{RUN}/curves.parquet", lambda p: cut(p, 0.5), DAMAGED),
    (f"{RUN}/cost.json", lambda p: write(p, "{"), DAMAGED),
    (REPLY, lambda p: cut(p, 0.5), "is not a valid cached reply"),
    (REPLY, lambda p: write(p, p.read_text().replace('"label": "a"', '"label": "b"')), "is not a valid cached reply"),
    ("mlflow.db", lambda p: flip(p, 0.0), "is damaged (file is not a database)"),
    ("mlflow.db", lambda p: cut(p, 0.5), "is damaged ("),
]


@pytest.mark.parametrize(
    ("name", "harm", "problem"), DAMAGE, ids=[f"{n}-{name}" for n, (name, *_) in enumerate(DAMAGE)]
)
def test_damaged_file_is_reported_with_its_repair(results, capsys, name, harm, problem):
    harm(results / name)
    (finding,) = findings(results, capsys)
    assert finding.startswith(f"{results / name}: ")
    assert problem in finding
    repair = finding.rsplit("; ", 1)[1] if "touch -r" not in finding else finding
    repairs = (
        "kinetext run",
        "run the configuration",
        "sync-tracking",
        "update this installation",
        "to query the model again",
    )
    assert any(words in repair for words in repairs)


def test_all_damaged_files_are_reported_at_once(results, capsys):
    names = [CLIPS_TABLE, SHARD, f"{RUN}/checkpoint.safetensors", "mlflow.db"]
    for name in names:
        cut(results / name, 0.5)
    assert sorted(line.split(": ")[0] for line in findings(results, capsys)) == sorted(str(results / n) for n in names)


def test_column_added_in_a_later_version_may_be_missing(results, capsys):
    drop(results / CLIPS_TABLE, "group")
    assert findings(results, capsys) == []


def test_frames_json_is_compared_with_the_shards(results, capsys):
    reorder(results / SHARD)
    listing = results / f"data/shapes/{FRAMES}/frames.json"
    (finding,) = findings(results, capsys)
    assert finding.startswith(f"{listing}: was written for other images than those in {results / SHARD}; delete it")
    (results / SHARD).unlink()
    (finding,) = findings(results, capsys)
    assert finding.startswith(
        f"{results / SHARD}: is missing, but {listing} lists it; run the configuration that wrote it again"
    )


def test_metrics_of_an_earlier_plan_are_reported(results, capsys):
    later = SPEC | {"training": {"epochs": 3}}
    later["fingerprint"] = fingerprint_of(later)
    (results / RUN / "run.yaml").write_text(yaml.safe_dump(later))
    (finding,) = findings(results, capsys)
    problem = f"belongs to an earlier plan of this run ({SPEC['fingerprint']}, now {later['fingerprint']})"
    assert finding.startswith(f"{results / RUN}/metrics.parquet: {problem}; ")


def test_an_edited_plan_an_edited_reply_and_edited_metrics_are_seen(results, capsys):
    plan, metrics, reply = results / RUN / "run.yaml", results / RUN / "metrics.parquet", results / REPLY
    plan.write_text(plan.read_text().replace("seed: 0", "seed: 1"))
    (finding,) = findings(results, capsys)
    assert finding.startswith(f"{plan}: was changed after kinetext wrote it: it has another fingerprint; delete it")
    plan.write_text(yaml.safe_dump(SPEC))
    table = pq.read_table(metrics)
    better = table.set_column(table.column_names.index("value"), table.field("value"), pa.array([0.9]))
    pq.write_table(better.replace_schema_metadata(pq.read_metadata(metrics).metadata), metrics)
    (finding,) = findings(results, capsys)
    assert finding.startswith(
        f"{metrics}: was changed after kinetext wrote it: its content has another hash; delete it"
    )
    pq.write_table(table.replace_schema_metadata(table.schema.metadata), metrics)  # as an earlier version wrote it
    assert findings(results, capsys) == []
    reply.write_text(reply.read_text().replace("it turns", "it falls"))
    (finding,) = findings(results, capsys)
    assert finding.startswith(f"{reply}: was changed after it was stored: its content has another hash; delete it")


def test_what_is_missing_beside_what_was_made_from_it_is_reported(results, capsys):
    (results / RUN / "predictions.parquet").unlink()
    (results / "tables").mkdir()
    for name in set(COLLECTED) - {"runs", "costs"}:
        pq.write_table(pa.table({"a": [1]}), results / f"tables/{name}.parquet")
    names = sorted(line.split(": ")[0] for line in findings(results, capsys))
    missing = [RUN + "/predictions.parquet", "tables/costs.parquet", "tables/runs.parquet"]
    assert names == [f"{results}/{name}" for name in missing]


def test_videos_that_changed_since_they_were_listed_are_reported(results, capsys):
    video = results.parent / "c0.mp4"
    video.write_text("one")
    size, time_ns = video.stat().st_size, video.stat().st_mtime_ns
    clips = [
        {
            "clip_id": "c0",
            "path": str(video),
            "split": "train",
            "label": "a",
            "size_bytes": size,
            "modified_ns": time_ns,
        }
    ]
    tables.write_table("clips", clips, results / CLIPS_TABLE, {"labels": ["a"]})
    assert findings(results, capsys) == []
    video.write_text("another")
    (finding,) = findings(results, capsys)
    assert "1 videos changed since they were listed: c0 (3 bytes before, 7 now); " in finding
    video.write_text("two")
    os.utime(video, ns=(time_ns, time_ns))
    assert findings(results, capsys) == []
    clips[0]["video_hash"] = hashlib.sha256(b"one").hexdigest()
    tables.write_table("clips", clips, results / CLIPS_TABLE, {"labels": ["a"]})
    (finding,) = findings(results, capsys)
    assert "c0 (another content, same size and modification time); " in finding


def test_names_cannot_control_the_terminal(results, capsys):
    clip = {"clip_id": "\x1b[2J", "path": str(results.parent / "c0.mp4"), "split": "train", "label": "a"}
    tables.write_table("clips", [clip | {"size_bytes": 3, "modified_ns": 0}], results / CLIPS_TABLE, {"labels": ["a"]})
    (finding,) = findings(results, capsys)
    assert "\\x1b[2J (deleted); " in finding
    assert "\x1b" not in finding


def test_advice_names_the_configuration_and_its_own_name_of_the_file(results, capsys):
    """Typed in this folder it works: the workflow declares files under the name of `results` in the configuration."""
    results.rename(results.with_name("my results"))
    results.with_name("mine.yaml").write_text("results: my results\n")
    cut(results.with_name("my results") / CLIPS_TABLE, 0.5)
    for checked in (None, results.with_name("my results")):
        doctor.doctor(checked, Path("mine.yaml"))
        assert f"`kinetext run mine.yaml -- 'my results/{CLIPS_TABLE}'` creates it again" in capsys.readouterr().out
    shutil.copytree(results.with_name("my results"), results.with_name("other"))
    doctor.doctor(Path("other"), Path("mine.yaml"))
    assert "; delete it, then run the configuration that wrote it again" in capsys.readouterr().out


def test_weights_without_a_hash_need_no_repair(results, capsys):
    from safetensors.torch import save_file

    save_file({"a": torch.ones(2)}, results / "backbones/tiny/weights.safetensors")
    assert doctor.doctor(results, results.parent / "config.yaml") == 0
    assert "weights.safetensors: has no hash to verify" in capsys.readouterr().out


def test_hash_of_tensors_covers_names_types_shapes_and_bytes(tmp_path):
    def hash_of(**tensors):
        tensors = {name: tensor.clone() for name, tensor in tensors.items()}  # none may share memory
        save_tensors(tensors, tmp_path / "x.safetensors", {"origin": "here"})
        assert load_tensors(tmp_path / "x.safetensors")[1] == {"origin": "here"}
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


def test_partial_file_of_a_killed_process_is_reported(results, capsys):
    ended = subprocess.Popen(["true"])
    ended.wait()
    owners = (f"{HOST}-{os.getpid()}-1", f"elsewhere-{ended.pid}-1", f"{HOST}-{ended.pid}-1")
    mine, elsewhere, left = (results / RUN / f".metrics.parquet.{owner}.tmp" for owner in owners)
    for path in (mine, elsewhere, left):
        path.write_text("half")
    (finding,) = findings(results, capsys)
    assert finding.startswith(f"{left}: is a partial file of a process that no longer exists")
    assert finding.endswith("; delete it")
    with atomic_write(results / RUN / "metrics.parquet") as part:  # the next job removes it
        assert not left.exists()
        assert mine.exists()
        assert elsewhere.exists()
        part.write_text("whole")


def test_locks_of_a_killed_snakemake_are_reported(results, capsys):
    locks = results.parent / ".snakemake/locks"
    locks.mkdir(parents=True)
    (locks / "0.output.lock").write_text("results/report.html\nresults/tables/runs.parquet\n")
    (finding,) = findings(results, capsys)
    assert finding.startswith(f"{locks}: a killed Snakemake left its locks; ")
    assert finding.endswith("`snakemake --unlock`")
    program = results.parent / "snakemake"
    program.write_text("import time; print('up', flush=True); time.sleep(60)")
    running = subprocess.Popen([sys.executable, program], stdout=subprocess.PIPE)
    running.stdout.readline()
    try:
        assert findings(results, capsys) == []  # they belong to a running Snakemake
    finally:
        running.kill()
        running.wait()
    (locks / "0.output.lock").write_text("others/report.html\n")
    assert findings(results, capsys) == []


def test_files_dated_in_the_future_are_counted_and_the_first_named(results, capsys):
    ahead = sorted(path for path in results.rglob("*") if path.is_file())[:5]
    for path in ahead:
        os.utime(path, (time.time() + 86_400,) * 2)
    (finding,) = findings(results, capsys)
    assert (
        f"5 files are dated in the future, perhaps by a wrong clock: {ahead[0]}, {ahead[1]}, {ahead[2]}, ..." in finding
    )
    assert f"`find {results} -newermt now -exec touch {{}} +`" in finding
    subprocess.run(f"find {results} -newermt now -exec touch {{}} +", shell=True, check=True)
    assert findings(results, capsys) == []


def test_disk_that_is_full_or_read_only_or_without_locks(results, capsys, monkeypatch):
    monkeypatch.setattr(folder, "MIN_FREE_GIB", 1.0)
    usage = shutil.disk_usage(results)._replace(free=2**29)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    (finding,) = findings(results, capsys)
    assert finding == f"{results}: its disk has 0.50 GiB free, less than 1; free space there"
    monkeypatch.setattr(folder, "MIN_FREE_GIB", 0.0)

    def refuse(*_, **__):
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patched:
        number = errno.ENOLCK
        patched.setattr(fcntl, "flock", refuse)
        (finding,) = findings(results, capsys)
        assert finding.startswith(f"{results}: has no file locks (No locks available)")
    number = errno.EROFS
    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    (finding,) = findings(results, capsys)
    assert finding.startswith(f"{results}: cannot be written to (Read-only file system); mount it writable")


# ---- the environment and the command


def test_missing_and_outdated_packages_are_reported(monkeypatch):
    monkeypatch.setattr(
        metadata, "requires", lambda _: ["numpy<1", "no-such-package", 'absent; extra == "dev"', "pyarrow"]
    )
    findings = [str(finding) for finding in environment.check_environment() if finding.repair]
    assert findings == [
        f"numpy: is version {np.__version__}, kinetext needs <1; `make setup`",
        "no-such-package: is not installed, kinetext needs it; `make setup`",
    ]


def test_mismatched_torchvision_is_one_finding_among_others(results, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision", None)
    cut(results / CLIPS_TABLE, 0.5)
    torchs, table = findings(results, capsys)
    assert f"torch {torch.__version__}".split("+")[0] in torchs
    assert "cannot be imported together" in torchs
    assert CLIPS_TABLE in table


def test_command_checks_the_configured_folder_and_exits_with_1_if_there_is_a_finding(results):
    results.rename(results.with_name("mine"))
    results.with_name("config.yaml").write_text("results: mine\n")
    done = CliRunner().invoke(app, ["doctor"])
    assert (done.exit_code, done.stdout.splitlines()[-1].split("; ")[1]) == (0, "nothing to repair")
    cut(results.with_name("mine") / CLIPS_TABLE, 0.5)
    done = CliRunner().invoke(app, ["doctor"])
    assert done.exit_code == 1
    assert f"mine/{CLIPS_TABLE}: {DAMAGED}" in done.stdout
    assert CliRunner().invoke(app, ["doctor", "elsewhere"]).exit_code == 0


def test_unreadable_configuration_is_a_finding(results, capsys):
    results.with_name("config.yaml").write_text("results: [\n")
    (finding,) = findings(results, capsys)
    assert finding.startswith(f"{results.with_name('config.yaml')}: cannot be read (")
    assert json.loads(
        (results / f"data/shapes/{FRAMES}/frames.json").read_text()
    )  # the rest was checked without a finding

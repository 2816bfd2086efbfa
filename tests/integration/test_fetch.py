"""`kinetext fetch` of each data set in the form in which it is published, from a local server, up to `inspect`."""

import hashlib
import io
import json
import tarfile
import zipfile
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from file_server import COMMIT, FileServer
from kinetext import cli
from kinetext.data.fetch import sources
from kinetext.data.fetch.sources import File, read_sources
from official import write_diving48, write_hmdb51, write_ucf101
from videos import write_video

TABLE = read_sources()


@pytest.fixture
def server():
    with FileServer() as server:
        yield server


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Run `kinetext fetch`; `table` replaces the addresses."""

    def fetch(table, *arguments, typed=""):
        monkeypatch.setattr(sources, "read_sources", lambda: table)
        return CliRunner().invoke(cli.app, ["fetch", *arguments], input=typed)

    monkeypatch.chdir(tmp_path)
    return fetch


def zipped(folder: Path, prefix: str) -> bytes:
    output = io.BytesIO()
    with zipfile.ZipFile(output, "w") as file:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            file.write(path, f"{prefix}{path.relative_to(folder)}")
    return output.getvalue()


def tarred(folder: Path, prefix: str) -> bytes:
    output = io.BytesIO()
    with tarfile.open(fileobj=output, mode="w:gz") as file:
        file.add(folder, prefix)
    return output.getvalue()


def serve(server, name, contents, pin=True):
    """Return the table with `name` served: its files have these contents, in their order."""
    files = []
    for file, content in zip(TABLE[name].files, contents, strict=True):
        server.files[f"/{file.name}"] = content
        pins = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)} if pin else {}
        files.append(File(url=f"{server.url}/{file.name}", into=file.into, **pins))
    return {name: TABLE[name].model_copy(update={"files": tuple(files), "bytes": sum(map(len, contents))})}


def serve_repository(server, name, files):
    """Return the table with `name` as a repository with these files."""
    repository = TABLE[name].repository
    path = repository.address.removeprefix("https://huggingface.co")
    server.files = {f"{path}/resolve/{COMMIT}/{file}": content for file, content in files.items()}
    server.large = set(server.files)
    local = repository.model_copy(update={"address": server.url + path})
    return {name: TABLE[name].model_copy(update={"repository": local, "bytes": 1000})}


def test_ucf101_from_two_zips_through_cut_connections(server, run, tmp_path):
    options = write_ucf101(tmp_path / "made")
    videos = zipped(Path(options["root"]), "UCF101/")
    table = serve(server, "ucf101", [videos, zipped(Path(options["annotations"]), "ucfTrainTestlist/")])
    server.cuts = [len(videos) // 2, len(videos) // 4]
    result = run(table, "ucf101", typed="i may use ucf101\n")
    assert result.exit_code == 0, result.output
    assert "licence: not stated" in result.output
    assert "https://www.crcv.ucf.edu/research/data-sets/ucf101/" in result.output
    assert "absent files: 1" in result.output
    assert [wanted for path, wanted in server.requests if "videos" in path] == [
        None,
        f"bytes={len(videos) // 2}-",
        f"bytes={len(videos) // 2 + len(videos) // 4}-",
    ]
    record = json.loads((tmp_path / "datasets/ucf101/source.json").read_text())
    assert record["accepted"] == "i may use ucf101"
    assert record["files"][f"{server.url}/UCF101_videos.zip"]["sha256"] == hashlib.sha256(videos).hexdigest()
    entry = yaml.safe_load((tmp_path / "datasets/ucf101/dataset.yaml").read_text())["datasets"]["ucf101"]
    assert entry["module"] == "ucf101"
    assert Path(entry["options"]["annotations"], "trainlist01.txt").is_file()
    assert not (tmp_path / "datasets/ucf101/downloads").exists()
    second = run(table, "ucf101")
    assert second.exit_code == 0
    assert len(server.requests) == 4  # nothing more was asked for


def test_hmdb51_with_a_licence_and_yes(server, run, tmp_path):
    options = write_hmdb51(tmp_path / "made")
    table = serve(
        server,
        "hmdb51",
        [
            zipped(Path(options["root"]), "hmdb51_org/"),
            zipped(Path(options["annotations"]), "testTrainMulti_7030_splits/"),
        ],
    )
    result = run(table, "hmdb51", "--yes", "--output", "here")
    assert result.exit_code == 0, result.output
    assert "licence: CC BY 4.0" in result.output
    assert "absent files: 0" in result.output
    assert list((tmp_path / "here/annotations").glob("*_test_split1.txt"))


def test_diving48_without_pins_records_what_it_got(server, run, tmp_path):
    options = write_diving48(tmp_path / "made")
    lists = [Path(options["annotations"], file.name).read_bytes() for file in TABLE["diving48"].files[1:]]
    table = serve(server, "diving48", [tarred(Path(options["root"]), "rgb"), *lists], pin=False)
    answer = "I may use diving48\n"
    result = run(table, "diving48", typed=answer)
    assert result.exit_code == 0, result.output
    assert "absent files: 1" in result.output
    folder = tmp_path / "datasets/diving48"
    record = json.loads((folder / "source.json").read_text())
    for part in ("complete", "accepted"):
        del record[part]
    (folder / "source.json").write_text(json.dumps(record))
    server.files["/Diving48_vocab.json"] += b" "
    changed = run(table, "diving48", typed=answer)
    assert isinstance(changed.exception, ValueError)
    assert "Diving48_vocab.json: sha256" in str(changed.exception)


def test_ucf101_subset_from_a_repository(server, run, tmp_path):
    folder = tmp_path / "made"
    for split in ("train", "val", "test"):
        for label in ("ApplyEyeMakeup", "Archery"):
            path = folder / split / label / f"v_{label}_g0{len(split)}_c01.avi"
            path.parent.mkdir(parents=True)
            write_video(path, 10, codec="mpeg4")
    table = serve_repository(server, "ucf101_subset", {"UCF101_subset.tar.gz": tarred(folder, "UCF101_subset")})
    result = run(table, "ucf101_subset", typed="I may use ucf101_subset\n")
    assert result.exit_code == 0, result.output
    assert "ucf101_subset: 6 clips: train 2, val 2, test 2" in result.output
    assert (tmp_path / "datasets/ucf101_subset/videos/train/Apply_Eye_Makeup").is_dir()
    assert json.loads((tmp_path / "datasets/ucf101_subset/source.json").read_text())["commit"] == COMMIT


def test_kinetics_mini_file_by_file_with_validation_clips_as_test(server, run, tmp_path):
    content = write_video(tmp_path / "a.mp4", 10).read_bytes()
    names = [f"{s}/{label}/{n}-abcdefghi_000001_000011.mp4" for s in ("train", "val") for label in "ab" for n in "12"]
    table = serve_repository(server, "kinetics_mini", dict.fromkeys([*names, "README.md"], content))
    server.page = 3
    result = run(table, "kinetics_mini", typed="I may use kinetics_mini\n")
    assert result.exit_code == 0, result.output
    assert "8 files at commit" in result.output
    assert "kinetics_mini: 8 clips: train 4, val 0, test 4" in result.output


def test_who_does_not_agree_gets_nothing(server, run, tmp_path):
    table = serve(server, "ucf101", [b"x", b"y"])
    for arguments, typed in ((["ucf101"], "yes\n"), (["ucf101", "--yes"], ""), (["ucf101", "--yes"], "y\n")):
        result = run(table, *arguments, typed=typed)
        assert "not downloaded; the answer must be 'I may use ucf101'" in str(result.exception)
    assert "--yes is no answer where no licence is stated" in str(result.exception)
    assert server.requests == []
    assert not (tmp_path / "datasets").exists()


def test_an_archive_that_leads_out_of_the_folder_leaves_nothing(server, run, tmp_path):
    output = io.BytesIO()
    with zipfile.ZipFile(output, "w") as file:
        file.writestr("ok/1.avi", b"x")
        file.writestr("../../../evil", b"x")
    result = run(serve(server, "hmdb51", [output.getvalue(), b"y"]), "hmdb51", "--yes")
    assert "leads out of the folder" in str(result.exception)
    assert sorted(path.name for path in (tmp_path / "datasets/hmdb51").iterdir()) == ["downloads", "source.json"]
    assert not list(tmp_path.rglob("evil"))


def test_owners_to_be_asked_are_named(run):
    for name in ("ssv2", "jester"):
        result = run(TABLE, name)
        assert "Ask at https://www.qualcomm.com/" in str(result.exception)
    assert "ssv2 " in run(TABLE).output
    assert "did you mean" in str(run(TABLE, "ucf_101").exception)


def test_a_folder_with_other_things_is_left_alone(server, run, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.tex").touch()
    result = run(serve(server, "hmdb51", [b"x", b"y"]), "hmdb51", "--yes", "--output", "mine")
    assert "has thesis.tex in it; fetch into a new folder" in str(result.exception)

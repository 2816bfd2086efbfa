"""The table of sources, and how archives inside archives become the loader's folders."""

import zipfile

from kinetext.config.data import DatasetOptions
from kinetext.data.datasets.base import build_dataset
from kinetext.data.fetch.fetch import dataset_options
from kinetext.data.fetch.layout import arrange
from kinetext.data.fetch.sources import File, list_sources, read_sources, size


def test_every_source_is_pinned_or_says_that_it_is_not_and_has_a_module(tmp_path):
    for name, source in read_sources().items():
        assert source.page.startswith("http")
        if source.ask:
            assert not source.files
            assert not source.repository
            continue
        build_dataset(name, DatasetOptions(**dataset_options(source, tmp_path)))  # module and options are known
        assert source.files or source.repository
        assert all((file.sha256 is None) == (file.bytes is None) for file in source.files)
    assert sum(file.sha256 is not None for source in read_sources().values() for file in source.files) == 4


def test_the_list_has_a_line_for_each():
    lines = list_sources().splitlines()
    assert len(lines) == len(read_sources())
    assert lines[0].startswith("ucf101_subset  171.0 MB ")
    assert "licence not stated" in lines[0]


def test_sizes_in_words():
    assert [size(n) for n in (12, 113943, 171000000, 6960514058)] == ["12 B", "113.9 kB", "171.0 MB", "7.0 GB"]


def test_one_rar_per_class_inside_a_zip_becomes_class_folders(tmp_path, monkeypatch):
    tool = tmp_path / "bin/bsdtar"
    tool.parent.mkdir()
    unpack = 'n=$(basename $2 .rar); mkdir $n; printf $n > "$n/1.avi"'
    tool.write_text(f"#!/bin/sh\nif [ $1 = -tf ]; then echo x/1.avi; else {unpack}; fi\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tool.parent}:/usr/bin:/bin")
    with zipfile.ZipFile(tmp_path / "v.zip", "w") as file:
        for name in ("brush_hair", "kick"):
            file.writestr(f"hmdb51_org/{name}.rar", b"Rar!\x1a\x07\x01\x00")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.writestr("x/y/kick_test_split1.txt", b"1.avi 1")
    files = [
        (File(url="http://h/v.zip", into="videos"), tmp_path / "v.zip"),
        (File(url="http://h/a.zip", into="annotations"), tmp_path / "a.zip"),
    ]
    arrange(read_sources()["hmdb51"], files, tmp_path / "out")
    contents = {str(path.relative_to(tmp_path / "out")): path.read_text() for path in (tmp_path / "out").rglob("*.*")}
    assert contents == {
        "videos/brush_hair/1.avi": "brush_hair",
        "videos/kick/1.avi": "kick",
        "annotations/kick_test_split1.txt": "1.avi 1",
    }

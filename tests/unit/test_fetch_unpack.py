"""Archives with paths and links out of the folder, bombs and damage; what is right in them is unpacked as it is."""

import io
import os
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from pathlib import Path

import pytest

from kinetext.data.fetch import unpack as module
from kinetext.data.fetch.unpack import is_archive, unpack

OUT = ["../evil.txt", "/evil.txt", "a/../../evil.txt", "..\\evil.txt", "C:\\evil.txt"]


def write_zip(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(zipfile.ZipInfo(name) if name.endswith("/") else name, content)
    return path


def write_tar(path: Path, members: dict[str, bytes], mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as file:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            file.addfile(member, io.BytesIO(content))
    return path


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


FILES = {"top/a/1.avi": b"one" * 1000, "top/b/2.avi": b"two", "top/.DS_Store": b"x", "__MACOSX/top/._1.avi": b"x"}


@pytest.mark.parametrize("mode", ["zip", "w", "w:gz", "w:bz2", "w:xz"])
def test_plain_files_are_unpacked_and_hidden_ones_left_out(tmp_path, mode):
    archive = write_zip(tmp_path / "x", FILES) if mode == "zip" else write_tar(tmp_path / "x", FILES, mode)
    assert is_archive(archive)
    assert unpack(archive, tmp_path / "out") == []
    assert tree(tmp_path / "out") == {"top/a/1.avi": b"one" * 1000, "top/b/2.avi": b"two"}


@pytest.mark.parametrize("write", [write_zip, write_tar])
@pytest.mark.parametrize("name", OUT)
def test_a_path_out_of_the_folder_is_refused(tmp_path, write, name):
    archive = write(tmp_path / "x", {name: b"evil"})
    with pytest.raises(ValueError, match="which leads out of the folder; it was not unpacked"):
        unpack(archive, tmp_path / "in/out")
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["x"]


def test_links_and_devices_of_a_tar_are_left_out(tmp_path):
    with tarfile.open(tmp_path / "x", "w") as file:
        for name, kind, target in (
            ("s", tarfile.SYMTYPE, "/etc"),
            ("h", tarfile.LNKTYPE, "../../x"),
            ("d", tarfile.CHRTYPE, ""),
            ("f", tarfile.FIFOTYPE, ""),
        ):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, target
            file.addfile(member)
        member = tarfile.TarInfo("s/passwd")  # through the link, if it were made
        member.size = 4
        file.addfile(member, io.BytesIO(b"evil"))
    assert unpack(tmp_path / "x", tmp_path / "out") == ["s", "h", "d", "f"]
    assert tree(tmp_path / "out") == {"s/passwd": b"evil"}
    assert not any(path.is_symlink() for path in (tmp_path / "out").rglob("*"))


def test_a_link_in_a_zip_is_left_out(tmp_path):
    with zipfile.ZipFile(tmp_path / "x", "w") as file:
        member = zipfile.ZipInfo("link")
        member.external_attr = (stat.S_IFLNK | 0o777) << 16
        file.writestr(member, "/etc/passwd")
    assert unpack(tmp_path / "x", tmp_path / "out") == ["link"]
    assert tree(tmp_path / "out") == {}


@pytest.mark.parametrize("write", [write_zip, write_tar])
def test_a_bomb_is_stopped(tmp_path, write, monkeypatch):
    monkeypatch.setattr(module, "MIN_BYTES", 1000)
    archive = write(tmp_path / "x", {"bomb": bytes(20_000_000)})
    with pytest.raises(ValueError, match="more than 20 times its size"):
        unpack(archive, tmp_path / "out")
    assert (tmp_path / "out/bomb").stat().st_size < 2_000_000


def test_a_zip_that_lies_about_sizes_is_damaged(tmp_path):
    archive = write_zip(tmp_path / "x", {"bomb": bytes(100_000)})
    content = bytearray(archive.read_bytes())
    where = content.rindex(b"PK\x01\x02") + 24  # the unpacked size in the directory
    content[where : where + 4] = (10).to_bytes(4, "little")
    archive.write_bytes(content)
    with pytest.raises(ValueError, match="cannot be unpacked"):
        unpack(archive, tmp_path / "out")


def test_too_many_files_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MAX_MEMBERS", 10)
    archive = write_tar(tmp_path / "x", {str(number): b"" for number in range(11)})
    with pytest.raises(ValueError, match="or 10 files"):
        unpack(archive, tmp_path / "out")


def test_a_tar_header_that_asks_for_much_memory_is_refused(tmp_path):
    member = tarfile.TarInfo("x")
    member.type, member.size = tarfile.XHDTYPE, 2**32
    (tmp_path / "x").write_bytes(member.tobuf(tarfile.USTAR_FORMAT) + bytes(2**20))
    with pytest.raises(ValueError, match="a header of 4294967296 bytes"):
        unpack(tmp_path / "x", tmp_path / "out")


@pytest.mark.parametrize("write", [write_zip, write_tar])
def test_half_an_archive_is_named_as_damaged(tmp_path, write):
    archive = write(tmp_path / "x", {"a": os.urandom(50_000)})
    archive.write_bytes(archive.read_bytes()[:20_000])
    with pytest.raises(ValueError, match="cannot be unpacked"):
        unpack(archive, tmp_path / "out")


def test_a_name_twice_is_refused_not_overwritten(tmp_path):
    with tarfile.open(tmp_path / "x", "w") as file:
        for content in (b"first", b"other"):
            member = tarfile.TarInfo("a")
            member.size = 5
            file.addfile(member, io.BytesIO(content))
    with pytest.raises(ValueError, match="is a name there twice"):
        unpack(tmp_path / "x", tmp_path / "out")
    assert tree(tmp_path / "out") == {"a": b"first"}


def test_names_of_a_zip_without_utf8_keep_their_bytes(tmp_path):
    with zipfile.ZipFile(tmp_path / "x", "w") as file:
        file.writestr("XX.avi", b"v")
    content = (tmp_path / "x").read_bytes().replace(b"XX.avi", b"\xfcX.avi")
    (tmp_path / "x").write_bytes(content)
    unpack(tmp_path / "x", tmp_path / "out")
    assert os.listdir(os.fsencode(tmp_path / "out")) == [b"\xfcX.avi"]


@pytest.fixture
def rar(tmp_path):
    (tmp_path / "x.rar").write_bytes(b"Rar!\x1a\x07\x01\x00" + bytes(100))
    return tmp_path / "x.rar"


def write_rar(path: Path, members: dict[str, bytes]) -> Path:
    """Write a rar of version 4 that stores its files uncompressed."""

    def block(kind: int, flags: int, fields: bytes) -> bytes:
        header = struct.pack("<BHH", kind, flags, 7 + len(fields)) + fields
        return struct.pack("<H", zlib.crc32(header) & 0xFFFF) + header

    content = b"Rar!\x1a\x07\x00" + block(0x73, 0, bytes(6))
    for name, data in members.items():
        sizes = struct.pack("<IIBI", len(data), len(data), 3, zlib.crc32(data))
        fields = sizes + struct.pack("<IBBHI", 0x21_00_00_00, 20, 0x30, len(name), 0o100644) + name.encode()
        content += block(0x74, 0x8000, fields) + data
    path.write_bytes(content + block(0x7B, 0x4000, b""))
    return path


@pytest.mark.parametrize("tool", module.RAR_TOOLS)
def test_a_real_program_unpacks_a_rar(tool, tmp_path, monkeypatch):
    if shutil.which(tool) is None:
        pytest.skip(f"{tool}: not installed (docs/data.md)")
    monkeypatch.setattr(module, "RAR_TOOLS", {tool: module.RAR_TOOLS[tool]})
    archive = write_rar(tmp_path / "x.rar", {"kick/a b (1).avi": b"one", "kick/#2.avi": b"two" * 1000})
    assert is_archive(archive)
    assert unpack(archive, tmp_path / "out") == []
    assert tree(tmp_path / "out") == {"kick/a b (1).avi": b"one", "kick/#2.avi": b"two" * 1000}


def install(tmp_path, monkeypatch, names: str, script: str) -> None:
    """Put a program `bsdtar` on the PATH that lists `names` and unpacks by `script`."""
    tool = tmp_path / "bin/bsdtar"
    tool.parent.mkdir()
    tool.write_text(f"#!/bin/sh\nif [ $1 = -tf ]; then printf '{names}'; else {script}; fi\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tool.parent}:{os.defpath}")


def test_a_rar_without_a_program_names_what_to_install(rar, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ValueError, match=r"is a rar archive, and neither bsdtar nor unrar is installed; install one"):
        unpack(rar, tmp_path / "out")


def test_a_rar_is_unpacked_by_a_program_and_its_links_removed(rar, tmp_path, monkeypatch):
    install(tmp_path, monkeypatch, "a/1.avi\\na/link\\n", "mkdir a; printf one > a/1.avi; ln -s /etc a/link")
    assert unpack(rar, tmp_path / "out") == ["a/link"]
    assert tree(tmp_path / "out") == {"a/1.avi": b"one"}
    assert not (tmp_path / "out/a/link").is_symlink()


def test_a_rar_with_a_path_out_of_the_folder_is_not_given_to_the_program(rar, tmp_path, monkeypatch):
    install(tmp_path, monkeypatch, "../evil\\n", "printf evil > ../evil")
    with pytest.raises(ValueError, match="which leads out of the folder"):
        unpack(rar, tmp_path / "out")
    assert not (tmp_path / "evil").exists()


def test_a_rar_bomb_is_stopped(rar, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MIN_BYTES", 1000)
    install(tmp_path, monkeypatch, "a\\n", "head -c 100000 /dev/zero > a; exec sleep 60")
    with pytest.raises(ValueError, match="more than 20 times its size"):
        unpack(rar, tmp_path / "out")


def test_the_words_of_a_program_that_fails_are_shown(rar, tmp_path, monkeypatch):
    install(tmp_path, monkeypatch, "a\\n", "echo no volume 2 >&2; exit 3")
    with pytest.raises(ValueError, match="bsdtar cannot unpack it: no volume 2"):
        unpack(rar, tmp_path / "out")

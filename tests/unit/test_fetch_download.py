"""Downloads resume where they were cut, and no wrong, mixed or foreign file is taken for the right one."""

import hashlib

import pytest

from file_server import COMMIT, FileServer
from kinetext.data.fetch.download import Patience, download
from kinetext.data.fetch.hub import list_files, newest_commit
from kinetext.data.fetch.sources import File, Repository

CONTENT = bytes(range(256)) * 500
PATIENCE = Patience(timeout_s=5, tries=3, wait_s=0.001)


@pytest.fixture
def server():
    with FileServer() as server:
        server.files["/a.zip"] = CONTENT
        yield server


def pinned(server, content=CONTENT, **fields):
    values = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content), "into": "videos"}
    return File(url=f"{server.url}/a.zip", **values | fields)


def test_a_file_arrives_whole_and_is_not_asked_for_twice(server, tmp_path):
    digest = download(pinned(server), tmp_path / "a.zip", PATIENCE)
    assert digest == hashlib.sha256(CONTENT).hexdigest()
    assert (tmp_path / "a.zip").read_bytes() == CONTENT
    assert download(pinned(server), tmp_path / "a.zip", PATIENCE) == digest
    assert len(server.requests) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["a.zip"]


@pytest.mark.parametrize("tags", [True, False])
def test_cut_connections_are_continued_byte_by_byte(server, tmp_path, tags):
    server.cuts, server.tags = [1000, 50_000, 1], tags
    download(pinned(server), tmp_path / "a.zip", PATIENCE)
    assert (tmp_path / "a.zip").read_bytes() == CONTENT
    assert [wanted for _, wanted in server.requests] == [None, "bytes=1000-", "bytes=51000-", "bytes=51001-"]


def test_a_killed_download_resumes_in_the_next_call(server, tmp_path):
    (tmp_path / "a.zip.part").write_bytes(CONTENT[:70_000])
    download(pinned(server), tmp_path / "a.zip", PATIENCE)
    assert (tmp_path / "a.zip").read_bytes() == CONTENT
    assert server.requests == [("/a.zip", "bytes=70000-")]


def test_a_part_that_is_complete_is_only_checked(server, tmp_path):
    (tmp_path / "a.zip.part").write_bytes(CONTENT)
    download(pinned(server), tmp_path / "a.zip", PATIENCE)
    assert (tmp_path / "a.zip").read_bytes() == CONTENT


def test_a_part_longer_than_the_file_is_dropped(server, tmp_path):
    (tmp_path / "a.zip.part").write_bytes(CONTENT + b"more")
    download(pinned(server), tmp_path / "a.zip", PATIENCE)
    assert (tmp_path / "a.zip").read_bytes() == CONTENT


def test_a_server_without_ranges_sends_everything_again(server, tmp_path):
    server.cuts, server.ranges = [1000], False
    download(pinned(server), tmp_path / "a.zip", PATIENCE)
    assert (tmp_path / "a.zip").read_bytes() == CONTENT


def test_two_versions_of_a_file_without_checksum_are_never_joined(server, tmp_path):
    file = pinned(server, sha256=None, bytes=None)
    server.cuts = [1000, 0, 0, 0]
    with pytest.raises(ValueError, match=r"3 times without a new byte.*resume at 1\.0 kB"):
        download(file, tmp_path / "a.zip", PATIENCE)
    server.files["/a.zip"] = b"new" * 1000
    download(file, tmp_path / "a.zip", PATIENCE)
    assert (tmp_path / "a.zip").read_bytes() == b"new" * 1000
    assert server.requests[-1] == ("/a.zip", "bytes=1000-")  # the server saw the old tag and sent everything


def test_without_tag_and_checksum_a_part_is_not_trusted(server, tmp_path):
    server.tags = False
    (tmp_path / "a.zip.part").write_bytes(b"who knows")
    download(pinned(server, sha256=None, bytes=None), tmp_path / "a.zip", PATIENCE)
    assert (tmp_path / "a.zip").read_bytes() == CONTENT
    assert server.requests == [("/a.zip", None)]


def test_a_busy_server_is_tried_again(server, tmp_path):
    server.errors = [503, 429]
    download(pinned(server), tmp_path / "a.zip", PATIENCE)
    assert len(server.requests) == 3


def test_a_wrong_checksum_is_refused_and_the_file_deleted(server, tmp_path):
    server.files["/a.zip"] = CONTENT[:-1] + b"x"
    with pytest.raises(ValueError, match=r"sha256 [0-9a-f]{64}, pinned [0-9a-f]{64}.*was deleted; run again"):
        download(pinned(server), tmp_path / "a.zip", PATIENCE)
    assert list(tmp_path.glob("a.zip*")) == []


def test_an_empty_file_in_place_of_the_pinned_one_is_refused_before_the_download(server, tmp_path):
    server.files["/a.zip"] = b""
    with pytest.raises(ValueError, match=r"has 0 bytes, not the 128000 of the pinned file"):
        download(pinned(server), tmp_path / "a.zip", PATIENCE)


def test_a_web_page_is_no_archive(server, tmp_path):
    server.content_type = "text/html; charset=utf-8"
    with pytest.raises(ValueError, match=r"is a web page, not a\.zip"):
        download(pinned(server, sha256=None, bytes=None), tmp_path / "a.zip", PATIENCE)


def test_an_absent_file_names_the_place_of_a_copy(server, tmp_path):
    del server.files["/a.zip"]
    with pytest.raises(ValueError, match=rf"HTTP 404 .*put it at {tmp_path}/a\.zip and run again"):
        download(pinned(server), tmp_path / "a.zip", PATIENCE)


def test_a_copy_of_the_user_is_checked(server, tmp_path):
    (tmp_path / "a.zip").write_bytes(b"another file")
    with pytest.raises(ValueError, match=r"bytes 12, pinned 128000.*remove it"):
        download(pinned(server), tmp_path / "a.zip", PATIENCE)
    assert (tmp_path / "a.zip").exists()  # it is the user's
    assert server.requests == []


def test_a_repository_is_listed_page_by_page_with_its_checksums(server):
    base = f"/datasets/me/mini/resolve/{COMMIT}"
    server.files = {f"{base}/{name}": name.encode() for name in ("README.md", "train/a/1.mp4", "train/b/x y.mp4")}
    server.large, server.page = {f"{base}/train/a/1.mp4"}, 1
    repository = Repository(address=f"{server.url}/datasets/me/mini", files=("train/*",))
    assert newest_commit(repository) == COMMIT
    first, second = list_files(repository, COMMIT)
    assert (first.name, first.sha256) == ("train/a/1.mp4", hashlib.sha256(b"train/a/1.mp4").hexdigest())
    assert first.git_sha1 is None
    assert second.git_sha1 == hashlib.sha1(b"blob 15\0train/b/x y.mp4").hexdigest()
    assert second.url.endswith("/train/b/x%20y.mp4")


def test_a_small_file_is_checked_by_its_name_in_git(server, tmp_path):
    base = f"/datasets/me/mini/resolve/{COMMIT}"
    server.files = {f"{base}/train/x y.txt": b"right"}
    [file] = list_files(Repository(address=f"{server.url}/datasets/me/mini", files=("*",)), COMMIT)
    download(file, tmp_path / file.name, PATIENCE)
    assert (tmp_path / "train/x y.txt").read_bytes() == b"right"
    server.files = {f"{base}/train/x y.txt": b"wrong"}
    with pytest.raises(ValueError, match="git sha1"):
        download(file, tmp_path / "again.txt", PATIENCE)


def test_a_path_out_of_the_folder_in_a_repository_is_refused(server):
    base = f"/datasets/me/mini/resolve/{COMMIT}"
    server.files = {f"{base}/../../evil.mp4": b"x"}
    with pytest.raises(ValueError, match=r"'\.\./\.\./evil\.mp4', which leads out of the folder"):
        list_files(Repository(address=f"{server.url}/datasets/me/mini", files=("*",)), COMMIT)


def test_a_repository_without_the_files_is_named(server):
    with pytest.raises(ValueError, match=r"has no train/\* at commit"):
        list_files(Repository(address=f"{server.url}/datasets/me/none", files=("train/*",)), COMMIT)

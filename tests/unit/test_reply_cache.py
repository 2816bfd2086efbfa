"""The cache of raw replies: each request is sent once, and no failure is stored."""

import resource
import subprocess
import sys

import pytest

from kinetext.texts import cache


def test_cache_sends_once_and_stores_no_failure(tmp_path):
    calls = []

    def ask():
        calls.append(1)
        if len(calls) == 1:
            raise OSError("line is dead")
        return {"reply": "raw ä"}

    with pytest.raises(OSError, match="line is dead"):
        cache.fetch_reply({"q": 1}, tmp_path, ask)
    first = cache.fetch_reply({"q": 1}, tmp_path, ask)
    assert first == cache.fetch_reply({"q": 1}, tmp_path, ask)
    assert first["reply"] == "raw ä"
    assert len(calls) == 2
    path = cache.reply_path({"q": 1}, tmp_path)
    assert [p.name for p in (tmp_path / "replies").iterdir()] == [path.name]
    assert cache.request_hash({"a": 1, "b": 2}) == cache.request_hash({"b": 2, "a": 1}) != cache.request_hash({"a": 1})
    path.write_text('{"request": ')
    with pytest.raises(ValueError, match=f"{path.name}: not a valid cached reply; delete it to query the model again"):
        cache.fetch_reply({"q": 1}, tmp_path, ask)


def test_jobs_with_the_same_request_send_it_once(tmp_path):
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom kinetext.texts import cache\nfolder = Path(sys.argv[1])\n"
        "def ask():\n    with open(folder / 'calls', 'a') as f: f.write('x')\n    time.sleep(0.3)\n    return {'reply': 1}\n"
        "cache.fetch_reply({'q': 1}, folder, ask)\n"
    )
    jobs = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path)]) for _ in range(3)]
    assert [job.wait(60) for job in jobs] == [0, 0, 0]
    assert (tmp_path / "calls").read_text() == "x"


def test_reply_that_cannot_be_stored_stops_the_run(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))  # as a full disk would, when the bytes leave the process
    try:
        with pytest.raises(ValueError, match=r"replies: cannot store a reply .*; free some space and run again"):
            cache.fetch_reply({"n": 1}, tmp_path, lambda: {"reply": "x" * 1000})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not list((tmp_path / "replies").iterdir())
    assert cache.fetch_reply({"n": 1}, tmp_path, lambda: {"reply": "y"})["reply"] == "y"

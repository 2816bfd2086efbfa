"""Paid answers survive SIGKILL: chat_api in processes that are killed at random points, against a server that counts.

No request is sent twice, not even one that was open at the kill: the process that talks to the server survives the
killed one, and the next process waits for its answers (core/detached.py).
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from chat_server import about_the_class, error, label_of
from chat_world import KEY, options, serving, write_classes
from kinetext.core.tables import read_rows

KILLS, IN_FLIGHT, CLASSES = 50, 4, 700

# Imports once, then forks a process for each table: 50 times Python's imports would take minutes.
FORKER = """
import json, os, sys
from pathlib import Path
import openai.resources.chat, filelock, tqdm
from chat_world import describe_table
from kinetext.core.detached import run_detached
openai.OpenAI(api_key="none", base_url="http://127.0.0.1:1")
print("ready", flush=True)
for line in sys.stdin:
    children = []
    for arguments in json.loads(line):
        child = os.fork()
        if child == 0:
            os.dup2(os.open(Path(arguments["folder"]) / "said.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
            try:
                run_detached()
                with open(Path(arguments["folder"]) / "workers", "a") as file:
                    file.write(f"{os.getpid()} ")
                describe_table(Path(arguments["folder"]), arguments["options"], table=arguments["table"])
            except SystemExit as end:  # of the process that waited, or with a sentence
                os._exit(end.code if isinstance(end.code, int) else 1)
            except BaseException as error:
                print("failed:", repr(error), flush=True)
                os._exit(1)
            os._exit(0)
        children.append(child)
    print(*children, flush=True)
    print(*(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children), flush=True)
"""


@pytest.fixture
def server(monkeypatch):
    with serving(monkeypatch) as server:
        yield server


@pytest.fixture(scope="module")
def forker():
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "TEST_KEY": KEY, "NO_PROXY": "127.0.0.1"}
    process = subprocess.Popen(
        [sys.executable, "-c", FORKER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    )
    assert process.stdout.readline() == "ready\n"
    yield process
    process.stdin.close()
    process.wait(30)


def start(forker, server, folder: Path, *tables: str, **others) -> list[int]:
    """Processes that describe the classes into these tables, with one cache."""
    others = {"max_in_flight": IN_FLIGHT, "sentences": 1, "retries": 0} | others
    asked = {"folder": str(folder), "options": options(server, **others)}
    forker.stdin.write(json.dumps([asked | {"table": table} for table in tables]) + "\n")
    forker.stdin.flush()
    return [int(pid) for pid in forker.stdout.readline().split()]


def replies(folder: Path) -> dict[str, bytes]:
    """The cached replies by class."""
    raws = [path.read_bytes() for path in (folder / "cache/replies").glob("*.json")]
    return {label_of(json.loads(raw)["request"]): raw for raw in raws}


def test_50_random_kills_lose_and_repeat_no_paid_answer(server, forker, tmp_path):
    write_classes(tmp_path, [f"class {n}" for n in range(CLASSES)])
    chance, sent = random.Random(0), Counter()

    def script(asked):
        label = label_of(asked)
        with server.lock:
            sent[label] += 1
        time.sleep(0.01 + 0.01 * (hash(label) % 10) / 10)
        return about_the_class(asked, note=f" take {sent[label]}")

    server.script = script
    kept: dict[str, bytes] = {}
    for _ in range(KILLS):
        before = sent.copy()
        (child,) = start(forker, server, tmp_path, "texts")
        asked_for = chance.randrange(9)  # requests of this life until the kill, and then a random moment
        until = time.monotonic() + 20
        while (sent - before).total() < asked_for and time.monotonic() < until:
            time.sleep(0.001)
        time.sleep(chance.uniform(0, 0.03))
        os.kill(child, signal.SIGKILL)
        assert forker.stdout.readline().split() == [str(-signal.SIGKILL)], "it ended before the kill: too few classes"
        now = replies(tmp_path)
        assert {label: now[label] for label in kept} == kept, "a reply was lost or is another"
        kept = now

    start(forker, server, tmp_path, "texts")
    assert forker.stdout.readline().split() == ["0"]
    now = replies(tmp_path)
    assert {label: now[label] for label in kept} == kept
    assert sent == {f"class {n}": 1 for n in range(CLASSES)}, "an answer was asked for again"
    assert now.keys() == sent.keys()
    rows = [row for row in read_rows("texts", tmp_path / "texts.parquet") if row["kind"] == "motion"]
    assert not [row["status"] for row in rows if row["status"].startswith("failed")]
    assert {row["label"] for row in rows} == sent.keys()
    assert have_ended(tmp_path)


def have_ended(folder, within_s=10.0) -> bool:
    """Whether none of the processes that talked to the server is left, soon."""
    until = time.monotonic() + within_s
    workers = [int(pid) for pid in (folder / "workers").read_text().split()]
    while any(is_running(pid) for pid in workers) and time.monotonic() < until:
        time.sleep(0.01)
    return not any(is_running(pid) for pid in workers)


def is_running(pid) -> bool:
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


@pytest.mark.parametrize(("number", "code"), [(signal.SIGKILL, -9), (signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_open_requests_are_stored_and_nothing_more_is_sent(server, forker, tmp_path, number, code):
    write_classes(tmp_path, [f"class {n}" for n in range(24)])
    # the first request goes alone; the others take longer than a busy machine takes to kill
    server.script = lambda asked: time.sleep(2 * (len(server.requests) > 1)) or about_the_class(asked)
    (child,) = start(forker, server, tmp_path, "texts")
    until = time.monotonic() + 20
    while len(server.requests) <= IN_FLIGHT and time.monotonic() < until:
        time.sleep(0.01)
    os.kill(child, number)
    assert forker.stdout.readline().split() == [str(code)]
    assert have_ended(tmp_path)
    assert len(server.requests) == len(replies(tmp_path)) == 1 + IN_FLIGHT
    assert not (tmp_path / "texts.parquet").exists()
    message = f"waiting for {IN_FLIGHT} paid answers before stopping"
    assert (message in (tmp_path / "said.txt").read_text()) == (number != signal.SIGKILL)
    server.script = about_the_class
    start(forker, server, tmp_path, "texts")
    assert forker.stdout.readline().split() == ["0"]
    assert len(server.requests) == 24


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_stop_ends_every_wait(server, forker, tmp_path, number):
    """A stop ends the waits for a retry (openai sleeps up to a minute), for the rate limit and for a batch."""
    server.polls = 10**9
    server.script = lambda asked: error(429, Retry_After="3")
    for what, waits in {
        "try": {"retries": 5},
        "pace": {"requests_per_minute": 1},
        "batch": {"batch": True, "batch_poll_s": 30.0},
    }.items():
        folder = write_classes(tmp_path / what, [f"class {n}" for n in range(2)])
        server.requests.clear()
        (child,) = start(forker, server, folder, "texts", **waits)
        until = time.monotonic() + 20
        while not (server.batches if what == "batch" else server.requests) and time.monotonic() < until:
            time.sleep(0.01)
        time.sleep(0.2)
        asked = len(server.requests)
        os.kill(child, number)
        assert forker.stdout.readline().split() == [str(-number if number == signal.SIGKILL else 128 + number)], what
        assert have_ended(folder, within_s=6), what
        assert len(server.requests) == asked, what


def test_second_ctrl_c_stops_immediately(server, forker, tmp_path):
    write_classes(tmp_path, ["class 0"])
    server.script = lambda asked: time.sleep(6) or about_the_class(asked)
    (child,) = start(forker, server, tmp_path, "texts")
    while not server.requests:
        time.sleep(0.01)
    began = time.monotonic()
    os.kill(child, signal.SIGINT)
    time.sleep(0.2)
    os.kill(child, signal.SIGINT)
    assert forker.stdout.readline().split() == ["130"]
    assert time.monotonic() - began < 5  # the answer takes six
    assert have_ended(tmp_path)


def test_parallel_jobs_send_each_request_once(server, forker, tmp_path):
    write_classes(tmp_path, [f"class {n}" for n in range(24)])
    server.script = lambda asked: time.sleep(0.02) or about_the_class(asked)
    start(forker, server, tmp_path, "one", "two", "three")
    assert forker.stdout.readline().split() == ["0"] * 3
    assert Counter(label_of(asked) for *_, asked in server.requests) == {f"class {n}": 1 for n in range(24)}
    tables = [read_rows("texts", tmp_path / f"{name}.parquet") for name in ("one", "two", "three")]
    assert tables[0] == tables[1] == tables[2]

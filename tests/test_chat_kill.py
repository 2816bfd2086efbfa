"""Paid answers survive SIGKILL: chat_api in processes that are killed at random points, against a server that counts.

What is promised (text/providers/chat_api.py): a reply whose file exists is never asked for again, and of one life at
most `max_in_flight` requests, those on their way at the kill, have no file. Between arrival and file lies a fraction of a
millisecond of work; how often a kill hits it is counted.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from chat_server import about_the_class, label_of
from chat_world import KEY, options, serving, write_classes
from kinetext.tables import read_rows

KILLS, IN_FLIGHT, CLASSES = 50, 4, 240

# Imports once, then forks a process for each table: 50 times Python's imports would take minutes.
NURSERY = """
import itertools, json, mmap, os, sys
from pathlib import Path
import openai.resources.chat, filelock, tqdm
from chat_world import describe_table
from kinetext.text.chat import client
from kinetext.text.cache import request_hash
openai.OpenAI(api_key="none", base_url="http://127.0.0.1:1")
def noted(server, asked, ask=client.ask):
    key = request_hash(asked).encode()
    reply = ask(server, asked)
    arrived[64 * (n := next(count)) : 64 * (n + 1)] = key  # shared memory: outlives the process, and costs no system call
    return reply
client.ask = noted
print("ready", flush=True)
for line in sys.stdin:
    children = []
    for arguments in json.loads(line):
        child = os.fork()
        if child == 0:
            with open(Path(arguments["folder"]) / f"arrived-{os.getpid()}", "wb+") as file:
                file.truncate(64 * 1000)
                arrived, count = mmap.mmap(file.fileno(), 0), itertools.count()
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            try:
                describe_table(Path(arguments["folder"]), arguments["options"], table=arguments["table"])
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
def nursery():
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "TEST_KEY": KEY, "NO_PROXY": "127.0.0.1"}
    process = subprocess.Popen(
        [sys.executable, "-c", NURSERY], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    )
    assert process.stdout.readline() == "ready\n"
    yield process
    process.stdin.close()
    process.wait(30)


def start(nursery, server, folder: Path, *tables: str) -> list[int]:
    """Processes that describe the classes into these tables, with one cache."""
    asked = {"folder": str(folder), "options": options(server, max_in_flight=IN_FLIGHT, sentences=1, retries=0)}
    nursery.stdin.write(json.dumps([asked | {"table": table} for table in tables]) + "\n")
    nursery.stdin.flush()
    return [int(pid) for pid in nursery.stdout.readline().split()]


def replies(folder: Path) -> dict[str, bytes]:
    """The cached replies by class, also those that have been written and not yet named."""
    found = {}
    for path in [*(folder / "cache/replies").glob("*.json"), *(folder / "cache/replies").glob(".*.part")]:
        if raw := path.read_bytes():
            found[label_of(json.loads(raw)["request"])] = raw
    return found


def test_killed_at_50_random_points_no_paid_answer_is_lost_or_repeated(server, nursery, tmp_path):
    write_classes(tmp_path, [f"class {n}" for n in range(CLASSES)])
    chance, sent = random.Random(0), Counter()

    def script(asked):
        label = label_of(asked)
        with server.lock:
            sent[label] += 1
        time.sleep(0.01 + 0.01 * (hash(label) % 10) / 10)
        return about_the_class(asked, note=f" take {sent[label]}")

    server.script = script
    killed = 0
    kept: dict[str, bytes] = {}
    while killed < KILLS:
        before = sent.copy()
        (child,) = start(nursery, server, tmp_path, "texts")
        asked_for = chance.randrange(9)  # requests of this life until the kill, and then a random moment
        until = time.monotonic() + 20
        while (sent - before).total() < asked_for and time.monotonic() < until:
            time.sleep(0.001)
        time.sleep(chance.uniform(0, 0.03))
        os.kill(child, signal.SIGKILL)
        assert nursery.stdout.readline().split() == [str(-signal.SIGKILL)], "it ended before the kill: too few classes"
        killed += 1
        of_this_life = sent - before
        assert not of_this_life.keys() & kept.keys(), "a reply with a file was asked for again"
        now = replies(tmp_path)
        assert {label: now[label] for label in kept} == kept, "a reply with a file was lost"
        gone = of_this_life.keys() - now.keys()
        assert len(gone) <= IN_FLIGHT, "more went than was in flight"
        kept = now

    left = CLASSES - len(kept)
    start(nursery, server, tmp_path, "texts")
    assert nursery.stdout.readline().split() == ["0"]
    assert {label: raw for label, raw in replies(tmp_path).items() if label in kept} == kept
    assert sent.keys() == {f"class {n}" for n in range(CLASSES)}
    assert sent.total() - CLASSES <= KILLS * IN_FLIGHT
    rows = [row for row in read_rows("texts", tmp_path / "texts.parquet") if row["kind"] == "motion"]
    assert not [row["status"] for row in rows if row["status"].startswith("failed")]
    assert {row["label"] for row in rows} == sent.keys()
    noted = b"".join(path.read_bytes() for path in tmp_path.glob("arrived-*"))
    arrived = Counter(noted[n : n + 64].decode() for n in range(0, len(noted), 64) if noted[n])
    lost = arrived.total() - CLASSES
    assert arrived.keys() == {path.stem for path in (tmp_path / "cache/replies").glob("*.json")}
    print(f"{KILLS} kills, {left} of {CLASSES} classes left then; {sent.total() - CLASSES} asked again, ", end="")
    print(f"{lost} of them though their answer had reached the program, which was killed before it had the file")
    assert lost <= 6, "a reply is not written as soon as it has arrived"


def test_two_jobs_at_once_ask_for_nothing_twice(server, nursery, tmp_path):
    write_classes(tmp_path, [f"class {n}" for n in range(24)])
    server.script = lambda asked: time.sleep(0.02) or about_the_class(asked)
    start(nursery, server, tmp_path, "one", "two", "three")
    assert nursery.stdout.readline().split() == ["0"] * 3
    assert Counter(label_of(asked) for *_, asked in server.requests) == {f"class {n}": 1 for n in range(24)}
    tables = [read_rows("texts", tmp_path / f"{name}.parquet") for name in ("one", "two", "three")]
    assert tables[0] == tables[1] == tables[2]

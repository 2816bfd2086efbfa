"""The provider chat_api through the Batch API of a local server: half the price, and no request is sent twice."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from chat_server import about_the_class, completion, error, label_of
from chat_world import chat_api, describe_table, options, serving, write_classes
from kinetext.doctor.files import check_file
from kinetext.texts import cache
from kinetext.texts.chat import batch
from kinetext.texts.providers.base import Context

LABELS = ["rising", "falling", "growing", "shrinking"]


@pytest.fixture
def server(monkeypatch):
    with serving(monkeypatch) as server:
        server.script = about_the_class
        yield server


@pytest.fixture
def folder(tmp_path):
    return write_classes(tmp_path, LABELS)


def in_batch(server, **others):
    return options(server, batch=True, batch_wait_s=5.0, batch_poll_s=0.01, sentences=1) | others


def failed(rows):
    return {row["label"]: row["status"] for row in rows if row["status"].startswith("failed")}


def requested_labels(server):
    return sorted(label_of(asked) for *_, asked in server.requests)


def test_batch_and_single_requests_give_the_same_table(server, folder, capfd):
    server.polls = 3
    rows = describe_table(folder, in_batch(server, price_in=1000.0, price_out=1000.0))
    single = describe_table(folder, options(server, sentences=1), cache="other", table="single")
    same = ("label", "position", "sentence", "status", "request_hash", "model", "prompt_version", "kind")
    assert [{key: row[key] for key in same} for row in rows] == [{key: row[key] for key in same} for row in single]
    assert not failed(rows)
    assert len(server.batches) == 1
    (uploaded,) = (text for name, text in server.files.items() if name.startswith("file-"))
    lines = [json.loads(line) for line in uploaded.splitlines()]
    assert {line["custom_id"] for line in lines} == {row["request_hash"] for row in rows}
    assert [line["body"] for line in lines] == [asked for path, _, asked in server.requests if path == "batch"]
    replies = list(folder.rglob("replies/*.json"))
    assert len(replies) == 8
    assert not [finding for reply in replies for finding in check_file(reply)]
    output = capfd.readouterr().err
    assert "USD in a batch" in output
    assert "of 4 requests to" in output
    assert "1600 tokens in and 400 out, 1 USD" in output  # half of 2
    describe_table(folder, in_batch(server), table="again")
    assert len(server.batches) == 1
    assert len(server.requests) == 8


def test_unfinished_batch_is_fetched_by_a_later_run(server, folder):
    server.polls = 10**6
    for _ in range(2):
        with pytest.raises(
            ValueError, match=r"batch-0 is in_progress after 0.05 s of waiting .* run again, now or days"
        ):
            describe_table(folder, in_batch(server, batch_wait_s=0.05))
    # single requests would pay twice
    with pytest.raises(ValueError, match=r"4 of these requests are in batch batch-0; set batch: true .* or delete /"):
        describe_table(folder, options(server, sentences=1))
    server.batches["batch-0"]["polls"] = 0
    assert not failed(describe_table(folder, in_batch(server)))
    assert requested_labels(server) == sorted(LABELS)
    assert len(server.batches) == 1


class Killed(BaseException):
    """Stands for SIGKILL: nothing catches it."""


@pytest.mark.parametrize("moment", ["intent", "uploaded", "sent", "half read", "read"])
def test_batch_is_sent_once_whenever_the_process_is_killed(server, folder, monkeypatch, moment):
    with monkeypatch.context() as patched:
        write, read, writes, replies = batch._write, cache.fetch_reply, [], []

        def kill_at_write(note, where):
            writes.append(note)
            number = {"intent": 1, "sent": 2, "read": 3}.get(moment)
            if moment == "intent" or number != len(writes):
                write(note, where)  # the second write is the id's, the third says that all was read
            if number == len(writes):
                raise Killed

        def kill_at_reply(*arguments):
            replies.append(arguments)
            if moment == "half read" and len(replies) == 3:
                raise Killed
            return read(*arguments)

        def kill_at_find(note, client):
            if moment == "uploaded" and server.files:
                raise Killed
            return find(note, client)

        find = batch._find
        patched.setattr(batch, "_write", kill_at_write)
        patched.setattr(cache, "fetch_reply", kill_at_reply)
        patched.setattr(batch, "_find", kill_at_find)
        if moment == "uploaded":
            server.cut_create = True  # the batch is made, and looked for after the cut
        with pytest.raises(Killed):
            describe_table(folder, in_batch(server))
    assert not failed(describe_table(folder, in_batch(server)))
    assert len(server.batches) == 1
    assert requested_labels(server) == sorted(LABELS)


def test_batch_is_found_by_name_when_its_creation_reply_is_lost(server, folder):
    server.cut_create = True
    assert not failed(describe_table(folder, in_batch(server)))
    assert len(server.batches) == 1


def test_two_jobs_send_one_batch(server, folder):
    server.polls = 5
    with ThreadPoolExecutor(2) as pool:
        tables = list(pool.map(lambda name: describe_table(folder, in_batch(server), table=name), ["one", "two"]))
    assert tables[0] == tables[1]
    assert len(server.batches) == 1


def test_failed_lines_are_rows_and_only_they_are_sent_again(server, folder):
    server.script = lambda asked: error(400, "bad words") if label_of(asked) == "falling" else about_the_class(asked)
    assert failed(describe_table(folder, in_batch(server))) == {"falling": "failed: batch batch-0: bad words"}
    (note,) = (json.loads(path.read_text()) for path in (folder / "cache/batches").glob("*.json"))
    assert list(note["failures"].values()) == ["batch batch-0: bad words"]
    server.script = about_the_class
    assert not failed(describe_table(folder, in_batch(server)))
    assert requested_labels(server) == sorted([*LABELS, "falling"])


def test_line_without_a_completion_is_not_stored(server, folder):
    overloaded = 200, {"error": {"code": 429, "message": "slow down"}}
    server.script = lambda asked: overloaded if label_of(asked) == "falling" else about_the_class(asked)
    status = "failed: batch batch-0: the reply is no chat completion (error: slow down)"
    assert failed(describe_table(folder, in_batch(server))) == {"falling": status}
    assert len(list(folder.rglob("replies/*.json"))) == len(LABELS) - 1


def test_answers_of_an_expired_batch_are_stored(server, folder):
    server.batch_end = "expired"
    assert failed(describe_table(folder, in_batch(server))) == dict.fromkeys(
        LABELS[2:], "failed: batch batch-0: not in time"
    )
    server.batch_end = "completed"
    assert not failed(describe_table(folder, in_batch(server)))
    assert requested_labels(server) == sorted(LABELS)
    assert len(server.batches) == 2


def test_refused_batch_stops_the_table(server, folder):
    server.batch_end = "failed"
    with pytest.raises(ValueError, match="refuses batch batch-0: no such model; the next run sends a new one"):
        describe_table(folder, in_batch(server))
    server.batch_end = "completed"
    assert not failed(describe_table(folder, in_batch(server)))
    del server.batches["batch-1"]
    chat_api(server, **in_batch(server, model="n")).prepare({"rising": []}, Context(LABELS, folder / "cache"))


def test_unknown_batch_error_names_both_causes(server, folder):
    server.polls = 10**6
    with pytest.raises(ValueError, match="run again"):
        describe_table(folder, in_batch(server, batch_wait_s=0))
    server.batches.clear()
    with pytest.raises(
        ValueError, match=r"has no Batch API \(set batch: false\), or does not know the batch under the key"
    ):
        describe_table(folder, in_batch(server))


def test_cap_applies_to_batches_and_corrections_are_sent_singly(server, folder):
    with pytest.raises(ValueError, match="nothing was sent"):
        describe_table(folder, in_batch(server, price_in=1000.0, price_out=1000.0, max_usd=0.5))
    assert server.batches == {}
    provider, context = chat_api(server, **in_batch(server)), Context(LABELS, folder / "cache")
    server.script = [completion("no"), completion()]
    provider.prepare({"rising": []}, context)
    failed_rows = provider.describe("rising", [], context)
    assert provider.repair("rising", [], failed_rows, context)[0].status == "ok"
    assert [path for path, *_ in server.requests] == ["batch", "/v1/chat/completions"]

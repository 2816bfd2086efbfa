"""The provider chat_api against a local HTTP server that answers like a chat-completions endpoint."""

import json
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Lock

import pytest

from chat_server import ANSWER, CUT, ENDLESS, completion, error, label_of
from chat_world import KEY, chat_api, describe_table, options, serving, write_classes
from kinetext.core import plugins
from kinetext.texts import cache, prompts
from kinetext.texts.chat import client
from kinetext.texts.providers.base import Context
from kinetext.texts.providers.chat_api import ChatApi
from kinetext.texts.questions import class_question, pair_question


@pytest.fixture
def server(monkeypatch):
    with serving(monkeypatch) as server:
        yield server


def describe(server, tmp_path, label="rising", rivals=("falling", "growing"), **options):
    return chat_api(server, **options).describe(label, list(rivals), Context([label], tmp_path))


def modes(server):
    return [asked.get("response_format", {"type": "text"})["type"] for _, _, asked in server.requests]


def test_answer_becomes_sentences_with_provenance(server, tmp_path):
    texts = describe(server, tmp_path, sentences=2)
    assert [(text.position, text.sentence) for text in texts] == [
        (0.0, "low"),
        (1.0, "high"),
        (None, "it goes up"),
        (None, "it climbs"),
    ]
    for text in texts:
        assert (text.kind, text.status, text.model, text.rival) == ("motion", "ok", "m-2024-05", "falling | growing")
        assert (text.source, text.prompt_version) == (server.url, "motion-1")
        assert text.date.endswith("+00:00")
        assert (tmp_path / "replies" / f"{text.request_hash}.json").exists()
    ((path, authorization, asked),) = server.requests
    assert (path, authorization) == ("/v1/chat/completions", f"Bearer {KEY}")
    assert (asked["model"], asked["temperature"]) == ("m", 0.0)
    form = asked["response_format"]["json_schema"]
    assert form["strict"]
    assert form["schema"]["required"] == ["start", "end", "whole"]


def test_cached_reply_is_not_requested_again_and_needs_no_key(server, tmp_path, monkeypatch):
    first = describe(server, tmp_path)
    monkeypatch.delenv("TEST_KEY")
    server.script = [error(500)]
    assert describe(server, tmp_path) == first
    assert len(server.requests) == 1
    # the name in the cache depends on what determines the reply, not on the key or on limits
    assert describe(server, tmp_path, retries=0, max_in_flight=1, timeout_s=1.0, api_key_env="OTHER") == first
    for other in (
        {"model": "n"},
        {"temperature": 0.5},
        {"sentences": 1},
        {"label": "falling"},
        {"rivals": ["growing"]},
    ):
        before = len(server.requests)
        assert describe(server, tmp_path, retries=0, **other)[0].status.startswith("failed")
        assert len(server.requests) > before


def test_threads_with_the_same_request_send_it_once(server, tmp_path):
    with ThreadPoolExecutor(6) as pool:
        results = list(pool.map(lambda _: describe(server, tmp_path), range(6)))
    assert len(server.requests) == 1
    assert all(texts == results[0] for texts in results)


@pytest.mark.parametrize("status", [429, 500, 503])
def test_temporary_failure_is_retried(server, tmp_path, status):
    server.script = [error(status, Retry_After="0"), completion()]
    assert describe(server, tmp_path)[0].status == "ok"
    assert len(server.requests) == 2


def test_retry_after_is_respected(server, tmp_path, caplog):
    caplog.set_level(logging.INFO, "openai")
    server.script = [error(429, Retry_After="0.07"), completion()]
    assert describe(server, tmp_path)[0].status == "ok"
    assert "in 0.070000 seconds" in caplog.text


def test_permanent_failure_is_a_row(server, tmp_path):
    server.script = [error(429, "slow down")]
    (text,) = describe(server, tmp_path, retries=0)
    assert text.status.startswith("failed: Error code: 429")
    assert "slow down" in text.status
    assert (text.kind, text.sentence) == ("motion", "")
    assert not list((tmp_path / "replies").iterdir())


def test_json_schema_falls_back_to_json_mode_and_then_to_text(server, tmp_path):
    def picky(accepted):
        return lambda asked: completion() if asked.get("response_format", {}).get("type") in accepted else error(400)

    server.script = picky(["json_object"])
    provider = chat_api(server)
    assert provider.describe("rising", [], Context([], tmp_path))[0].status == "ok"
    assert modes(server) == ["json_schema", "json_object"]
    provider.describe("falling", [], Context([], tmp_path))  # the refused mode is remembered
    assert modes(server) == ["json_schema", "json_object", "json_object"]
    server.script = picky([None])
    assert describe(server, tmp_path, model="other")[0].status == "ok"
    assert modes(server)[3:] == ["json_schema", "json_object", "text"]
    assert describe(server, tmp_path, model="third", structured=False)[0].status == "ok"
    assert modes(server)[6:] == ["text"]
    server.script = [error(400, "temperature is not supported")]
    assert "temperature is not supported" in describe(server, tmp_path, model="fourth")[0].status


@pytest.mark.parametrize(
    ("reply", "complaint"),
    [
        (completion("{broken"), "the answer is not JSON"),
        (completion('{"start": "a", "end": "b"}'), "has no 'whole'"),
        (completion(None, refusal="I cannot"), "the model refused (I cannot)"),
        (completion(ANSWER[:20], finish_reason="length"), "cut off"),
        (completion(None), "has no text"),
    ],
)
def test_unreadable_answer_is_stored_and_gives_a_failed_row(server, tmp_path, reply, complaint):
    server.script = [reply]
    (text,) = describe(server, tmp_path)
    assert text.status.startswith("failed: ")
    assert complaint in text.status
    (kept,) = (tmp_path / "replies").glob("*.json")
    assert f"to query the model again, delete {kept}" in text.status
    raw = reply[1] if isinstance(reply[1], str) else json.dumps(reply[1])
    assert json.loads(kept.read_text())["reply"] == raw
    assert describe(server, tmp_path) == [text]
    assert len(server.requests) == 1
    kept.unlink()
    server.script = [completion()]
    assert describe(server, tmp_path)[0].status == "ok"


def test_missing_key_error_lists_the_alternatives(server, tmp_path, monkeypatch):
    monkeypatch.delenv("TEST_KEY")
    with pytest.raises(ValueError, match="TEST_KEY") as caught:
        describe(server, tmp_path, base_url=None)
    for way in ("set the variable", "bundled or names", "results/cache", "vLLM or Ollama", "needs no key"):
        assert way in str(caught.value)
    assert server.requests == []


def test_server_at_base_url_needs_no_key_unless_it_checks_one(server, tmp_path, monkeypatch):
    monkeypatch.delenv("TEST_KEY")
    assert describe(server, tmp_path)[0].status == "ok"
    server.script = [error(401, "no key given")]
    with pytest.raises(ValueError, match=r"needs a key; export TEST_KEY=YOUR_KEY: .*no key given"):
        describe(server, tmp_path, label="falling")


def test_endless_reply_is_cut_off(server, tmp_path, monkeypatch):
    monkeypatch.setattr(client, "MAX_REPLY_BYTES", 2**20)
    server.script = [(200, "x" * 2**20), (200, ENDLESS), completion()]
    (text,) = describe(server, tmp_path)
    assert text.status.startswith("failed: the reply is no chat completion (it begins with 'xxx")
    (text,) = describe(server, tmp_path)
    assert text.status == "failed: the reply is longer than 1 MiB"
    assert len(server.requests) == 2  # no retry
    assert not list(tmp_path.rglob("*.json"))
    assert describe(server, tmp_path)[0].status == "ok"


def test_failure_of_every_class_stops_immediately(server, tmp_path):
    server.script = [error(401, f"Incorrect API key provided: {KEY}")]
    with pytest.raises(ValueError, match="refuses the key in TEST_KEY") as caught:
        describe(server, tmp_path)
    assert KEY not in str(caught.value)
    assert caught.value.__cause__ is None
    server.script = [error(404, "model 'm' not found, try pulling it first")]
    with pytest.raises(ValueError, match=r"has no model 'm'.*try pulling it"):
        describe(server, tmp_path)
    with pytest.raises(ValueError, match=r"no connection to http://127.0.0.1:9/v1 \(.*\); is the server running"):
        describe(server, tmp_path, base_url="http://127.0.0.1:9/v1", retries=0)


def test_timeout_is_one_failed_row(server, tmp_path):
    held = Lock()
    held.acquire()
    server.script = lambda asked: held.acquire(timeout=1) and completion()
    (text,) = describe(server, tmp_path, timeout_s=0.1, retries=0)
    held.release()
    assert text.status == "failed: no reply within 0.1 s, tried 1 times"


def test_key_is_only_in_the_request(server, tmp_path, caplog, capfd, monkeypatch):
    caplog.set_level(logging.DEBUG)
    describe(server, tmp_path)
    server.script = [completion(f"You sent {KEY}")]  # some servers repeat what they were sent
    texts = describe(server, tmp_path, label="falling")
    server.script = [error(429, f"quota of {KEY}" + "x" * 270 + KEY)]
    texts += describe(server, tmp_path, label="growing", retries=0)
    output = caplog.text + "".join(capfd.readouterr()) + str(texts)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) >= 2
    assert not any(KEY in path.read_text() for path in files)
    assert "POST" in caplog.text  # the log was on
    assert KEY not in output
    assert KEY[:12] not in output  # nor cut in half
    monkeypatch.setenv("TEST_KEY", f"{KEY}\nx")
    with pytest.raises(ValueError, match="the key in TEST_KEY contains a blank") as caught:
        describe(server, tmp_path, label="shrinking")
    assert KEY not in str(caught.value)


def test_key_in_the_wrong_option_is_not_printed():
    for wrong in (
        {"api_key_env": KEY},
        {"base_url": f"https://me:{KEY}@host/v1"},
        {"base_url": f"https://h?k={KEY}"},
    ):
        with pytest.raises(ValueError, match=r"api_key_env: must be|base_url: must be") as caught:
            plugins.configure(ChatApi, wrong)
        assert KEY not in str(caught.value)
        with pytest.raises(ValueError, match="must be") as caught:
            ChatApi.Config(**wrong)
        assert KEY not in str(caught.value)


def test_table_with_one_unreadable_class_is_reproduced_without_a_key(server, tmp_path, monkeypatch, capfd):
    def script(asked):
        if (label := label_of(asked)) == "falling":
            return completion("Sure! Here you are.")
        return completion(json.dumps({"start": f"{label} low", "end": f"{label} high", "whole": [f"{label} fast"]}))

    server.script = script
    write_classes(tmp_path, ["rising", "falling", "growing"])
    tables = []
    for name in ("one", "two"):
        tables.append(describe_table(tmp_path, options(server, sentences=1), table=name))
        assert "class 'falling' has no usable description: not_json: the answer is not JSON" in capfd.readouterr().err
        monkeypatch.delenv("TEST_KEY", raising=False)
    assert tables[0] == tables[1]
    assert len(server.requests) == 3
    assert [(row["label"], row["status"][:6]) for row in tables[0]] == [
        *[("rising", "ok")] * 3,
        ("falling", "not_js"),
        *[("growing", "ok")] * 3,
    ]


@pytest.mark.parametrize(
    ("body", "words", "requests"),
    [
        ({"error": {"code": 429, "message": "slow down"}}, "error: slow down", 2),
        ({"error": {"code": "502", "message": "upstream is gone"}}, "error: upstream is gone", 2),
        ({"error": {"code": "bad_words", "message": f"no {KEY}"}}, "error: no ***", 1),
        ({"error": "no such thing"}, "error: no such thing", 1),
        ("<html>proxy</html>", "it begins with '<html>proxy</html>'", 1),
        ('data: {"choices": []}', "server-sent events; it begins with 'data: {", 1),
        ({"choices": []}, """it begins with '{"choices": []}'""", 1),
        ({"choices": [{"message": {"content": 3}}]}, "it begins with", 1),
        ([1], "it begins with '[1]'", 1),
        ("", "it is empty", 1),
    ],
)
def test_reply_without_a_completion_is_never_stored(server, tmp_path, body, words, requests):
    server.script = [(200, body)]
    (text,) = describe(server, tmp_path, retries=1)
    assert text.status.startswith(f"failed: the reply is no chat completion ({words}")
    assert not list(tmp_path.rglob("*.json"))
    assert len(server.requests) == requests
    server.script = [completion()]
    assert describe(server, tmp_path)[0].status == "ok"


def test_error_with_status_200_is_retried(server, tmp_path):
    server.script = [(200, {"error": {"code": 429, "message": "slow down"}}), completion()]
    assert describe(server, tmp_path, retries=1)[0].status == "ok"


def message_of(**message):
    """Return a completion whose message has these fields, and no content unless it is one of them."""
    return completion(**{"content": None, **message})


@pytest.mark.parametrize(
    "reply",
    [
        message_of(content=[{"type": "text", "text": ANSWER[:20]}, {"type": "text", "text": ANSWER[20:]}]),
        message_of(content=[{"type": "thinking", "thinking": "it rises"}, {"type": "text", "text": ANSWER}]),
        message_of(content=[ANSWER]),
        message_of(content=ANSWER, reasoning_content="It rises."),
        message_of(content=" ", reasoning_content=ANSWER),
        message_of(reasoning_content=f"<think>It rises.</think>{ANSWER}"),
        message_of(tool_calls=[{"type": "function", "function": {"name": "json", "arguments": ANSWER}}]),
        message_of(content="", tool_calls=[{"function": {"name": "json", "arguments": json.loads(ANSWER)}}]),
        message_of(content=ANSWER, tool_calls=[], refusal=None),
    ],
)
def test_answer_is_found_wherever_the_server_puts_it(server, tmp_path, reply):
    server.script = [reply]
    texts = describe(server, tmp_path)
    assert [text.sentence for text in texts] == ["low", "high", "it goes up", "it climbs"]


@pytest.mark.parametrize(
    ("reply", "fault"),
    [
        (message_of(content=[{"type": "refusal", "refusal": "I cannot"}]), "the model refused (I cannot)"),
        (message_of(content=[]), "the reply has no text"),
        (message_of(tool_calls=[{"function": None}]), "the reply has no text"),
        (message_of(reasoning_content="It rises."), "the answer is not JSON"),
        (message_of(content="<think>It rises.", finish_reason="length"), "the answer was cut off"),
    ],
)
def test_reply_without_an_answer_names_its_fault(server, tmp_path, reply, fault):
    server.script = [reply]
    (text,) = describe(server, tmp_path)
    assert text.status.startswith(f"failed: {fault}")


def test_table_is_repaired_if_every_answer_is_unreadable(server, tmp_path):
    server.script = lambda asked: completion("no") if len(asked["messages"]) == 1 else good_answer(asked)
    write_classes(tmp_path, ["rising", "falling"])
    rows = describe_table(tmp_path, options(server, sentences=1, max_repairs=1))
    assert {row["status"] for row in rows} == {"ok"}
    assert len(server.requests) == 4
    server.script = [completion("no")]
    with pytest.raises(
        ValueError, match=r"no class has a usable description; 'rising': not_json: the answer is not JSON"
    ):
        describe_table(tmp_path, options(server, model="n"))


def good_answer(asked):
    label = label_of(asked)
    return completion(json.dumps({"start": f"{label} low", "end": f"{label} high", "whole": [f"{label} fast"]}))


@pytest.mark.parametrize(
    ("fault", "status_start", "requests"),
    [
        (error(429, "slow down", Retry_After="0.01"), "failed: Error code: 429", 2),
        (error(500, "broken", Retry_After="0.01"), "failed: Error code: 500", 2),
        (lambda asked: time.sleep(2) or good_answer(asked), "failed: no reply within 1 s, tried 2 times", 2),
        (CUT, "failed: the connection was cut (", 2),
        (completion(ANSWER[:20]), "not_json: the answer is not JSON (Unterminated string", 1),
        (completion(ANSWER[:20], finish_reason="length"), "cut_off: the answer was cut off at the server's limit", 1),
        (completion(None, refusal="I can't"), "refusal: the model refused (I can't)", 1),
        (completion(" "), "empty: the answer is empty", 1),
        ((200, ""), "failed: the reply is no chat completion (it is empty)", 1),
    ],
    ids=["429", "500", "slow", "cut", "truncated", "length", "refusal", "empty", "nothing"],
)
def test_fault_affects_one_class_and_is_named(server, tmp_path, capfd, fault, status_start, requests):
    def script(asked):
        return good_answer(asked) if label_of(asked) == "rising" else fault(asked) if callable(fault) else fault

    server.script = script
    write_classes(tmp_path, ["rising", "falling"])
    rows = describe_table(
        tmp_path, options(server, retries=1, timeout_s=1 if "within" in status_start else 30, sentences=1)
    )
    statuses = {row["label"]: row["status"] for row in rows}
    assert statuses["rising"] == "ok"
    assert statuses["falling"].startswith(status_start)
    assert f"class 'falling' has no usable description: {status_start}" in capfd.readouterr().err
    assert [label_of(asked) for *_, asked in server.requests].count("falling") == requests


def test_fault_of_every_class_stops_the_table(server, tmp_path):
    write_classes(tmp_path, ["rising", "falling"])
    server.script = [error(404, "The model 'm' does not exist")]
    with pytest.raises(ValueError, match=r"has no model 'm': .*does not exist"):
        describe_table(tmp_path, options(server))
    assert not (tmp_path / "texts.parquet").exists()


def test_steps_are_requested_and_have_positions_in_order(server, tmp_path):
    answer = {"start": "low", "steps": ["a third up", "two thirds up"], "end": "high", "whole": ["it goes up"]}
    server.script = [completion(json.dumps(answer))]
    texts = describe(server, tmp_path, sentences=1, steps=2)
    places = [(0.0, "low"), (0.3333, "a third up"), (0.6667, "two thirds up"), (1.0, "high"), (None, "it goes up")]
    assert [(text.position, text.sentence) for text in texts] == places
    assert texts[0].prompt_version == "motion-2"
    asked = server.requests[0][2]
    assert asked["response_format"]["json_schema"]["schema"]["required"] == ["start", "steps", "end", "whole"]
    assert "steps: 2 sentences, what can be seen at 2 moments" in asked["messages"][0]["content"]


def test_missing_steps_are_repaired(server, tmp_path):
    answer = {"start": "it is low", "end": "it is high", "whole": ["it goes up"]}
    full = json.dumps(answer | {"steps": ["it is halfway"]})
    server.script = lambda asked: completion(full if len(asked["messages"]) > 1 else json.dumps(answer))
    write_classes(tmp_path, ["rising"])
    rows = describe_table(tmp_path, options(server, sentences=1, steps=1, max_repairs=1))
    assert (
        "- steps: count: the answer has 0 of the 1 requested steps" in server.requests[1][2]["messages"][-1]["content"]
    )
    assert [(row["position"], row["status"]) for row in rows] == [(p, "ok") for p in (0.0, 0.5, 1.0, None)]


LABELS = ["rising", "falling", "growing"]
PAIR = {
    part: {"start": f"{part} low", "steps": [f"{part} half"], "end": f"{part} high", "whole": [f"{part} goes"]}
    for part in ("first", "second")
}


def test_one_request_about_a_pair_describes_both_classes(server, tmp_path):
    server.script = lambda asked: completion(json.dumps(PAIR))
    provider, context = chat_api(server, ask="pair", sentences=1, steps=1), Context(LABELS, tmp_path)
    rivals = {"rising": ["falling"], "falling": ["rising"], "growing": ["rising"]}
    provider.prepare(rivals, context)
    texts = {label: provider.describe(label, rivals[label], context) for label in rivals}
    assert len(server.requests) == 2  # falling and rising, growing and rising
    assert [text.sentence for text in texts["falling"]] == ["first low", "first half", "first high", "first goes"]
    assert {text.rival for text in texts["falling"]} == {"rising"}
    # a class in several pairs keeps each sentence with its rival
    assert [(text.rival, text.position) for text in texts["rising"]] == [
        (rival, position) for rival in ("falling", "growing") for position in (0.0, 0.5, 1.0, None)
    ]
    assert all(text.sentence.startswith("second") for text in texts["rising"])
    assert texts["rising"][0].request_hash == texts["falling"][0].request_hash
    assert texts["rising"][0].prompt_version == "pair-1"
    content = server.requests[0][2]["messages"][0]["content"]
    assert 'First class: "falling"\nSecond class: "rising"' in content
    form = server.requests[0][2]["response_format"]["json_schema"]["schema"]
    assert form["properties"]["second"]["required"] == ["start", "steps", "end", "whole"]
    assert (
        provider.describe("alone", [], context)[0].prompt_version == "motion-2"
    )  # no rival: a question about one class


def test_an_answer_about_a_pair_is_repaired_for_the_class_with_faults(server, tmp_path):
    server.script = lambda asked: completion(json.dumps(PAIR))
    provider, context = chat_api(server, ask="pair", sentences=1, steps=1), Context(LABELS, tmp_path)
    rivals = {"rising": ["falling", "growing"], "falling": [], "growing": []}
    provider.prepare(rivals, context)
    texts = provider.describe("rising", rivals["rising"], context)
    texts[4] = replace(texts[4], status="empty: no sentence")  # of the second pair
    other = PAIR | {"second": PAIR["second"] | {"start": "at the bottom"}}
    server.script = lambda asked: completion(json.dumps(other))
    repaired = provider.repair("rising", rivals["rising"], texts, context)
    assert len(server.requests) == 3
    assert '- second, start, "second low": empty: no sentence' in server.requests[-1][2]["messages"][-1]["content"]
    assert repaired[:4] == texts[:4]
    assert (repaired[4].sentence, repaired[4].rival) == ("at the bottom", "growing")
    assert repaired[4].prompt_version == "pair-1+correction-1"


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        ({"first": PAIR["first"]}, "the answer has no 'second'"),
        (PAIR | {"second": "x"}, "'second' in the answer is not"),
    ],
)
def test_an_answer_about_one_class_of_a_pair_fails_for_the_other(server, tmp_path, answer, status):
    server.script = lambda asked: completion(json.dumps(answer))
    provider, context = chat_api(server, ask="pair", sentences=1, steps=1), Context(LABELS, tmp_path)
    provider.prepare({"rising": ["falling"], "falling": []}, context)
    (text,) = provider.describe("rising", ["falling"], context)
    assert text.status.startswith(f"failed: {status}")
    assert {text.status for text in provider.describe("falling", [], context)} == {"ok"}


def test_a_pair_is_one_request_in_either_order_and_compares_motion_only():
    config = ChatApi.Config(base_url="http://localhost:1/v1", model="m", ask="pair")
    one, other = pair_question("a", "b", config), pair_question("b", "a", config)
    assert (one.key, one.part, one.rival) == (other.key, "first", "b")
    assert (other.part, other.rival) == ("second", "a")
    with pytest.raises(ValueError, match="ask: pair compares the motion of two classes"):
        ChatApi.Config(about="appearance", ask="pair")


def test_cut_connection_is_retried(server, tmp_path):
    server.script = [CUT, completion()]
    assert describe(server, tmp_path)[0].status == "ok"
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    ("about", "sentences", "steps", "request_hash", "correction_hash"),
    [
        (
            *("motion", 3, 2, "ca8d2d10e44dec319143604b52e5bdf945e39b0ae5545c89c43b7da7aefa2a00"),
            "5357392e5dcd90ff6dbb74a7d201cbb5abe0163b6248903b340aac091c0556b9",
        ),
        (
            *("motion", 3, 0, "5c9590e7546fd92aa639eebe0dfc1a194e01a38773261262a533f842b799f7ed"),
            "c686d7523bddd8cb638455da7e98df03e8f449adabbfc89daa39fe7d5e68b929",
        ),
        (
            *("appearance", 1, 0, "11f560e3fd6fa1da598b51775f09808d000c331a2bcde9069b3f4d9163c4064a"),
            "259a985334be5d804bcf3b1bc16dd4cc11a1e19602dcbae5c22d5d02436253f7",
        ),
    ],
)
def test_request_hashes_are_stable(about, sentences, steps, request_hash, correction_hash):
    """Another hash means that every class of every table is requested, and paid, again."""
    options = {"base_url": "http://localhost:1/v1", "model": "m", "about": about, "sentences": sentences}
    options["steps"] = steps
    request = class_question("rising", ["falling", 'say "hi"'], ChatApi.Config(**options)).request
    assert cache.request_hash(request) == request_hash
    request["messages"] = prompts.correction(request["messages"], "no", ["the answer is empty"])
    assert cache.request_hash(request) == correction_hash

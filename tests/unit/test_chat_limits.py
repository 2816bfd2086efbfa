"""Cost, rate, corrections and appearance requests of the provider chat_api."""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from chat_server import ANSWER, CUT, about_the_class, completion, error, label_of
from chat_world import chat_api, describe_table, options, serving, write_classes
from kinetext.core import plugins
from kinetext.texts import prompts
from kinetext.texts.chat.limits import CapError, Ledger, NoReplyError, Prices, RateLimit, Tokens, estimate
from kinetext.texts.providers.base import Context
from kinetext.texts.providers.chat_api import ChatApi
from kinetext.texts.questions import class_question

LABELS = ["rising", "falling", "growing", "shrinking"]
# a reply of the server takes 400 tokens in and 100 out: 0.5 USD at these prices
PRICES = {"price_in": 1000.0, "price_out": 1000.0}


@pytest.fixture
def server(monkeypatch):
    with serving(monkeypatch) as server:
        server.script = about_the_class
        yield server


def prepare(server, tmp_path, **others):
    chat_api(server, **others).prepare({label: [] for label in LABELS}, Context(LABELS, tmp_path))


def test_estimate_is_printed_before_the_first_request(server, tmp_path, capfd):
    expected = [estimate(class_question(label, [], chat_api(server).config).request, 5) for label in LABELS]
    put_in = sum(tokens.prompt for tokens in expected)
    assert 4 * 300 < put_in < 4 * 600  # a request is some 1500 characters and a schema of 500
    prepare(server, tmp_path)
    output = capfd.readouterr().err
    assert f"4 of 4 classes to request from {server.url}, 0 cached; about {put_in} tokens in and 780 out" in output
    assert "estimated from characters; price unknown (set price_in, price_out)" in output
    prepare(server, tmp_path, price_in=2.0, price_out=10.0)
    assert f"about {(put_in * 2 + 780 * 10) / 1e6:.4g} USD, 0 USD paid before" in capfd.readouterr().err
    prepare(server, tmp_path, price_in=2.0, price_out=10.0, max_usd=1.0)
    assert server.requests == []
    chat_api(server).describe("rising", [], Context(LABELS, tmp_path))
    capfd.readouterr()
    prepare(server, tmp_path, **PRICES)
    assert "3 of 4 classes to request" in (output := capfd.readouterr().err)
    assert "0.5 USD paid before" in output


def test_nothing_is_sent_if_the_estimate_exceeds_the_cap(server, tmp_path):
    write_classes(tmp_path, LABELS)
    with pytest.raises(ValueError, match=r"max_usd: the table would cost about .* the cap is 1; nothing was sent"):
        describe_table(tmp_path, options(server, **PRICES, max_usd=1.0))
    assert server.requests == []
    with pytest.raises(ValueError, match="no key in the environment variable NONE"):
        prepare(server, tmp_path, api_key_env="NONE", base_url=None)


def test_cap_needs_prices():
    with pytest.raises(ValueError, match="max_usd: the price of this model is unknown; set price_in"):
        plugins.configure(ChatApi, {"model": "other", "max_usd": 1})
    with pytest.raises(ValueError, match="max_usd: the price"):
        plugins.configure(ChatApi, {"base_url": "http://localhost/v1", "max_usd": 1})
    with pytest.raises(ValueError, match="price_in, price_out: set both"):
        plugins.configure(ChatApi, {"price_in": 1})
    assert plugins.configure(ChatApi, {"max_usd": 1}).prices == Prices(2.5, 10.0)


def test_table_stops_at_the_cap_and_resumes_with_a_higher_one(server, tmp_path, capfd):
    labels = [f"class {n}" for n in range(10)]
    write_classes(tmp_path, labels)
    # replies turn out to be 2.8 times as dear as the estimate, which the cap allows
    cheap = {"price_in": 0.0, "price_out": 1000.0, "max_usd": 2.5, "sentences": 1, "max_in_flight": 8}

    def dear(asked):
        status, body = about_the_class(asked)
        return status, body | {"usage": {"prompt_tokens": 400, "completion_tokens": 350}}

    server.script = dear
    rows = describe_table(tmp_path, options(server, **cheap))
    capped = [row for row in rows if row["status"].startswith("failed")]
    assert len(server.requests) == 7  # 2.45 USD: not one too many, though 8 could have been in flight
    assert len(capped) == 3
    assert {row["status"] for row in capped} == {
        "failed: cost cap of 2.5 USD (2.45 spent); raise max_usd; then `snakemake --forcerun describe_classes`"
    }
    assert "replies took 2800 tokens in and 2450 out, 2.45 USD, including cached ones" in capfd.readouterr().err
    # what was paid counts against the cap of the next run, and is not paid again
    with pytest.raises(
        ValueError, match=r"about 2.825 USD \(2.45 of it paid before\), the cap is 2.5; nothing was sent"
    ):
        describe_table(tmp_path, options(server, **cheap))
    assert len(server.requests) == 7
    more = describe_table(tmp_path, options(server, **cheap | {"max_usd": 3.6}))
    assert not any(row["status"].startswith("failed") for row in more)
    assert len(server.requests) == 10


def test_ledger_counts_lost_replies_but_not_refused_requests():
    ledger = Ledger(Prices(0.0, 1e6), cap_usd=5.0)  # a USD a token
    two = Tokens(0, 2)

    for fault in (NoReplyError("cut", maybe_charged=True), NoReplyError("refused"), OSError()):
        with pytest.raises(type(fault)), ledger.reserve(two):
            raise fault
    assert (ledger.spent_usd, ledger.reserved_usd) == (2.0, 0.0)
    with ledger.reserve(two):
        ledger.count("a", Tokens(0, 1))
        ledger.count("a", Tokens(0, 1))  # the same reply, counted once
    assert ledger.spent_usd == 3.0
    ledger.count("b", Tokens(0, 3), price_factor=0.5)
    assert ledger.spent_usd == 4.5
    with pytest.raises(CapError, match=r"cost cap of 5 USD \(4.5 spent\)"), ledger.reserve(two):
        pass
    with Ledger(None, None).reserve(two):
        pass


def test_reply_without_usage_counts_as_estimated(server, tmp_path):
    def silent(asked):
        status, body = about_the_class(asked)
        return status, {key: value for key, value in body.items() if key != "usage"}

    server.script = silent
    write_classes(tmp_path, LABELS)
    rows = describe_table(tmp_path, options(server, price_in=0.0, price_out=1000.0, max_usd=0.8, retries=0))
    assert not any(row["status"].startswith("failed") for row in rows)  # 4 x 195 tokens


def test_requests_are_evenly_spaced(server, tmp_path):
    pace = RateLimit(1200, None)
    start = time.monotonic()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: pace.wait(Tokens(0, 0)), range(5)))
    assert time.monotonic() - start >= 4 * 0.05
    pace = RateLimit(None, 60_000)
    start = time.monotonic()
    for _ in range(3):
        pace.wait(Tokens(60, 40))
    assert time.monotonic() - start >= 2 * 0.1
    write_classes(tmp_path, LABELS)
    start = time.monotonic()
    describe_table(tmp_path, options(server, requests_per_minute=600))
    assert time.monotonic() - start >= 3 * 0.1
    start = time.monotonic()
    pace = RateLimit(None, None)
    for _ in range(100):
        pace.wait(Tokens(1000, 1000))
    assert time.monotonic() - start < 1


def test_correction_continues_the_conversation(server, tmp_path):
    provider, context = chat_api(server, sentences=2), Context(LABELS, tmp_path)
    server.script = [completion()]
    texts = provider.describe("rising", ["falling"], context)
    assert provider.repair("rising", ["falling"], texts, context) == texts  # nothing to repair
    texts[0] = replace(texts[0], status="same sentence as class 'falling'")
    texts[2] = replace(texts[2], status="names the rival 'falling'")
    server.script = [completion(json.dumps({"start": "x", "end": "high", "whole": ["y", "it climbs"]}))]
    repaired = provider.repair("rising", ["falling"], texts, context)
    assert [(text.position, text.sentence, text.status) for text in repaired] == [
        (0.0, "x", "ok"),
        (1.0, "high", "ok"),
        (None, "y", "ok"),
        (None, "it climbs", "ok"),
    ]
    first, answer, fault = server.requests[-1][2]["messages"]
    assert [first] == prompts.messages("rising", ["falling"], 2)
    assert answer == {"role": "assistant", "content": ANSWER}
    assert '- start, "low": same sentence as class \'falling\'\n- whole, "it goes up": names' in fault["content"]
    assert "high" not in fault["content"]
    assert repaired[0].prompt_version == "motion-1+correction-1"
    assert repaired[0].rival == "falling"
    assert repaired[0].request_hash != texts[0].request_hash
    # cached like any other, and the second correction continues the first
    assert provider.repair("rising", ["falling"], texts, context) == repaired
    assert len(server.requests) == 2
    faulty = [replace(repaired[0], status="empty sentence"), *repaired[1:]]
    provider.repair("rising", ["falling"], faulty, context)
    assert [message["role"] for message in server.requests[-1][2]["messages"]] == ["user", "assistant"] * 2 + ["user"]


@pytest.mark.parametrize(
    ("reply", "output", "fault"),
    [
        (completion("Sure! Here."), "Sure! Here.", "the answer is not JSON"),
        (completion(None, refusal="I cannot"), "I cannot", "the model refused (I cannot)"),
        (completion(ANSWER[:20], finish_reason="length"), ANSWER[:20], "the answer was cut off"),
        (completion(""), "(no answer)", "the answer is empty"),
    ],
)
def test_unreadable_answer_is_repaired(server, tmp_path, reply, output, fault):
    provider, context = chat_api(server), Context(LABELS, tmp_path)
    server.script = [reply, completion()]
    texts = provider.describe("rising", [], context)
    assert texts[0].status.startswith("failed")
    assert {text.status for text in provider.repair("rising", [], texts, context)} == {"ok"}
    _, answer, request = server.requests[-1][2]["messages"]
    assert answer["content"] == output
    assert fault in request["content"]
    assert str(tmp_path) not in request["content"]


@pytest.mark.parametrize("reply", [error(500), (200, "<html>")], ids=["none", "no completion"])
def test_class_without_an_answer_is_not_repaired(server, tmp_path, reply):
    server.script = lambda asked: reply if label_of(asked) == "falling" else about_the_class(asked)
    write_classes(tmp_path, LABELS)
    rows = describe_table(tmp_path, options(server, retries=0, max_repairs=2))
    assert [row["status"].split(":")[0] for row in rows if row["label"] == "falling"] == ["failed"]
    assert sorted(label_of(asked) for *_, asked in server.requests) == sorted(LABELS)


def test_failed_repair_leaves_the_rows(server, tmp_path):
    provider, context = chat_api(server, retries=0), Context(LABELS, tmp_path)
    server.script = [completion(), completion("no")]
    answered = provider.describe("falling", [], context)
    half = [replace(answered[0], status="empty sentence"), *answered[1:]]
    assert provider.repair("falling", [], half, context) == half  # better than nothing at all
    answered = provider.describe("growing", [], context)
    server.script = [CUT]
    with pytest.raises(Exception, match="the connection was cut"):
        provider.repair("growing", [], [replace(answered[0], status="empty sentence")], context)


def test_appearance_is_requested_as_a_control(server, tmp_path):
    server.script = [completion(json.dumps({"whole": ["a red box", "a grey wall", "a ball", "a lamp"]}))]
    provider = chat_api(server, about="appearance", sentences=2)
    texts = provider.describe("rising", ["falling"], Context(LABELS, tmp_path))
    assert [(text.kind, text.position, text.sentence, text.status) for text in texts] == [
        ("appearance", 0.0, "a red box", "ok"),
        ("appearance", 1.0, "a grey wall", "ok"),
        ("appearance", None, "a ball", "ok"),
        ("appearance", None, "a lamp", "ok"),
    ]
    assert texts[0].prompt_version == "appearance-1"
    body = server.requests[0][2]
    assert body["response_format"]["json_schema"]["schema"]["required"] == ["whole"]
    request = body["messages"][0]["content"]
    assert "still picture" in request
    assert "Leave out every movement" in request
    assert '"falling"' in request
    assert "start" not in request.replace("starts", "")
    assert label_of(body) == "rising"
    server.script = [completion("{}")]
    (failed,) = provider.describe("falling", [], Context(LABELS, tmp_path))
    assert (failed.kind, failed.status[:31]) == ("appearance", "failed: the answer has no 'whol")

"""What a chat server accepts is negotiated with one request; the others use the same form."""

import json

import pytest

from chat_server import about_the_class, error, label_of
from chat_world import describe_table, options, serving, write_classes

LABELS = [f"class {n}" for n in range(10)]


@pytest.fixture
def server(monkeypatch):
    with serving(monkeypatch) as server:
        yield server


@pytest.fixture
def folder(tmp_path):
    return write_classes(tmp_path, LABELS)


def mode(asked):
    return asked.get("response_format", {"type": "text"})["type"]


def accepting(modes, status, message="not supported"):
    """Return a script that answers requests in these modes and refuses others."""
    refusal = error(status, message, Retry_After="0.01")
    return lambda asked: about_the_class(asked) if mode(asked) in modes else refusal


def describe(server, folder, **others):
    return describe_table(folder, options(server, sentences=1, **others))


@pytest.mark.parametrize("status", [400, 422, 500, 501])
@pytest.mark.parametrize("accepted", ["json_object", "text"])
def test_refused_forms_are_tried_once(server, folder, capfd, status, accepted):
    server.script = accepting([accepted], status)
    assert {row["status"] for row in describe(server, folder, retries=5)} == {"ok"}
    refused = 1 if accepted == "json_object" else 2
    tries = 1 if status < 500 else 2
    assert len(server.requests) == len(LABELS) + refused * tries
    assert f"accepts for m: {accepted} instead of json_schema" in capfd.readouterr().err
    assert {json.loads(path.read_text())["mode"] for path in folder.rglob("replies/*.json")} == {accepted}


def test_refused_temperature_is_dropped(server, folder, capfd):
    refusal = error(400, "Unsupported value: 'temperature' does not support 0.0 with this model")
    server.script = lambda asked: refusal if "temperature" in asked else about_the_class(asked)
    assert {row["status"] for row in describe(server, folder)} == {"ok"}
    assert len(server.requests) == len(LABELS) + 1
    assert {mode(asked) for *_, asked in server.requests} == {"json_schema"}
    assert "accepts for m: no temperature" in capfd.readouterr().err
    records = [json.loads(path.read_text()) for path in folder.rglob("replies/*.json")]
    assert all(record["dropped"] == ["temperature"] for record in records)


def test_temperature_and_schema_are_negotiated_together(server, folder):
    def script(asked):
        if mode(asked) == "json_schema":
            return error(422, "response_format: unknown")
        return error(400, "temperature: unknown") if "temperature" in asked else about_the_class(asked)

    server.script = script
    assert {row["status"] for row in describe(server, folder)} == {"ok"}
    assert len(server.requests) == len(LABELS) + 2


@pytest.mark.parametrize("status", [400, 500])
def test_server_that_refuses_every_form_stops_the_table(server, folder, status):
    server.script = accepting([], status, "bad words")
    with pytest.raises(ValueError, match=r"refuses every request in every form: .*bad words"):
        describe(server, folder, retries=1)
    assert len(server.requests) <= 2 * 3 * (1 if status == 400 else 2)
    assert not (folder / "texts.parquet").exists()


def test_one_class_that_is_refused_for_its_content_is_one_row(server, folder):
    for refused in (LABELS[0], LABELS[5]):
        server.script = lambda asked, refused=refused: (
            error(400, "bad words") if label_of(asked) == refused else about_the_class(asked)
        )
        rows = describe(server, folder, model=refused)
        failed = [row for row in rows if row["status"] != "ok"]
        assert [row["label"] for row in failed] == [refused]
        assert "bad words" in failed[0]["status"]


def test_nothing_is_negotiated_with_a_server_that_is_busy(server, folder):
    server.script = lambda asked: error(503, "busy", Retry_After="0.01")
    with pytest.raises(ValueError, match=r"none of 10 classes could be described; .*busy"):
        describe(server, folder, retries=1)
    assert {mode(asked) for *_, asked in server.requests} == {"json_schema"}

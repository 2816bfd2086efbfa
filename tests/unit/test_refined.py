"""The provider refined: a second round about the pairs of classes that are still confused."""

import json

import pytest

from chat_server import completion
from chat_world import options, serving
from describe_world import LABELS, write_world
from kinetext.config.texts import TextOptions
from kinetext.core.tables import read_metadata, read_rows
from kinetext.texts.describe import describe_classes
from kinetext.texts.providers.base import Text, load_provider
from kinetext.texts.providers.refined import most_confused, replaced

SHAPES = {"module": "bundled", "options": {"bank": "shapes"}}
SIDES = {"first": "it is", "second": "this is"}  # part of an answer -> beginning of its sentences


@pytest.fixture
def server(monkeypatch):
    with serving(monkeypatch) as server:
        server.script = better
        yield server


def better(asked):
    """New sentences about both classes of a pair, distinct for each pair."""
    content = asked["messages"][0]["content"]
    names = "".join(line for line in content.splitlines() if line.startswith(("First class", "Second class")))
    number = sum(map(ord, names))
    return completion(
        json.dumps(
            {
                side: {"start": f"{it} low {number}", "end": f"{it} high {number}", "whole": [f"{it} moving {number}"]}
                for side, it in SIDES.items()
            }
        )
    )


def table(folder, server, name="mine", **more):
    refined = options(server, of=SHAPES, sentences=1) | more
    world = write_world(folder, name=name, options=TextOptions(module="refined", options=refined))
    describe_classes(**world)
    return read_rows("texts", world["output"]), read_metadata(world["output"])


def described(rows, label):
    return [(row["sentence"], row["rival"]) for row in rows if row["label"] == label and row["kind"] == "motion"]


def test_only_the_most_confused_pairs_are_asked_about_again(tmp_path, server, capfd):
    rows, metadata = table(tmp_path, server, pairs=1)
    (request,) = server.requests
    assert metadata == {"control": None}  # descriptions of motion
    prompt = request[2]["messages"][0]["content"]
    pair = [label for label in LABELS if f'class: "{label}"' in prompt]
    assert len(pair) == 2
    assert "It still takes these two classes for each other (confusion 0." in prompt
    old = load_provider("", "bundled", {"bank": "shapes"})
    for label in LABELS:
        before = [text.sentence for text in old.describe(label, [], None)]
        after = described(rows, label)
        if label in pair:
            assert all(f"- {sentence}" in prompt for sentence in before)
            (rival,) = set(pair) - {label}
            assert {of for _, of in after} == {rival}
            assert len(after) == 3
            assert after[0][0].startswith(list(SIDES.values())[sorted(pair).index(label)])
        else:
            assert [sentence for sentence, _ in after] == before
    assert "1 of 1 pairs of classes to request" in capfd.readouterr().err
    assert table(tmp_path, server, pairs=1)[0] == rows
    assert len(server.requests) == 1  # cached


def test_confusions_may_come_from_a_file_and_a_third_round_from_the_second(tmp_path, server):
    (tmp_path / "seen.csv").write_text("label,rival,score\nrising,growing,0.9\nfalling,shrinking,0.2\n")
    file = {"confusions": str(tmp_path / "seen.csv")}
    rows, _ = table(tmp_path, server, pairs=1, **file)
    assert {rival for label in ("rising", "growing") for _, rival in described(rows, label)} == {"rising", "growing"}
    second = {"module": "refined", "options": options(server, of=SHAPES, sentences=1, pairs=1, **file)}
    (tmp_path / "later.csv").write_text("label,rival,score\nfalling,shrinking,0.2\n")
    rows, _ = table(tmp_path, server, pairs=1, confusions=str(tmp_path / "later.csv"), of=second)
    assert all(rival for label in LABELS for _, rival in described(rows, label))
    assert len(server.requests) == 2  # the second round is cached
    with pytest.raises(ValueError, match="confusions: there is no file"):
        table(tmp_path, server, confusions=str(tmp_path / "gone.csv"))


def test_faults_of_the_second_round_are_repaired_and_an_unreadable_answer_keeps_the_old_sentences(tmp_path, server):
    def faulty(asked):
        if len(asked["messages"]) > 1:
            return better(asked)
        return completion(
            json.dumps({s: {"start": "1. x", "end": f"{it} z", "whole": [f"{it} w"]} for s, it in SIDES.items()})
        )

    server.script = faulty
    rows, _ = table(tmp_path / "a", server, pairs=1, max_repairs=1)
    assert {row["status"] for row in rows} == {"ok"}
    server.script = lambda asked: completion("no")
    rows, _ = table(tmp_path / "b", server, pairs=1)
    good = [row for row in rows if row["status"] == "ok" and row["kind"] == "motion"]
    assert {row["label"] for row in good} == set(LABELS)
    assert sum(row["status"].startswith("not_json") for row in rows) == 2


def test_the_cost_is_capped_before_anything_is_sent(tmp_path, server):
    with pytest.raises(ValueError, match="max_usd: the table would cost about"):
        table(tmp_path, server, price_in=1e5, price_out=1e5, max_usd=0.5)
    assert server.requests == []


def test_what_cannot_be_refined_is_refused(server):
    for of in ({"module": "names"}, {"module": "random_words"}):
        with pytest.raises(ValueError, match=r"of.module: .* has no descriptions to refine"):
            load_provider("", "refined", options(server, of=of))


def test_pairs_are_ranked_by_the_mean_of_both_directions():
    confusion = {("a", "b"): 0.4, ("b", "a"): 0.2, ("c", "a"): 0.5, ("b", "c"): 0.0, ("a", "x"): 0.9}
    assert most_confused(confusion, {"a", "b", "c"}, 5) == pytest.approx({("a", "b"): 0.3, ("a", "c"): 0.25})
    assert list(most_confused(confusion, {"a", "b", "c"}, 1)) == [("a", "b")]


def test_a_class_keeps_its_name():
    old = {"a": [Text("a", "a"), Text("a", "old", "motion")], "b": [Text("b", "other", "motion")]}
    table = replaced(old, [Text("a", "new", "motion", rival="b")])
    assert [text.sentence for text in table["a"]] == ["a", "new"]
    assert table["b"] == old["b"]

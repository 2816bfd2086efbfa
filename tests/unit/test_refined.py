"""The provider refined: a second round about the pairs of classes that are still confused."""

import json
from dataclasses import replace
from functools import partial

import pytest

from chat_server import completion, error
from chat_world import options, serving
from describe_world import LABELS, write_world
from kinetext.config.texts import TextOptions
from kinetext.core.tables import read_metadata, read_rows
from kinetext.plan import check_config
from kinetext.texts.checks import check_texts
from kinetext.texts.describe import describe_classes
from kinetext.texts.providers.base import Text, load_provider
from kinetext.texts.providers.refined import most_confused
from kinetext.texts.rounds import check_round

SHAPES = {"module": "bundled", "options": {"bank": "shapes"}}
SIDES = {"first": "it is", "second": "this is"}  # part of an answer -> beginning of its sentences
FIRST, SECOND = ("rising", "falling"), ("growing", "shrinking")  # two pairs of classes


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


def sentences_of_bank(label):
    return [text.sentence for text in load_provider("", "bundled", SHAPES["options"]).describe(label, [], None)]


def test_only_the_most_confused_pairs_are_asked_about_again(tmp_path, server, capfd):
    rows, metadata = table(tmp_path, server, pairs=1)
    (request,) = server.requests
    assert metadata == {"control": None}  # descriptions of motion
    prompt = request[2]["messages"][0]["content"]
    pair = [label for label in LABELS if f'class: "{label}"' in prompt]
    assert len(pair) == 2
    assert "It still takes these two classes for each other (confusion 1.00" in prompt
    for label in LABELS:
        before = sentences_of_bank(label)
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


def confusions(folder, *pairs):
    """Write a file of confusions; return its path."""
    path = folder / f"{pairs[0][0]}.csv"
    path.write_text("\n".join(["label,rival", *(",".join(pair) for pair in pairs)]) + "\n")
    return str(path)


def faulty(asked):
    """An answer that needs a correction, which is better."""
    if len(asked["messages"]) > 1:
        return better(asked)
    of_side = {side: {"start": "1. x", "end": f"{it} z", "whole": [f"{it} w"]} for side, it in SIDES.items()}
    return completion(json.dumps(of_side))


def about(pair, script):
    """Answer questions about a pair of classes by `script`, others with better sentences."""
    return lambda asked: (script if all(f'class: "{k}"' in str(asked["messages"][0]) for k in pair) else better)(asked)


def test_faults_of_the_second_round_are_repaired(tmp_path, server):
    server.script = faulty
    rows, _ = table(tmp_path, server, pairs=1, max_repairs=1)
    assert {row["status"] for row in rows} == {"ok"}


@pytest.mark.parametrize(
    ("answer", "reason"), [(completion("no"), "not_json: the answer is not JSON"), (error(503), "failed: ")]
)
def test_a_round_without_a_usable_answer_is_refused_and_one_with_failures_names_them(
    tmp_path, server, capfd, answer, reason
):
    server.script = lambda asked: answer
    with pytest.raises(ValueError, match=f"texts.mine: 2 of 2 pairs of classes have no usable answer: .*; .*{reason}"):
        table(tmp_path, server, pairs=2, retries=0)
    server.script = about(("rising", "falling"), lambda asked: answer)
    rows, _ = table(tmp_path, server, pairs=2, retries=0, model="n")
    message = "warning: texts.mine: 1 of 2 pairs of classes have no usable answer: 'falling' and 'rising'; the first: "
    assert message + reason in capfd.readouterr().err
    usable = [row for row in rows if row["status"] == "ok" and row["kind"] == "motion"]
    assert {row["label"] for row in usable} == set(LABELS)
    assert sum(row["status"].startswith(reason) for row in rows) == 2
    *kept, failed = described(rows, "falling")
    assert [sentence for sentence, _ in kept] == sentences_of_bank("falling")
    assert failed == ("", "rising")


def test_the_cost_is_capped_before_anything_is_sent(tmp_path, server):
    with pytest.raises(ValueError, match="max_usd: the table would cost about"):
        table(tmp_path, server, price_in=1e5, price_out=1e5, max_usd=0.5)
    assert server.requests == []


def test_what_cannot_be_refined_is_refused(server):
    for of in ({"module": "names"}, {"module": "random_words"}):
        with pytest.raises(ValueError, match=r"of.module: .* has no descriptions to refine"):
            load_provider("", "refined", options(server, of=of))


@pytest.mark.parametrize("rule", ["features", "text"])
def test_confusions_that_cannot_be_measured_are_refused_before_the_run(server, tmp_path, rule):
    of = {"module": "file", "options": {"path": str(tmp_path / "{dataset}.csv")}}
    (tmp_path / "mine.csv").write_text("label,phase,sentence\nnod,whole,the head sinks\n")
    (tmp_path / "other.csv").write_text("label,phase,sentence\nnod,whole,the head sinks\n")
    data = {"module": "folder", "options": {"root": str(tmp_path)}, "frames": {"size_px": 64}}
    common = {"datasets": ["other"], "backbone": "tiny", "methods": ["zero_shot"], "texts": ["again"]}
    config = {
        "backbones": {"tiny": {"model": "kinetext-tiny"}},
        "datasets": {"mine": data, "other": data},
        "confusables": {"rule": rule},
        "texts": {"again": {"module": "refined", "options": options(server, of=of)}},
        "methods": {"zero_shot": {}},
        "experiments": {"near": common | {"datasets": ["mine"]}, "far": common | {"protocol": "zero_shot_from_mine"}},
    }
    if rule == "text":
        assert check_config(config)
        return
    message = r"experiments\.far: texts 'again' need confusions, and zero_shot_from_mine has no training clips, so .* finds none"
    with pytest.raises(ValueError, match=message):
        check_config(config)
    listed = {
        "module": "csv",
        "options": {"root": str(tmp_path), "list": str(tmp_path / "mine.csv"), "multi_label": True},
    }
    config["datasets"]["mine"] |= listed
    with pytest.raises(ValueError, match=r"experiments\.near: .*, and mine has several labels per clip"):
        check_config(config)


def test_pairs_are_ranked_by_the_mean_of_both_directions():
    confusion = {("a", "b"): 0.4, ("b", "a"): 0.2, ("c", "a"): 0.5, ("b", "c"): 0.0, ("a", "x"): 0.9}
    assert most_confused(confusion, {"a", "b", "c"}, 5) == pytest.approx({("a", "c"): 0.5, ("a", "b"): 0.3})
    assert list(most_confused(confusion, {"a", "b", "c"}, 1)) == [("a", "c")]  # c is no top rival of a, or unknown


def is_new(text):
    return text.request_hash == "new"


def checked(old, new):
    """The checked table of a second round, label -> (sentence, status)."""
    texts = {
        label: rows + [replace(text, request_hash="new") for text in new.get(label, [])] for label, rows in old.items()
    }
    table = check_round(texts, old, is_new, partial(check_texts, rivals={}, wrote=is_new))
    return {label: [(text.sentence, text.status) for text in rows] for label, rows in table.items()}


def test_a_class_keeps_its_name_and_loses_old_sentences_only_if_a_new_one_can_be_used():
    old = {
        "a": [Text("a", "a"), Text("a", "it turns", "motion")],
        "b": [Text("b", "b"), Text("b", "it falls", "motion")],
    }
    table = checked(old, {"a": [Text("a", "it sinks", "motion")], "b": [Text("b", "1. x", "motion")]})
    assert table["a"] == [("a", "ok"), ("it sinks", "ok")]
    assert table["b"] == [("b", "ok"), ("it falls", "ok"), ("1. x", "numbered: '1.'")]


def test_kept_sentences_keep_their_status_and_new_ones_are_compared_with_them():
    old = {
        "a": [Text("a", "it turns", "motion")],
        "b": [Text("b", "1. first it hops", "motion"), Text("b", "it spins", "motion", status="rejected: x")],
        "c": [Text("c", "it falls", "motion")],
    }
    new = {
        "a": [
            Text("a", "1. first it hops", "motion"),
            Text("a", "it falls", "motion"),
            Text("a", "it sinks", "motion"),
        ],
        "c": [Text("c", "2. y", "motion")],
    }
    table = checked(old, new)
    assert table["b"] == [("1. first it hops", "ok"), ("it spins", "rejected: x")]
    assert dict(table["a"])["it falls"] == "shared: class 'c' has the same sentence"  # c has its old sentence again
    assert dict(table["a"])["it sinks"] == "ok"
    assert table["c"] == [("it falls", "ok"), ("2. y", "numbered: '2.'")]


def test_unchecked_sentences_of_round_one_stay_unchecked(tmp_path, server):
    lines = [f"{label},whole,1. a {label} thing" for label in LABELS]
    (tmp_path / "own.csv").write_text("\n".join(["label,phase,sentence", *lines]) + "\n")
    of = {"module": "file", "options": {"path": str(tmp_path / "own.csv"), "skip_checks": True}}
    rows, _ = table(tmp_path, server, pairs=1, of=of)
    assert [row["sentence"] for row in rows if row["status"] == "ok" and row["sentence"].startswith("1.")] == [
        "1. a growing thing",
        "1. a shrinking thing",
    ]


def test_a_class_whose_new_sentences_stay_faulty_has_its_old_ones(tmp_path, server):
    of_side = {"start": "1. x", "end": "2. y", "whole": ["3. z"]}
    server.script = about(FIRST, lambda asked: completion(json.dumps(dict.fromkeys(SIDES, of_side))))
    rows, _ = table(tmp_path, server, confusions=confusions(tmp_path, FIRST, SECOND))
    for label, rival in (FIRST, FIRST[::-1]):
        old, new = described(rows, label)[:-3], described(rows, label)[-3:]
        assert [sentence for sentence, _ in old] == sentences_of_bank(label)
        assert new == [("1. x", rival), ("2. y", rival), ("3. z", rival)]
    assert [row["status"].partition(":")[0] for row in rows if row["status"] != "ok"] == ["numbered"] * 6


def test_the_second_round_does_not_correct_answers_of_the_first(tmp_path, server):
    server.script = about(FIRST, faulty)
    inner = options(server, of=SHAPES, sentences=1, confusions=confusions(tmp_path, FIRST))
    of = {"module": "refined", "options": inner}
    rows, _ = table(tmp_path, server, of=of, confusions=confusions(tmp_path, SECOND), max_repairs=2)
    assert len(server.requests) == 2  # one per round, no corrections
    assert sum(row["status"].startswith("numbered") for row in rows) == 2

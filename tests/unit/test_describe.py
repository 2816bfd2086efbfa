"""Descriptions of classes: rivals in, sentences with a status out, and no look at a test clip."""

import resource
import subprocess
import sys

import numpy as np
import pytest

from describe_world import LABELS, write_world
from kinetext.config.texts import TextOptions
from kinetext.core import plugins
from kinetext.core.tables import read_rows
from kinetext.data import stills
from kinetext.texts import cache
from kinetext.texts.answers import parse_answer
from kinetext.texts.checks import TokenLimit
from kinetext.texts.describe import choose_rivals, describe_classes
from kinetext.texts.prompts import messages
from kinetext.texts.providers import bundled
from kinetext.texts.providers.base import Provider, Text
from kinetext.texts.providers.names import Names


@pytest.fixture
def provider(monkeypatch):
    """Return a function that installs a provider: `describe(label, rivals)`, `repair(label, rivals, texts)`, attributes."""

    def install(describe, repair=None, **attributes):
        functions = {"describe": lambda self, label, rivals, context: describe(label, rivals)}
        if repair:
            functions["repair"] = lambda self, label, rivals, texts, context: repair(label, rivals, texts)
        cls = type("Installed", (Provider,), functions | attributes)
        monkeypatch.setattr(plugins, "load", lambda kind, name: cls)

    return install


def test_each_class_gets_its_rivals_under_the_rule_or_the_next_one(tmp_path):
    world = write_world(tmp_path)
    assert choose_rivals(world["confusables"], LABELS, "features") == {
        "rising": ["falling", "growing"],
        "falling": ["growing"],
        "growing": ["shrinking"],
        "shrinking": [],
    }
    assert choose_rivals(world["confusables"], LABELS, "declared")["falling"] == ["rising"]


def test_the_table_has_names_and_motion_for_every_label(tmp_path):
    world = write_world(tmp_path)
    describe_classes(**world)
    rows = read_rows("texts", world["output"])
    assert [row["label"] for row in rows if row["kind"] == "name"] == LABELS
    assert [row["sentence"] for row in rows if row["kind"] == "name"] == LABELS
    assert {row["status"] for row in rows} == {"ok"}
    for label in LABELS:
        phases = {row["phase"] for row in rows if row["label"] == label and row["kind"] == "motion"}
        assert phases == {"start", "end", "whole"}


def test_names_alone_need_no_motion_rows(tmp_path, capfd):
    describe_classes(**(world := write_world(tmp_path, name="mine", options=TextOptions(module="names"))))
    rows = read_rows("texts", world["output"])
    assert [(row["label"], row["sentence"], row["kind"]) for row in rows] == [(k, k, "name") for k in LABELS]
    assert "warning" not in capfd.readouterr().err


def test_a_provider_that_names_classes_itself_keeps_its_names(tmp_path):
    options = TextOptions(module="names", options={"templates": ["a clip of {}"]})
    describe_classes(**(world := write_world(tmp_path, options=options)))
    assert [row["sentence"] for row in read_rows("texts", world["output"])] == [f"a clip of {k}" for k in LABELS]


def test_labels_of_test_clips_change_nothing(tmp_path):
    describe_classes(**(one := write_world(tmp_path / "one")))
    describe_classes(**(other := write_world(tmp_path / "other", test_labels=LABELS[::-1])))
    assert read_rows("texts", one["output"]) == read_rows("texts", other["output"])


def test_novel_classes_are_described_too(tmp_path):
    describe_classes(**(world := write_world(tmp_path, novel=["growing", "shrinking"])))
    assert {row["label"] for row in read_rows("texts", world["output"])} == set(LABELS)


def test_rivals_reach_the_provider_and_it_is_checked_first(tmp_path, provider):
    asked, checked = {}, []
    provider(
        lambda label, rivals: asked.update({label: rivals}) or [Text(label, f"{label} moves", "motion")],
        check=lambda self: checked.append(self),
    )
    describe_classes(**write_world(tmp_path))
    assert asked["rising"] == ["falling", "growing"]
    assert len(checked) == 1


def test_one_class_that_fails_does_not_cost_the_others(tmp_path, provider, capfd):
    def tell(label, rivals):
        if label == "falling":
            raise OSError("line is dead")
        return [Text(label, f"{label} moves", kind="motion")]

    provider(tell)
    describe_classes(**(world := write_world(tmp_path)))
    rows = {row["label"]: row for row in read_rows("texts", world["output"]) if row["kind"] == "motion"}
    assert rows["falling"]["status"] == "failed: OSError: line is dead"
    assert {rows[label]["status"] for label in LABELS if label != "falling"} == {"ok"}
    assert "class 'falling' has no usable description: failed: OSError: line is dead" in capfd.readouterr().err


def test_no_table_where_every_class_fails_or_the_configuration_is_wrong(tmp_path, provider):
    world = write_world(tmp_path)
    provider(lambda label, rivals: [Text(label, "", kind="motion", status="failed: line is dead")])
    with pytest.raises(ValueError, match=r"texts.bundled: none of 4 classes could be described; failed: line is dead"):
        describe_classes(**world)

    def wrong(label, rivals):
        raise ValueError("set the variable")

    provider(wrong)
    with pytest.raises(ValueError, match="set the variable"):
        describe_classes(**world)
    assert not world["output"].exists()


def test_errors_name_the_place_in_the_configuration(tmp_path):
    with pytest.raises(ValueError, match=r"texts.mine: no module 'bundle' among texts; did you mean 'bundled'\?"):
        describe_classes(**write_world(tmp_path, name="mine", options=TextOptions(module="bundle")))
    with pytest.raises(ValueError, match=r"texts.bundled.options.bnk: unknown key; did you mean 'bank'\?"):
        describe_classes(**write_world(tmp_path, options=TextOptions(options={"bnk": "shapes"})))
    with pytest.raises(ValueError, match=r"bank: no bank 'shape' in .*; did you mean 'shapes'\?"):
        describe_classes(**write_world(tmp_path, options=TextOptions(options={"bank": "shape"})))
    with pytest.raises(ValueError, match=r"shapes.yaml: has no class 'risin'; did you mean 'rising'\?"):
        describe_classes(**write_world(tmp_path, labels=["risin", "falling"], test_labels=[]))
    with pytest.raises(ValueError, match=r"templates: 'a clip' needs {} once"):
        plugins.configure(Names, {"templates": ["a clip"]})


REPAIRING = {"max_repairs": 2, "at_once": 4, "sentences": 1}


def motion(label, sentence, **fields):
    return Text(label, sentence, kind="motion", **fields)


def rows_of(world, label):
    return [(r["sentence"], r["status"]) for r in read_rows("texts", world["output"]) if r["label"] == label]


def test_bad_sentences_are_asked_for_again_with_their_reasons(tmp_path, provider, capfd):
    asked = {label: [] for label in LABELS}
    world = write_world(tmp_path)

    def repair(label, rivals, texts):
        asked[label].append(([(text.sentence, text.status.split(":")[0]) for text in texts], rivals))
        if label == "growing":
            return texts  # the model insists
        return [motion(label, "it goes up" if len(asked[label]) == 2 else "it falls at once")]

    provider(
        lambda label, rivals: [
            motion(label, "1. it goes up" if label in ("rising", "growing") else f"the {label} way")
        ],
        repair,
        **REPAIRING,
    )
    describe_classes(**world)
    assert asked == {
        "rising": [([(first, fault)], ["falling", "growing"]) for first, fault in (("1. it goes up", "numbered"), ("it falls at once", "rival"))],
        "growing": [([("1. it goes up", "numbered")], ["shrinking"])] * 2,
        "falling": [],
        "shrinking": [],
    }  # fmt: skip
    assert rows_of(world, "rising") == [("rising", "ok"), ("it goes up", "ok")]
    assert rows_of(world, "growing") == [("growing", "ok"), ("1. it goes up", "numbered: '1.'")]
    assert rows_of(world, "falling") == [("falling", "ok"), ("the falling way", "ok")]
    assert "class 'growing' has no usable description: numbered: '1.'" in capfd.readouterr().err


def test_only_a_class_with_an_answer_is_asked_about_again(tmp_path, provider):
    mended = []

    def tell(label, rivals):
        if label == "rising":
            raise OSError("line is dead")
        status = {"falling": "failed: batch 1: no answer", "growing": "failed: the answer is empty"}.get(label, "ok")
        return [motion(label, "" if status != "ok" else f"the {label} way", status=status)]

    def repair(label, rivals, texts):
        mended.append(label)
        return [motion(label, f"the {label} way")]

    provider(tell, repair, **REPAIRING)
    describe_classes(**(world := write_world(tmp_path)))
    assert mended == ["growing"]
    assert rows_of(world, "rising")[1] == ("", "failed: OSError: line is dead")
    assert rows_of(world, "falling")[1] == ("", "failed: batch 1: no answer")
    assert rows_of(world, "growing")[1] == ("the growing way", "ok")


def test_what_cannot_be_asked_again_stays(tmp_path, provider, capfd):
    tried = []

    def repair(label, rivals, texts):
        tried.append(label)
        raise ValueError("set the variable")

    provider(
        lambda label, rivals: [motion(label, "- " * (label == "rising") + f"the {label} way")], repair, **REPAIRING
    )
    describe_classes(**(world := write_world(tmp_path)))
    assert tried == ["rising"]
    assert rows_of(world, "rising") == [("rising", "ok"), ("- the rising way", "bullet: '-'")]
    assert "warning: texts.bundled: 1 classes not repaired; 'rising': set the variable" in capfd.readouterr().err


def test_a_table_without_any_usable_description_is_none(tmp_path, provider):
    provider(lambda label, rivals: [motion(label, label)])
    world = write_world(tmp_path)
    with pytest.raises(ValueError, match=r"no class has a usable description; 'rising': name_only: .*'rising'"):
        describe_classes(**world)
    assert not world["output"].exists()


def test_too_many_tokens_and_too_few_sentences_are_in_the_table(tmp_path, provider):
    provider(lambda label, rivals: [motion(label, f"{label} slowly"), motion(label, f"{label} fast")], sentences=2)
    limit = TokenLimit(8, lambda text: 9 if text == "rising slowly" else 8)
    describe_classes(**(world := write_world(tmp_path, limit=limit)))
    long = ("rising slowly", "long: 9 tokens, the backbone takes 8")
    assert rows_of(world, "rising") == [("rising", "ok"), long, ("rising fast", "ok")]
    provider(lambda label, rivals: [motion(label, f"{label} slowly")], sentences=2)
    describe_classes(**world)
    gap = ("", "count: 1 of the 2 that were asked for")
    assert rows_of(world, "falling") == [("falling", "ok"), ("falling slowly", "ok"), gap]


def test_failures_are_named_in_the_table(tmp_path, provider):
    def tell(label, rivals):
        failed = motion(label, "", status="failed: the answer is not JSON (x); to ask again, delete y")
        return [failed if label == "rising" else motion(label, f"the {label} way")]

    provider(tell)
    describe_classes(**(world := write_world(tmp_path)))
    assert rows_of(world, "rising")[1] == ("", "not_json: the answer is not JSON (x); to ask again, delete y")


def test_cache_asks_once_and_keeps_nothing_of_a_failure(tmp_path):
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


def test_two_jobs_that_want_the_same_reply_ask_once(tmp_path):
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom kinetext.texts import cache\nfolder = Path(sys.argv[1])\n"
        "def ask():\n    with open(folder / 'calls', 'a') as f: f.write('x')\n    time.sleep(0.3)\n    return {'reply': 1}\n"
        "cache.fetch_reply({'q': 1}, folder, ask)\n"
    )
    jobs = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path)]) for _ in range(3)]
    assert [job.wait(60) for job in jobs] == [0, 0, 0]
    assert (tmp_path / "calls").read_text() == "x"


def test_request_says_the_rivals_and_how_many_sentences():
    (message,) = messages("drop kick", ["kick", 'say "hi"'], sentences=2)
    assert message["role"] == "user"
    assert 'Class: "drop kick"' in message["content"]
    assert '"kick", "say \\"hi\\""' in message["content"]
    assert '"whole": ["...", "..."]' in message["content"]
    assert "2 sentences" in message["content"]
    assert "mistaken" not in messages("jump", [], 1)[0]["content"]


@pytest.mark.parametrize("wrap", ["{}", " {}\n", "```json\n{}\n```", "```\n{}```"])
def test_answer_is_read_bare_or_fenced(wrap):
    answer = '{"start": " low", "end": "high", "whole": ["it goes up "], "note": 1}'
    assert parse_answer(wrap.replace("{}", answer)) == [
        ("start", "low"),
        ("end", "high"),
        ("whole", "it goes up"),
    ]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("Sure, here it is: {}", "is not JSON"),
        ("[1]", "is a JSON list"),
        ('{"start": "a", "whole": ["b"]}', "has no 'end'"),
        ('{"start": "a", "end": "b", "whole": []}', "'whole' in the answer"),
        ('{"start": "a", "end": "b", "whole": "c"}', "'whole' in the answer"),
        ('{"start": "a", "end": null, "whole": ["c"]}', "'end' in the answer"),
    ],
)
def test_answer_that_is_none(content, complaint):
    with pytest.raises(ValueError, match=complaint):
        parse_answer(content)


def test_bank_of_shapes_speaks_the_words_of_the_stills():
    # every caption that states one attribute or two: what the small CLIP was pretrained on
    random = np.random.default_rng(0)
    single = [{name: value} for name, words in stills.ATTRIBUTES.items() for value in range(len(words))]
    stated = single + [a | b for a in single for b in single if a.keys() != b.keys()]
    captions = {stills.caption_text(values, random) for values in stated for _ in range(8)}
    classes = bundled.read_bank("shapes")["classes"]
    said = {sentence for texts in classes.values() for phase in ("start", "end") for sentence in texts[phase]}
    assert said <= captions, said - captions


def test_bank_of_shapes_covers_the_data_set_and_tells_reversals_apart():
    from kinetext.data.datasets.shapes import Shapes

    classes = bundled.read_bank("shapes")["classes"]
    assert sorted(classes) == sorted(Shapes(Shapes.Config()).labels())
    for first, second in Shapes(Shapes.Config()).declared_pairs():
        assert classes[first]["start"] == classes[second]["end"]
        assert classes[first]["end"] == classes[second]["start"]
        for phase in bundled.PHASES:
            assert classes[first][phase]
            assert not set(classes[first][phase]) & set(classes[second][phase])


def test_a_reply_that_cannot_be_kept_stops_before_the_next_is_paid_for(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))  # as a full disk would, when the bytes leave the process
    try:
        with pytest.raises(ValueError, match=r"replies: cannot store a reply .*; free some space and run again"):
            cache.fetch_reply({"n": 1}, tmp_path, lambda: {"reply": "x" * 1000})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not list((tmp_path / "replies").iterdir())
    assert cache.fetch_reply({"n": 1}, tmp_path, lambda: {"reply": "y"})["reply"] == "y"

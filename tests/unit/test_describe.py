"""The table `texts`: rivals go to a provider, sentences come back with a status, and test clips are not read."""

import numpy as np
import pytest

from describe_world import LABELS, write_world
from kinetext.config.texts import TextOptions
from kinetext.core import plugins
from kinetext.core.tables import read_rows, write_table
from kinetext.data import still_captions, stills
from kinetext.report.inputs import summarize_texts
from kinetext.texts.checks import TokenLimit
from kinetext.texts.describe import describe_classes
from kinetext.texts.providers import bundled
from kinetext.texts.providers.base import Provider, Text
from kinetext.texts.providers.names import Names
from kinetext.texts.rivals import choose_rivals
from splits import write_splits


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


def test_rivals_come_from_the_rule_or_the_next_one(tmp_path):
    world = write_world(tmp_path)
    assert choose_rivals(world["confusables"], LABELS, "features") == {
        "rising": ["falling", "growing"],
        "falling": ["growing"],
        "growing": ["shrinking"],
        "shrinking": [],
    }
    assert choose_rivals(world["confusables"], LABELS, "declared")["falling"] == ["rising"]


def test_table_has_names_and_motion_for_every_label(tmp_path):
    world = write_world(tmp_path)
    describe_classes(**world)
    rows = read_rows("texts", world["output"])
    assert [row["label"] for row in rows if row["kind"] == "name"] == LABELS
    assert [row["sentence"] for row in rows if row["kind"] == "name"] == LABELS
    assert {row["status"] for row in rows} == {"ok"}
    for label in LABELS:
        phases = {row["position"] for row in rows if row["label"] == label and row["kind"] == "motion"}
        assert phases == {0.0, 0.5, 1.0, None}


def test_names_alone_need_no_motion_rows(tmp_path, capfd):
    describe_classes(**(world := write_world(tmp_path, name="mine", options=TextOptions(module="names"))))
    rows = read_rows("texts", world["output"])
    assert [(row["label"], row["sentence"], row["kind"]) for row in rows] == [(k, k, "name") for k in LABELS]
    assert "warning" not in capfd.readouterr().err


def test_names_of_the_provider_are_kept(tmp_path):
    options = TextOptions(module="names", options={"templates": ["a clip of {}"]})
    describe_classes(**(world := write_world(tmp_path, options=options)))
    assert [row["sentence"] for row in read_rows("texts", world["output"])] == [f"a clip of {k}" for k in LABELS]


def test_labels_of_test_clips_are_not_used(tmp_path):
    describe_classes(**(one := write_world(tmp_path / "one")))
    describe_classes(**(other := write_world(tmp_path / "other", test_labels=LABELS[::-1])))
    assert read_rows("texts", one["output"]) == read_rows("texts", other["output"])


def test_novel_classes_are_described(tmp_path):
    describe_classes(**(world := write_world(tmp_path, novel=["growing", "shrinking"])))
    assert {row["label"] for row in read_rows("texts", world["output"])} == set(LABELS)


def test_provider_is_checked_and_gets_the_rivals(tmp_path, provider):
    asked, checked = {}, []
    provider(
        lambda label, rivals: asked.update({label: rivals}) or [Text(label, f"{label} moves", "motion")],
        check=lambda self: checked.append(self),
    )
    describe_classes(**write_world(tmp_path))
    assert asked["rising"] == ["falling", "growing"]
    assert len(checked) == 1


def test_failure_of_one_class_does_not_affect_the_others(tmp_path, provider, capfd):
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


def test_no_table_is_written_if_every_class_fails_or_an_option_is_wrong(tmp_path, provider):
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


def test_errors_name_the_configuration_key(tmp_path):
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


def test_faulty_sentences_are_repaired_with_their_reasons(tmp_path, provider, capfd):
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


def test_only_classes_with_an_answer_are_repaired(tmp_path, provider):
    repaired = []

    def tell(label, rivals):
        if label == "rising":
            raise OSError("line is dead")
        status = {"falling": "failed: batch 1: no answer", "growing": "failed: the answer is empty"}.get(label, "ok")
        return [motion(label, "" if status != "ok" else f"the {label} way", status=status)]

    def repair(label, rivals, texts):
        repaired.append(label)
        return [motion(label, f"the {label} way")]

    provider(tell, repair, **REPAIRING)
    describe_classes(**(world := write_world(tmp_path)))
    assert repaired == ["growing"]
    assert rows_of(world, "rising")[1] == ("", "failed: OSError: line is dead")
    assert rows_of(world, "falling")[1] == ("", "failed: batch 1: no answer")
    assert rows_of(world, "growing")[1] == ("the growing way", "ok")


def test_rows_stay_if_the_repair_fails(tmp_path, provider, capfd):
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


def test_table_without_a_usable_description_is_an_error(tmp_path, provider):
    provider(lambda label, rivals: [motion(label, label)])
    world = write_world(tmp_path)
    with pytest.raises(ValueError, match=r"no class has a usable description; 'rising': name_only: .*'rising'"):
        describe_classes(**world)
    assert not world["output"].exists()


def test_long_and_missing_sentences_have_a_status(tmp_path, provider):
    provider(lambda label, rivals: [motion(label, f"{label} slowly"), motion(label, f"{label} fast")], sentences=2)
    limit = TokenLimit(8, lambda text: 9 if text == "rising slowly" else 8)
    describe_classes(**(world := write_world(tmp_path, limit=limit)))
    long = ("rising slowly", "long: 9 tokens, the backbone takes 8")
    assert rows_of(world, "rising") == [("rising", "ok"), long, ("rising fast", "ok")]
    provider(lambda label, rivals: [motion(label, f"{label} slowly")], sentences=2)
    describe_classes(**world)
    gap = ("", "count: the answer has 1 of the 2 requested sentences about the whole clip")
    assert rows_of(world, "falling") == [("falling", "ok"), ("falling slowly", "ok"), gap]


def test_captions_and_names_that_are_cut_say_so_and_are_used(tmp_path, capsys):
    limit = TokenLimit(8, lambda text: len(text.split()) + 2)
    captions = {"a": ["a short caption", "one two three four five six seven"], "b": ["one two three four five six"]}
    rows = [{"clip_id": key, "split": "train", "label": None, "captions": texts} for key, texts in captions.items()]
    write_table("clips", rows, tmp_path / "clips.parquet", {"labels": [], "pairs": []})
    world = write_world(tmp_path / "other", name="captions", limit=limit)
    world |= {"clips": tmp_path / "clips.parquet", "splits": write_splits(tmp_path / "clips.parquet")}
    describe_classes(**world)
    assert [(row["label"], row["status"]) for row in read_rows("texts", world["output"])] == [
        ("a", "ok"),
        ("a", "cut: 9 tokens, the backbone takes 8"),
        ("b", "ok"),
    ]
    assert "warning: texts.captions: 1 of 3 texts are cut at the token limit; the first: 'a', 9 tokens" in (
        capsys.readouterr().err
    )
    summary = summarize_texts(world["output"])
    assert (summary["used"], summary["cut"], summary["rejected"], summary["unusable"]) == (3, 1, {}, [])


def test_failures_have_their_reason_as_status(tmp_path, provider):
    def tell(label, rivals):
        failed = motion(label, "", status="failed: the answer is not JSON (x); to ask again, delete y")
        return [failed if label == "rising" else motion(label, f"the {label} way")]

    provider(tell)
    describe_classes(**(world := write_world(tmp_path)))
    assert rows_of(world, "rising")[1] == ("", "not_json: the answer is not JSON (x); to ask again, delete y")


def test_bank_of_shapes_uses_the_captions_of_the_stills():
    # every caption that states one attribute or two: what the small CLIP was pretrained on
    random = np.random.default_rng(0)
    single = [{name: value} for name, words in stills.ATTRIBUTES.items() for value in range(len(words))]
    stated = single + [a | b for a in single for b in single if a.keys() != b.keys()]
    captions = {still_captions.caption_text(values, random) for values in stated for _ in range(8)}
    classes = bundled.read_bank("shapes")["classes"]
    parts = ("start", "steps", "end")
    sentences = {sentence for texts in classes.values() for part in parts for sentence in texts.get(part, ())}
    assert sentences <= captions, sentences - captions


def test_bank_of_shapes_covers_the_data_set_and_distinguishes_reversals():
    from kinetext.data.datasets.shapes import Shapes
    from kinetext.data.motion.kinds import PAIR_OF_CLASS

    classes = bundled.read_bank("shapes")["classes"]
    assert sorted(classes) == sorted(PAIR_OF_CLASS)
    for first, second in Shapes(Shapes.Config()).declared_pairs():
        assert classes[first]["start"] == classes[second]["end"]
        assert classes[first]["end"] == classes[second]["start"]
        for phase in ("start", "end", "whole"):
            assert classes[first][phase]
            assert not set(classes[first][phase]) & set(classes[second][phase])

"""Checks of sentences: for every reason, sentences with the fault and similar ones without."""

import pytest

from kinetext.core.schemas import is_used
from kinetext.data.datasets.shapes import Shapes
from kinetext.data.motion.kinds import KINDS
from kinetext.texts import checks
from kinetext.texts.answers import parse_answer
from kinetext.texts.checks import REASONS, TokenLimit, check_texts, content_fault, fold, form_fault, named_failure
from kinetext.texts.providers import bundled
from kinetext.texts.providers.base import Context, Text, load_provider
from repository import ROOT

WORDS = TokenLimit(12, lambda text: len(text.split()) + 2)


def reason(fault):
    return fault and fault.split(":")[0]


@pytest.mark.parametrize(
    ("expected", "sentence"),
    [
        ("character", "the arm rises\nthen falls"),
        ("character", "the arm\u200b rises"),
        ("fence", "```the arm rises"),
        ("fence", "the arm `rises`"),
        ("refusal", "I'm sorry, I can't describe people."),
        ("refusal", "I\u2019m sorry, but I cannot help with that"),
        ("refusal", "I cannot describe this class."),
        ("refusal", "As an AI model I have no eyes."),
        ("preamble", "Sure, here are three sentences"),
        ("preamble", "Certainly! The arm rises."),
        ("preamble", "Here is the sentence"),
        ("preamble", "The following sentences describe it"),
        ("preamble", "Three sentences about the movement:"),
        ("preamble", "start: the arm hangs"),
        ("numbered", "1. The arm rises"),
        ("numbered", "(2) The arm rises"),
        ("numbered", "3) the arm rises"),
        ("numbered", "a) the arm rises"),
        ("numbered", "Step 2, the arm rises"),
        ("bullet", "- the arm rises"),
        ("bullet", "• the arm rises"),
        ("bullet", "**Rising**, the arm goes up"),
        ("quoted", '"The arm rises."'),
        ("quoted", "“The arm rises”."),
        ("quoted", "'the arm rises'"),
        ("bullet", "\u2013 the arm rises"),
        ("refusal", "I am unable to describe it"),
        ("long", "one two three four five six seven eight nine ten eleven twelve"),
    ],
)
def test_form_fault(expected, sentence):
    assert reason(form_fault(sentence, WORDS)) == expected


@pytest.mark.parametrize(
    "sentence",
    [
        "First the arm rises, then it falls.",
        "A man's hand turns over, 'palm up'",
        "the hand pours 2.5 glasses",
        "one arm rises - slowly - above the head",
        "Surely and fast the arm rises",
        "here and there a ball hops",
        "Der Arm fällt, Μπάλα, 挥手",
        "می\u200cدود",  # joined as Persian spells it
        "the arms are sorry to see",
        "left hand: still, right hand: up",
        "2 hands rise",
        "unable to move it, the hand slips",
    ],
)
def test_no_form_fault(sentence):
    assert form_fault(sentence, WORDS) is None


@pytest.mark.parametrize(
    ("expected", "label", "sentence"),
    [
        ("name_only", "kick ball", "kick ball"),
        ("name_only", "kick ball", "a video of a person kicking the ball"),
        ("name_only", "moving something up", "something moves"),
        ("name_only", "run", "there is a person doing it"),
        ("rival", "jump", "unlike running, both feet leave the ground"),
        ("rival", "jump", "the legs run on"),
        ("rival", "jump", "it never throws the ball"),
        ("not_visual", "jump", "the legs bend in order to gain height"),
        ("not_visual", "jump", "she feels the wind on the way down"),
        ("not_visual", "jump", "he decides to leave the ground"),
        ("not_visual", "jump", "the knees bend while getting ready"),
        ("not_visual", "jump", "feet leave the ground with a loud noise"),
    ],
)
def test_content_fault(expected, label, sentence):
    assert reason(content_fault(sentence, label, ["run", "throw a ball"])) == expected


@pytest.mark.parametrize(
    ("label", "rivals", "sentence"),
    [
        ("kick ball", [], "the foot swings and kicks the ball"),
        ("sword exercise", ["sword"], "the sword is swung around the body"),  # the rival's name is part of its own
        ("jump", ["run"], "a trunk between the legs, rung by rung"),  # not the word
        ("gate opening", ["gate closing"], "the gate is closed and then is not"),  # a state, not the other movement
        ("tasting food", [], "the spoon goes to the mouth and the tongue tastes food"),
        ("smelling flower", [], "the nose comes close and smells"),  # the class is called so
        ("moving something up", ["moving something down"], "a hand lifts something"),
    ],
)
def test_no_content_fault(label, rivals, sentence):
    assert content_fault(sentence, label, rivals) is None


def test_state_in_the_words_of_the_name_is_allowed_at_start_and_end():
    assert content_fault("the gate is open", "gate opening", position=1.0) is None
    assert reason(content_fault("the gate is open", "gate opening")) == "name_only"
    assert reason(content_fault("gate opening", "gate opening", position=1.0)) == "name_only"


@pytest.mark.parametrize(
    "sentence", ["first it rests", "it then sinks", "at last, finally, it is gone", "Next it is red"]
)
def test_order_words_are_refused_in_a_sentence_about_one_moment(sentence):
    for position in (0.0, 0.5, 1.0):
        assert reason(content_fault(sentence, "turning", position=position)) == "order"
    assert content_fault(sentence, "turning") is None  # of the whole action
    assert (
        content_fault(sentence, "what is first, then, finally, next", position=0.5) is None
    )  # words of the class name


@pytest.mark.parametrize("sentence", ["it lies next to a wall", "The first horses pass", "the thin strip bends"])
def test_other_uses_of_order_words_are_allowed(sentence):
    assert content_fault(sentence, "turning", position=0.5) is None


def test_classes_with_steps_may_share_moments_but_not_all_of_them():
    def statuses(*steps):
        places = [(0.0, "at the top"), *((n / 4, step) for n, step in enumerate(steps, 1)), (1.0, "at the top")]
        return [Text("", sentence, "motion", position) for position, sentence in places]

    def check(one, other):
        texts = check_texts({"orbit": statuses(*one), "tour": statuses(*other)}, {"orbit": ["tour"]})
        return {reason(text.status) if text.status != "ok" else "ok" for rows in texts.values() for text in rows}

    assert check(["at the left", "low", "at the right"], ["at the right", "low", "at the left"]) == {"ok"}
    assert check(["at the left"], ["at the left"]) == {"pair"}
    assert check([], ["at the left"]) == {"pair", "ok"}


def test_tokens_are_counted_only_if_there_could_be_too_many():
    counted = []
    limit = TokenLimit(12, lambda text: counted.append(text) or 12)
    assert form_fault("ten bytes.", limit) is None
    assert counted == []
    assert form_fault("eleven byte", limit) is None
    assert counted == ["eleven byte"]


@pytest.mark.parametrize(
    "forms",
    [
        *[
            ("run", "runs", "running"),
            ("ride", "rides", "riding"),
            ("carry", "carries", "carrying"),
            ("pass", "passes"),
        ],
        *[("go", "goes", "going"), ("swing", "swings", "swinging"), ("kiss", "kissing"), ("play", "plays")],
    ],
)
def test_inflection_is_removed(forms):
    assert len({fold(form) for form in forms}) == 1


def test_participle_is_no_inflection():
    assert fold("closed") != fold("closing")
    assert len({fold(word) for word in ("run", "rung", "ring", "throw", "through")}) == 5


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("Sure, here it is: {}", "not_json"),
        ("[1]", "not_json"),
        ('{"start": "a", "whole": ["b"]}', "missing_key"),
        ('{"start": "a", "end": "b", "whole": "c"}', "missing_key"),
        ('{"start": "a", "end": null, "whole": ["c"]}', "missing_key"),
    ],
)
def test_failure_of_an_answer_has_its_reason(content, expected):
    with pytest.raises(ValueError, match="answer") as caught:
        parse_answer(content)
    assert named_failure(f"failed: {caught.value}; to query the model again, delete x") == (
        f"{expected}: {caught.value}; to query the model again, delete x"
    )


def test_other_failures_of_a_provider():
    assert reason(named_failure("failed: the model refused (I can't)")) == "refusal"
    assert reason(named_failure("failed: the answer was cut off at the server's limit of tokens")) == "cut_off"
    assert named_failure("failed: line is dead") == "failed: line is dead"
    assert named_failure("ok") == "ok"


def motion(label, *sentences, **fields):
    return [Text(label, sentence, "motion", **fields) for sentence in sentences]


def test_equal_sentences_are_marked_by_class_kind_and_phase():
    texts_by_label = {
        "up": [Text("up", "it"), *motion("up", "Goes up.", "goes  up", "it drifts", "it turns", "in view")],
        "down": [Text("down", "it"), *motion("down", "It drifts", "in view", "`broken`")],
        "round": [*motion("round", "it turns", "broken"), *motion("round", "in view", position=1.0)],
    }
    status = {
        k: [t.status for t in texts] for k, texts in check_texts(texts_by_label, {"up": [], "down": ["up"]}).items()
    }
    assert status == {
        "up": [
            "ok",
            "ok",
            "repeated: an earlier sentence of the class is the same",
            "pair: rival class 'down' has the same sentence",
            "shared: class 'round' has the same sentence",
            "pair: rival class 'down' has the same sentence",
        ],
        "down": [
            "ok",
            "pair: rival class 'up' has the same sentence",
            "pair: rival class 'up' has the same sentence",
            "fence: '`'",
        ],
        # what one class starts with the other may end with, and a sentence that is not used is no equal
        "round": ["shared: class 'up' has the same sentence", "ok", "ok"],
    }


def test_appearance_is_checked_for_form_and_for_duplicates_whatever_their_position():
    texts_by_label = {
        "up": [
            Text("up", s, "appearance", p) for s, p in (("shape", 0.0), ("Shape.", 0.5), ("- a", 1.0), ("ball", None))
        ],
        "shape": [Text("shape", s, "appearance", p) for s, p in (("a shape", 0.0), ("ball", 0.5), ("wall", 1.0))],
        "far": [Text("far", s, "appearance", p) for s, p in (("wall", 0.0), ("a tree", 0.5))],
    }
    checked = check_texts(texts_by_label, {"up": ["shape"]})
    assert {label: [text.status for text in texts] for label, texts in checked.items()} == {
        "up": [
            "ok",
            "repeated: an earlier sentence of the class is the same",
            "bullet: '-'",
            "pair: rival class 'shape' has the same sentence",
        ],
        "shape": ["ok", "pair: rival class 'up' has the same sentence", "shared: class 'far' has the same sentence"],
        "far": ["shared: class 'shape' has the same sentence", "ok"],
    }


def test_rivals_of_the_row_are_checked():
    texts_by_label = {"up": motion("up", "it does not drop", rival="fall | drop")}
    assert check_texts(texts_by_label, {"up": []})["up"][0].status == "rival: names 'drop'"


def test_each_answer_has_the_requested_number_of_sentences():
    texts_by_label = {
        "up": [*motion("up", "a b", position=0.0, rival="x"), *motion("up", "c d", "e f", "g h", rival="x")],
        "down": [*motion("down", "i j", rival="x", model="m"), *motion("down", "k l", "m n", rival="y")],
        "gone": [Text("gone", "", "motion", status="failed: line is dead")],
    }
    checked = check_texts(texts_by_label, {}, sentences=2)
    assert [text.status for text in checked["up"]] == [
        "ok",
        "ok",
        "ok",
        "count: exceeds the 2 requested sentences about the whole clip",
    ]
    assert checked["down"][3:] == [
        Text(
            "down",
            "",
            "motion",
            rival="x",
            model="m",
            status="count: the answer has 1 of the 2 requested sentences about the whole clip",
        )
    ]
    assert checked["gone"] == texts_by_label["gone"]
    assert check_texts(checked, {}, sentences=2) == checked  # judged anew, with the same result
    more = checked | {"down": [*checked["down"], *motion("down", "o p", rival="x")]}
    assert {text.status for text in check_texts(more, {}, sentences=2)["down"]} == {"ok"}


def test_each_answer_has_the_requested_number_of_steps():
    rows = [*motion("up", "low", position=0.0), *motion("up", "half", "more", position=0.5)]
    statuses = [text.status for text in check_texts({"up": rows}, {}, steps=1)["up"]]
    assert statuses == ["ok", "ok", "count: exceeds the 1 requested steps"]
    *_, gap = check_texts({"up": rows}, {}, steps=3)["up"]
    assert (gap.sentence, gap.position, gap.status) == ("", 0.5, "count: the answer has 2 of the 3 requested steps")
    assert len(check_texts({"up": rows}, {}, steps=2)["up"]) == 3


def test_skip_checks_marks_only_empty_sentences():
    texts_by_label = {"up": motion("up", "1. up", "up", "up", " ")}
    assert [text.status for text in check_texts(texts_by_label, {}, 9, skip_checks=True)["up"]] == [
        *["ok"] * 3,
        "empty: no sentence",
    ]


@pytest.mark.parametrize("bank", sorted(path.stem for path in bundled.BANKS.glob("*.yaml")))
def test_bundled_banks_are_clean(bank):
    """With the rivals that shapes declares; elsewhere training decides which are, so any other class may be one."""
    classes = list(bundled.read_bank(bank)["classes"])
    provider = load_provider("", "bundled", {"bank": bank})
    texts_by_label = {label: provider.describe(label, [], Context(classes)) for label in classes}
    pairs = {label: [other for other in classes if other != label] for label in classes}
    if bank == "shapes":
        declared = Shapes(Shapes.Config(kinds=tuple(KINDS))).declared_pairs()
        pairs = {label: [other for pair in declared if label in pair for other in pair] for label in classes}
        pairs = {label: [other for other in others if other != label] for label, others in pairs.items()}
    bad = [text for texts in check_texts(texts_by_label, pairs).values() for text in texts if text.status != "ok"]
    assert bad == []
    assert min(map(len, texts_by_label.values())) >= 3


def test_reasons_are_declared_and_documented():
    assert {reason for reason, _ in checks._FORMS} | {reason for _, reason in checks._FAILURES} <= set(REASONS)
    page = (ROOT / "docs/texts.md").read_text()
    missing = [name for name, meaning in REASONS.items() if f"| `{name}` | {meaning} |" not in page]
    assert missing == []


def test_names_and_unchecked_sentences_are_cut_and_used():
    limit = TokenLimit(8, lambda text: len(text.split()) + 2)
    long = "one two three four five six seven"
    rows = {"up": [Text("up", long, kind="name"), Text("up", long, kind="motion"), Text("up", "short", kind="motion")]}
    cut, too_long = "cut: 9 tokens, the backbone takes 8", "long: 9 tokens, the backbone takes 8"
    for skip_checks, statuses in ((False, [cut, too_long, "ok"]), (True, [cut, cut, "ok"])):
        checked = check_texts(rows, {}, limit=limit, skip_checks=skip_checks)["up"]
        assert [text.status for text in checked] == statuses
    assert [is_used(status) for status in (cut, too_long, "ok")] == [True, False, True]

"""All bundled banks: complete, short enough, and no sentence used for two classes.

tests/unit/banks/{bank}.txt holds the class names of a public data set, one a line, as its loader gives them. Those of ssv2 are
the 174 templates of something-something-v2-labels.json, which has no brackets, in the order of their numbers; those of
hmdb51 and ucf101 are the names in the official lists, as words.
"""

import json
import re
from pathlib import Path

import pytest

from kinetext.data.datasets.hmdb51 import HMDB51
from kinetext.data.datasets.shapes import Shapes
from kinetext.data.datasets.ssv2 import SSv2
from kinetext.data.datasets.ucf101 import UCF101
from kinetext.data.motion.kinds import CLASSES, KINDS
from kinetext.texts.providers import bundled
from kinetext.texts.providers.base import Context, load_provider

NAMES = Path(__file__).parent / "banks"
BANKS = sorted(path.stem for path in bundled.BANKS.glob("*.yaml"))
MOST_WORDS = 24
MOST_TOKENS = 77  # of CLIP, its start and end token among them
# words, commas and semicolons, hyphens and apostrophes in words: no digit, bullet, quotation mark or line break
PLAIN = re.compile(r"[A-Za-z]+(?:(?:['-]|[,;]? )[A-Za-z]+)*\.?")
# an image-text model sees what is negated, and nobody sees a purpose
UNSEEN = re.compile(r"\b(not|never|without|unlike|cannot|in order to|wants?|tr(y|ies) to|intends?)\b|n't\b")


def class_names(bank):
    """The classes that a bank has to have."""
    return (
        Shapes(Shapes.Config(kinds=tuple(KINDS))).labels()
        if bank == "shapes"
        else (NAMES / f"{bank}.txt").read_text("utf-8").splitlines()
    )


def require_steps(texts):
    """Assert that a class has a start, steps, an end, and two sentences about the whole movement, in this order."""
    *moments, first_whole, second_whole = [text.position for text in texts]
    assert first_whole is None
    assert second_whole is None
    assert len(moments) >= 3
    assert moments == [round(step / (len(moments) - 1), 4) for step in range(len(moments))]


def has_words(text, words):
    """Whether words stand in a text one after the other."""
    return re.search(rf"\b{re.escape(words)}\b", text) is not None


def faults(classes, names):
    """What is wrong with the classes of a bank, a line each."""
    messages = [f"no class '{name}'" for name in names if name not in classes]
    messages += [f"'{label}' is no class" for label in classes if label not in names]
    seen = set()
    for label, phases in classes.items():
        parts = [phase for phase in phases if phase != "appearance"]
        expected = [part for part in bundled.ROW_ORDER if part != "steps" or part in phases]
        if parts != expected or not all(phases.values()):
            messages.append(f"'{label}' needs start, end and whole, and may have steps before end")
        if sum(len(phases[phase]) for phase in bundled.ROW_ORDER if phase in phases) < 3:
            messages.append(f"'{label}' has fewer than three sentences")
        others = [name.casefold() for name in names if not has_words(label.casefold(), name.casefold())]
        for phase in phases:
            for number, sentence in enumerate(phases[phase]):
                plain = sentence.casefold()
                # classes with steps may share moments; check_texts compares all of them
                shareable = "steps" in phases and phase not in ("whole", "appearance")
                key = (phase, label, plain) if shareable else (phase, plain)
                if phase == "steps":  # a moment may look like an earlier one
                    key = (phase, label, number)
                if key in seen:
                    messages.append(f"said twice: {sentence}")
                seen.add(key)
                if len(plain.split()) > MOST_WORDS:
                    messages.append(f"over {MOST_WORDS} words: {sentence}")
                if not PLAIN.fullmatch(sentence):
                    messages.append(f"not plain words: {sentence}")
                if UNSEEN.search(plain):
                    messages.append(f"negation or purpose: {sentence}")
                if plain.rstrip(".") == label.casefold():
                    messages.append(f"only the name: {sentence}")
                if phase != "appearance" and any(has_words(plain, name) for name in others):
                    messages.append(f"another class's name: {sentence}")
    return messages


@pytest.mark.parametrize("bank", BANKS)
def test_bank_is_complete_and_clean(bank):
    content = bundled.read_bank(bank)
    assert list(content) == ["source", "classes"]
    assert content["source"].startswith("written ")
    assert faults(content["classes"], class_names(bank)) == []
    # YAML silently keeps the last of two equal keys
    keys = re.findall(r"^  \S.*:$", (bundled.BANKS / f"{bank}.yaml").read_text("utf-8"), flags=re.M)
    assert len(keys) == len(content["classes"])
    # about: appearance serves the whole bank or is refused
    assert len({"appearance" in phases for phases in content["classes"].values()}) == 1


@pytest.mark.parametrize("bank", ["hmdb51", "k400", "ssv2", "ucf101"])
def test_no_sentence_begins_with_a_pronoun(bank):
    """Each sentence is encoded alone, so the noun of `it` in another sentence is lost."""
    sentences = [
        s for phases in bundled.read_bank(bank)["classes"].values() for phase in phases.values() for s in phase
    ]
    assert [s for s in sentences if re.match(r"(it|they|its|their)\b", s, flags=re.I)] == []


@pytest.mark.parametrize(
    "bank", [bank for bank in BANKS if "appearance" in next(iter(bundled.read_bank(bank)["classes"].values()))]
)
def test_appearance_has_the_form_of_the_descriptions_in_sentences_that_occur_once(bank):
    seen = set()
    for label in class_names(bank):
        motion, looks = (
            load_provider("", "bundled", {"bank": bank, "about": about}).describe(label, [], Context())
            for about in ("motion", "appearance")
        )
        assert [text.position for text in looks] == [text.position for text in motion]
        sentences = {text.sentence.casefold() for text in looks}
        assert len(sentences) == len(looks)
        assert not sentences & seen
        seen |= sentences


CHANGING = re.compile(  # in shapes: places, sizes, states and brightness, which a motion can change
    r"\b(left|right|top|bottom|centre|middle|up|down|small|medium|large|faint (shape|figure)|nothing|open|closed|inside the"
    r"|outside|far|close|near|dark|grey|light|bright|red|green|blue|yellow|purple|pointing|round|before|after|then|first"
    r"|once|twice|times|fast|slow)\b|\w{3,}ing\b"
)


def test_appearance_of_shapes_is_the_same_for_rivals_in_other_words():
    classes = bundled.read_bank("shapes")["classes"]
    for labels in CLASSES.values():
        looks = [classes[label]["appearance"] for label in labels]
        for sentences in zip(*looks, strict=False):
            facts = {
                re.sub(
                    r"^(a|one|a single|two|a pair of) (flat|plain|simple|geometric|drawn) (shapes?|figures?)?", "", s
                )
                for s in sentences
            }
            assert len(facts) == 1, sentences
        for of_class in looks:
            assert not any(map(CHANGING.search, of_class)), of_class


@pytest.mark.parametrize("bank", BANKS)
def test_sentences_fit_into_clip(bank):
    from kinetext.backbones.library import open_clip  # imports it faster than open_clip itself

    tokenizer = open_clip().get_tokenizer("ViT-B-32")
    sentences = [
        s for phases in bundled.read_bank(bank)["classes"].values() for phase in phases.values() for s in phase
    ]
    assert max(len(tokenizer.encode(sentence)) + 2 for sentence in sentences) <= MOST_TOKENS


@pytest.mark.parametrize(
    ("phase", "sentences", "fault"),
    [
        ("start", [], "needs start, end and whole"),
        ("start", ["It hangs high"], "said twice"),  # of another class
        ("whole", ["it climbs", "it climbs"], "said twice"),
        ("whole", [" ".join(["up"] * (MOST_WORDS + 1))], "over 24 words"),
        ("whole", ["1. it climbs"], "not plain words"),
        ("whole", ["- it climbs"], "not plain words"),
        ("whole", ["it 'climbs' higher"], "not plain words"),
        ("whole", ["it climbs without a stop"], "negation or purpose"),
        ("whole", ["it doesn't sink"], "negation or purpose"),
        ("whole", ["Moving up."], "only the name"),
        ("end", ["it is moving down now"], "another class's name"),
    ],
)
def test_each_fault_is_found(phase, sentences, fault):
    classes = {
        "moving down": {"start": ["it hangs high"], "end": ["it lies low"], "whole": ["it sinks", "it loses height"]},
        "moving up": {"start": ["it is low"], "end": ["it's at the top"], "whole": ["it climbs", "it gains height"]},
    }
    assert faults(classes, list(classes)) == []
    classes["moving up"][phase] = sentences
    messages = faults(classes, list(classes))
    assert len(messages) == 1, messages
    assert fault in messages[0]


def test_missing_and_unknown_classes_and_too_few_sentences_are_named():
    classes = {"rising": {"start": ["low"], "end": ["high"], "whole": []}}
    assert faults(classes, ["falling"]) == [
        "no class 'falling'",
        "'rising' is no class",
        "'rising' needs start, end and whole, and may have steps before end",
        "'rising' has fewer than three sentences",
    ]


def test_ssv2_describes_every_class_of_the_official_list(tmp_path):
    dataset = SSv2(SSv2.Config(root=str(tmp_path), annotations=str(tmp_path)))
    names = class_names("ssv2")
    assert len(names) == len(set(names)) == dataset.published()["classes"]
    assert names == sorted(names)  # the official numbers follow the alphabet
    for part, content in (("train", []), ("validation", []), ("labels", {n: str(i) for i, n in enumerate(names)})):
        (tmp_path / f"something-something-v2-{part}.json").write_text(json.dumps(content))
    for label in dataset.labels():
        texts = load_provider("", "bundled", {"bank": "ssv2"}).describe(label, [], Context())
        require_steps(texts)


def test_ssv2_distinguishes_mirrored_classes_by_words():
    """CLIP's text tower is close to a bag of words: `left to right` and `right to left` are nearly one text to it."""
    seen = {}
    for label, phases in bundled.read_bank("ssv2")["classes"].items():
        for sentence in (sentence for phase in phases.values() for sentence in phase):
            words = tuple(sorted(set(re.findall("[a-z]+", sentence)) - {"a", "an", "the"}))
            assert seen.setdefault(words, label) == label, (
                f"'{label}' has only the words of '{seen[words]}': {sentence}"
            )


@pytest.mark.parametrize(("plugin", "count"), [(HMDB51, 51), (UCF101, 101)])
@pytest.mark.parametrize("about", ["motion", "appearance"])
def test_official_classes_are_described_under_the_names_of_the_loader(tmp_path, plugin, count, about):
    bank = plugin.__module__.rpartition(".")[2]
    names = class_names(bank)
    folders = [name.replace(" ", "_" if bank == "hmdb51" else "") for name in names]
    lists = {f"{name}_test_split1.txt": "" for name in folders}
    numbers = "".join(f"{n} {name}\n" for n, name in enumerate(folders, start=1))
    lists |= {"classInd.txt": numbers, "trainlist01.txt": "", "testlist01.txt": ""}
    for file, content in lists.items():
        (tmp_path / file).write_text(content)
    labels = plugin(plugin.Config(root=str(tmp_path), annotations=str(tmp_path))).labels()
    assert labels == names
    assert len(set(labels)) == count
    for label in labels:
        texts = load_provider("", "bundled", {"bank": bank, "about": about}).describe(label, [], Context())
        require_steps(texts)
        assert {text.kind for text in texts} == {about}

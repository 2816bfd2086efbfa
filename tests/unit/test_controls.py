"""Controls: descriptions at other classes, random words, and appearance."""

from collections import Counter

import pytest

from chat_server import about_the_class
from chat_world import describe_table, options, serving, write_classes
from describe_world import LABELS, write_world
from kinetext.config.texts import TextOptions
from kinetext.core.tables import read_metadata, read_rows
from kinetext.plan import check_config
from kinetext.texts.describe import describe_classes
from kinetext.texts.mining import top_rivals
from kinetext.texts.providers import bundled, random_words, shuffled, shuffled_steps, swapped
from kinetext.texts.providers.base import Context, Text, load_provider

SHAPES = {"module": "bundled", "options": {"bank": "shapes"}}


def table(folder, module, **options):
    """The rows and the metadata of a table of texts."""
    world = write_world(folder, name="mine", options=TextOptions(module=module, options=options))
    describe_classes(**world)
    return read_rows("texts", world["output"]), read_metadata(world["output"])


def sentences(rows, label, kind="motion"):
    return [(row["sentence"], row["position"]) for row in rows if row["label"] == label and row["kind"] == kind]


@pytest.mark.parametrize("seed", range(5))
def test_shuffled_gives_every_class_all_sentences_of_another(tmp_path, seed):
    source, _ = table(tmp_path / "own", "bundled")
    rows, metadata = table(tmp_path / "shuffled", "shuffled", of=SHAPES, seed=seed)
    assert metadata == {"control": "shuffled"}
    givers = {label: [k for k in LABELS if sentences(rows, label) == sentences(source, k)] for label in LABELS}
    assert sorted(k for (k,) in givers.values()) == sorted(LABELS)
    for label, (giver,) in givers.items():
        assert label != giver
        assert sentences(rows, label, "name") == [(label, None)]
        motion = [row for row in rows if row["label"] == label and row["kind"] == "motion"]
        assert {row["source"] for row in motion} == {
            f"shuffled, written about '{giver}': {bundled.read_bank('shapes')['source']}"
        }


def test_shuffled_is_one_cycle_determined_by_the_seed():
    labels = {f"class {n}" for n in range(20)}
    cycles = [shuffled.random_givers(labels, seed) for seed in range(10)]
    assert cycles[0] == shuffled.random_givers(labels, 0)
    assert len({tuple(sorted(giver.items())) for giver in cycles}) == 10
    for giver in cycles:
        assert set(giver) == set(giver.values()) == labels
        assert not any(label == of for label, of in giver.items())
    assert shuffled.random_givers({"alone"}, 0) == {}


def test_swapped_exchanges_the_sentences_of_a_pair(tmp_path):
    source, _ = table(tmp_path / "own", "bundled")
    rows, metadata = table(tmp_path / "swapped", "swapped", of=SHAPES)
    assert metadata == {"control": "swapped"}
    # of the rule `features` and after it `text`: rising has falling, falling has growing, growing has shrinking
    for one, other in (("rising", "falling"), ("growing", "shrinking")):
        assert sentences(rows, one) == sentences(source, other)
        assert sentences(rows, other) == sentences(source, one)


def test_groups_of_swapped():
    assert swapped.groups({"a": ["b"], "b": ["a"], "c": ["d"], "d": ["c"]}) == [["a", "b"], ["c", "d"]]
    # b and c are each other's first; a then takes the next that is free
    assert swapped.groups({"a": ["b", "d"], "b": ["c", "a"], "c": ["b"], "d": []}) == [["b", "c"], ["a", "d"]]
    # nobody is free for a: it joins its first rival and that one's partner; e has no rivals
    assert swapped.groups({"a": ["b"], "b": ["c", "a"], "c": ["b"], "e": []}) == [["b", "c", "a"]]
    assert swapped.groups({}) == []


def test_every_class_with_a_rival_is_in_one_group_of_two_or_more():
    import numpy as np

    for seed in range(50):
        random = np.random.default_rng(seed)
        size = int(random.integers(2, 12))
        labels = [f"class {n}" for n in range(size)]
        scores_KK = random.random((size, size))
        scores_KK = scores_KK + scores_KK.T
        rivals: dict[str, list[str]] = {label: [] for label in labels}
        for row in top_rivals(scores_KK, labels, "features", 3):
            rivals[row["label"]].append(row["rival"])
        groups = swapped.groups(rivals)
        assert sorted(label for group in groups for label in group) == sorted(labels)
        assert all(len(group) >= 2 for group in groups)
        assert groups == swapped.groups(dict(reversed(rivals.items())))


def test_class_without_a_partner_has_a_failed_row():
    texts = {"a": [Text("a", "a"), Text("a", "it moves", kind="motion")], "b": [Text("b", "it rests", kind="motion")]}
    provider = load_provider("", "swapped", {"of": SHAPES})
    rearranged = provider.rearrange(texts, {"a": ["c"], "b": []})  # c is not among the described
    assert rearranged["a"][0] == texts["a"][0]
    assert [t.status for texts in rearranged.values() for t in texts if t.kind != "name"] == [
        "failed: no other class to take sentences from"
    ] * 2


def test_statuses_are_those_of_the_source(tmp_path, monkeypatch):
    bank = {
        "source": "test",
        "classes": {k: {"start": [f"{k} begins low"], "end": [], "whole": ["it moves"]} for k in LABELS},
    }
    monkeypatch.setattr(bundled, "read_bank", lambda name: bank)
    source, _ = table(tmp_path / "own", "bundled")
    rows, _ = table(tmp_path / "shuffled", "shuffled", of=SHAPES)
    statuses = [Counter(row["status"].partition("'")[0] for row in table) for table in (source, rows)]
    assert statuses[0] == statuses[1]
    assert statuses[0]["pair: rival class "] + statuses[0]["shared: class "] == len(LABELS)


def test_random_words_follow_the_name():
    context = Context(LABELS)
    texts = load_provider("", "random_words", {"sentences": 4, "words": 3}).describe("rising", [], context)
    assert [text.position for text in texts] == [0.0, 1.0, *[None] * 4]
    assert all(text.sentence.startswith("rising, which has ") for text in texts)
    noise = [text.sentence.removeprefix("rising, which has ").split() for text in texts]
    assert all(len(words) == 3 for words in noise)
    assert all(set(words) <= set(random_words.WORDS) for words in noise[::2])
    assert not any(set(words) & set(random_words.WORDS) for words in noise[1::2])

    def noise(label, **options):
        return [
            t.sentence.removeprefix(label)
            for t in load_provider("", "random_words", options).describe(label, [], context)
        ]

    assert noise("rising") != noise("falling")
    assert noise("rising") != noise("rising", seed=1)
    assert noise("rising", shared=True) == noise("falling", shared=True)


def test_bank_with_steps_has_positions_and_appearance_has_the_same(monkeypatch):
    moving = {"start": ["low"], "steps": ["half up", "nearly up"], "end": ["high"], "whole": ["it rises"]}
    bank = {"source": "test", "classes": {"rising": moving | {"appearance": ["a ball", "a wall"]}}}
    monkeypatch.setattr(bundled, "read_bank", lambda name: bank)
    rows = {
        about: load_provider("", "bundled", {"about": about}).describe("rising", [], Context(["rising"]))
        for about in ("motion", "appearance")
    }
    assert [text.sentence for text in rows["motion"]] == ["low", "half up", "nearly up", "high", "it rises"]
    looks = ["a ball", "a wall", "a picture of a ball", "a picture of a wall", "a still image with a ball"]
    assert [text.sentence for text in rows["appearance"]] == looks
    for texts in rows.values():
        assert [text.position for text in texts] == [0.0, 0.3333, 0.6667, 1.0, None]
    random = load_provider("", "random_words", {"steps": 2, "sentences": 1}).describe("rising", [], Context(["rising"]))
    assert [text.position for text in random] == [0.0, 0.3333, 0.6667, 1.0, None]


def test_shuffled_steps_keeps_sentences_and_changes_their_order(tmp_path):
    source, _ = table(tmp_path / "one", "bundled")
    rows, metadata = table(tmp_path / "two", "shuffled_steps", of=SHAPES)
    assert metadata == {"control": "shuffled_steps"}
    for label in LABELS:
        right, wrong = sentences(source, label), sentences(rows, label)
        assert [text for text, _ in right] == [text for text, _ in wrong]
        moments, moved = ([position for _, position in rows if position is not None] for rows in (right, wrong))
        assert set(moved) == set(moments)
        assert moved != moments


@pytest.mark.parametrize("seed", range(20))
def test_a_wrong_order_is_a_permutation_and_not_the_right_one(seed):
    rows = [Text("up", f"s{n}", "motion", n / 4) for n in range(5)] + [Text("up", "w", "motion"), Text("up", "up")]
    rows += [Text("up", f"r{n}", "motion", float(n), rival="down") for n in range(2)]
    moved = shuffled_steps.shuffle_positions(rows, str(seed))
    assert sorted(text.position for text in moved[:5]) == [text.position for text in rows[:5]]
    assert [text.position for text in moved[:5]] != [text.position for text in rows[:5]]
    assert [text.position for text in moved[5:]] == [None, None, 1.0, 0.0]
    assert shuffled_steps.shuffle_positions(rows[4:5], str(seed))[0].position == 1.0  # there is no other order


def test_names_can_be_the_descriptions(tmp_path):
    rows, metadata = table(tmp_path, "names", as_descriptions=True, steps=1)
    assert metadata == {"control": "names"}
    repeated = [(row["sentence"], row["position"]) for row in rows if row["kind"] == "repeated_name"]
    assert repeated == [(label, position) for label in LABELS for position in (0.0, 0.5, 1.0, None)]
    assert {row["status"] for row in rows} == {"ok"}
    assert load_provider("", "names", {"as_descriptions": True}).gives_descriptions
    assert not load_provider("", "names", {}).gives_descriptions


def test_random_words_exclude_words_of_class_names():
    named = [f"playing {word}" for word in random_words.WORDS[5:]]
    texts = load_provider("", "random_words", {"words": 5}).describe(named[0], [], Context(named))
    assert set(texts[0].sentence.partition(" has ")[2].split()) == set(random_words.WORDS[:5])


def test_random_words_table_has_names_and_is_a_control(tmp_path):
    rows, metadata = table(tmp_path, "random_words")
    assert metadata == {"control": "random_words"}
    assert {row["status"] for row in rows} == {"ok"}
    assert Counter(row["kind"] for row in rows) == {"name": len(LABELS), "random": 5 * len(LABELS)}


def test_a_bank_with_too_few_sentences_about_appearance_is_refused():
    assert bundled.reworded(["A ball"], 5)[-1] == "a photo of a ball"
    with pytest.raises(ValueError, match="about: 1 sentences about appearance give no 6 distinct ones; use motion"):
        bundled.reworded(["A ball"], 6)


def test_appearance_is_distinct_in_two_classes_and_has_the_positions_of_the_descriptions(tmp_path):
    rows, metadata = table(tmp_path, "bundled", bank="shapes", about="appearance")
    assert metadata == {"control": "appearance"}
    assert {row["status"] for row in rows} == {"ok"}
    looks = {label: sentences(rows, label, "appearance") for label in LABELS}
    described, _ = table(tmp_path / "motion", "bundled", bank="shapes")
    for label in LABELS:
        assert [position for _, position in looks[label]] == [position for _, position in sentences(described, label)]
    everything = [sentence for of_class in looks.values() for sentence, _ in of_class]
    assert len(everything) == len(set(everything)) == 24


def test_bank_without_appearance_is_refused(tmp_path):
    with pytest.raises(
        ValueError, match=r"texts.mine.options.about: the bank 'ssv2' has no sentences about appearance"
    ):
        table(tmp_path, "bundled", bank="ssv2", about="appearance")


def test_shuffled_appearance_is_a_control_of_appearance(tmp_path):
    rows, metadata = table(tmp_path, "shuffled", of={"module": "bundled", "options": {"about": "appearance"}})
    assert metadata == {"control": "appearance"}
    assert len(sentences(rows, "rising", "appearance")) == 7


def test_names_are_a_control_and_motion_is_none(tmp_path):
    assert table(tmp_path / "names", "names")[1] == {"control": "names"}
    assert table(tmp_path / "bundled", "bundled")[1] == {"control": None}


@pytest.mark.parametrize("module", ["shuffled", "swapped"])
@pytest.mark.parametrize(
    ("of", "complaint"),
    [
        ({"module": "bundeld"}, r"options.of: no module 'bundeld' among texts; did you mean 'bundled'\?"),
        ({"module": "names"}, r"options.of.module: names has no descriptions of its own"),
        ({"module": "captions"}, r"options.of.module: captions has no descriptions of its own"),
        (
            {"module": "swapped", "options": {"of": SHAPES}},
            r"options.of.module: swapped has no descriptions of its own",
        ),
        ({"module": "bundled", "options": {"bnk": "x"}}, r"options.of.options.bnk: unknown key; did you mean 'bank'\?"),
        ({"module": "bundled", "options": {"bank": "shape"}}, r"options.of.options.bank: no bank 'shape'"),
        ({}, r"options.of.module: is missing"),
    ],
)
def test_unsuitable_source_is_refused(tmp_path, module, of, complaint):
    with pytest.raises(ValueError, match=rf"texts.mine.{complaint}"):
        table(tmp_path, module, of=of)
    plain = {
        "backbones": {"tiny": {}},
        "datasets": {"shapes": {"frames": {"size_px": 64}}},
        "texts": {"mine": {"module": module, "options": {"of": of}}},
        "methods": {"zero_shot": {}},
        "experiments": {
            "one": {"datasets": ["shapes"], "backbone": "tiny", "methods": ["zero_shot"], "texts": ["mine"]}
        },
    }
    with pytest.raises(ValueError, match=rf"texts.mine.{complaint}"):
        check_config(plain, "config.yaml")


def test_source_of_a_control_is_prepared(tmp_path, monkeypatch, capfd):
    """Only prepared can chat_api send a batch, and refuse what costs too much."""
    write_classes(tmp_path, LABELS)
    with serving(monkeypatch) as server:
        server.script = about_the_class
        asked = options(server, batch=True, batch_poll_s=0.01, price_in=1000.0, price_out=1000.0)
        of = {"module": "chat_api", "options": asked | {"max_usd": 0.1}}
        with pytest.raises(ValueError, match="nothing was sent"):
            describe_table(tmp_path, {"of": of}, module="shuffled")
        assert server.requests == []
        capfd.readouterr()
        rows = describe_table(tmp_path, {"of": {"module": "chat_api", "options": asked}}, module="shuffled")
        assert capfd.readouterr().err.count("4 of 4 classes to request") == 1
        assert describe_table(tmp_path, asked) != rows  # its own table, from the same replies
        assert (len(server.batches), len(server.requests)) == (1, 4)
    assert {row["status"] for row in rows} == {"ok"}
    assert all(row["source"].startswith("shuffled, written about '") for row in rows)
    assert not any(row["label"] in row["sentence"] for row in rows)


def test_files_of_a_control_are_those_of_its_source():
    (file,) = load_provider("", "swapped", {"of": SHAPES}).list_files()
    assert [file] == load_provider("", "bundled", {}).list_files() == [bundled.BANKS / "shapes.yaml"]
    assert file.is_file()
    assert load_provider("", "shuffled", {"of": {"module": "chat_api"}}).list_files() == []

"""Which clips train and test under each protocol, and that none does both."""

import pytest
import yaml

from kinetext.config.data import PROTOCOL, ProtocolOptions
from kinetext.core import tables
from kinetext.data import vificlip
from kinetext.data.splits import protocol_splits, read_splits, split_clips

LABELS = ["push", "pull", "jump"]
PLAIN = ProtocolOptions()


def clips(train=6, test=2, val=0, labels=LABELS):
    counts = {"train": train, "val": val, "test": test}
    return [
        {"clip_id": f"{split}/{label}/{n}.mp4", "split": split, "label": label}
        for label in labels
        for split, count in counts.items()
        for n in range(count)
    ]


def ids(split):
    return [row["clip_id"] for row in split.rows]


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("supervised", ("supervised", None, None, None)),
        ("few_shot_16", ("few_shot", "16", None, None)),
        ("few_shot_2_draw3", ("few_shot", "2", "3", None)),
        ("base_to_novel", ("base_to_novel", None, None, None)),
        ("base_to_novel_16_draw1", ("base_to_novel", "16", "1", None)),
        ("zero_shot_from_k400", (None, None, None, "k400")),
    ],
)
def test_names_of_protocols(name, parts):
    match = PROTOCOL.fullmatch(name)
    assert tuple(match[key] for key in ("kind", "shots", "draw", "source")) == parts


@pytest.mark.parametrize(
    "name", ["few_shot", "few_shot_0", "supervised_4", "zero_shot_from_", "base_to_novel_draw1", "x"]
)
def test_other_names_are_refused(name):
    assert not PROTOCOL.fullmatch(name)


def test_supervised_takes_the_data_sets_own_splits():
    splits = protocol_splits(clips(val=1), LABELS, "supervised", PLAIN)
    assert {name: len(split.rows) for name, split in splits.items()} == {"train": 18, "val": 3, "test": 6}
    assert all(split.labels == LABELS for split in splits.values())


@pytest.mark.parametrize("shots", [2, 4])
def test_few_shot_draws_k_clips_of_each_class(shots):
    rows = clips(val=5)
    splits = protocol_splits(rows, LABELS, f"few_shot_{shots}", PLAIN)
    for label in LABELS:
        assert sum(row["label"] == label for row in splits["train"].rows) == shots
        assert sum(row["label"] == label for row in splits["val"].rows) == shots
    assert ids(splits["test"]) == [row["clip_id"] for row in rows if row["split"] == "test"]


def test_a_draw_is_the_same_each_time_and_others_differ():
    drawn = [
        ids(protocol_splits(rows, LABELS, name, PLAIN)["train"])
        for name, rows in [
            ("few_shot_2", clips()),
            ("few_shot_2_draw0", clips()[::-1]),
            ("few_shot_2_draw1", clips()),
            ("few_shot_2", clips(labels=[*LABELS, "wave"])),
        ]
    ]
    assert drawn[0] == drawn[1][::-1] != drawn[2]
    assert drawn[0] == [name for name in drawn[3] if "wave" not in name]


def test_all_clips_of_a_class_with_fewer_are_drawn():
    rows = clips()[:-7]  # one training clip and no test clip of jump
    splits = protocol_splits(rows, LABELS, "few_shot_4", PLAIN)
    assert sum(row["label"] == "jump" for row in splits["train"].rows) == 1


def test_a_list_of_shots_takes_precedence_over_a_draw(tmp_path):
    rows = clips()
    rows[0]["clip_id"] = "train/push/-a b.mp4"
    (tmp_path / "2.txt").write_text("-a b.mp4 0\ntrain/pull/1.mp4\n\n")
    options = ProtocolOptions(shots={"few_shot_2": str(tmp_path / "2.txt")})
    splits = protocol_splits(rows, LABELS, "few_shot_2", options)
    assert ids(splits["train"]) == ["train/push/-a b.mp4", "train/pull/1.mp4"]
    assert len(protocol_splits(rows, LABELS, "few_shot_4", options)["train"].rows) == 12
    (tmp_path / "2.txt").write_text("train/pull/1.mp4\ntest/pull/1.mp4\n")
    with pytest.raises(ValueError, match=r"2.txt:2: 'test/pull/1.mp4' is not a training clip"):
        protocol_splits(rows, LABELS, "few_shot_2", options)
    (tmp_path / "2.txt").write_text("train/pull/1.mp4\ntrain/pull/1.mp4 1\n")
    with pytest.raises(ValueError, match=r"2.txt:2: 'train/pull/1.mp4 1' is also in an earlier line"):
        protocol_splits(rows, LABELS, "few_shot_2", options)
    (tmp_path / "2.txt").write_text("1.mp4 0\n")
    with pytest.raises(ValueError, match=r"2.txt:1: '1.mp4 0' matches 3 training clips"):
        protocol_splits(rows, LABELS, "few_shot_2", options)


def test_each_draw_has_its_own_list(tmp_path):
    for name in ("few_shot_1", "few_shot_1_draw1", "base_to_novel_1"):
        number = {"few_shot_1": 1, "few_shot_1_draw1": 2, "base_to_novel_1": 4}[name]
        (tmp_path / name).write_text(f"train/push/{number}.mp4\ntrain/jump/{number}.mp4\n")
    shots = {name: str(tmp_path / name) for name in ("few_shot_1", "few_shot_1_draw1", "base_to_novel_1")}
    options = ProtocolOptions(novel=["pull"], shots=shots)

    def trained(protocol):
        return ids(protocol_splits(clips(), LABELS, protocol, options)["train"])

    assert trained("few_shot_1") == trained("few_shot_1_draw0") == ["train/push/1.mp4", "train/jump/1.mp4"]
    assert trained("few_shot_1_draw1") == ["train/push/2.mp4", "train/jump/2.mp4"]
    assert trained("base_to_novel_1") == ["train/push/4.mp4", "train/jump/4.mp4"]
    assert len(trained("few_shot_2_draw1")) == 6  # no list of two shots: drawn
    with pytest.raises(
        ValueError, match=r"few_shot_1_draw2 has no list, but there are lists for few_shot_1_draw0, few_shot_1_draw1"
    ):
        trained("few_shot_1_draw2")


@pytest.mark.parametrize(
    ("shots", "message"),
    [
        ({4: "a.txt"}, "'4' is no protocol with K shots; name one, e.g. few_shot_4_draw1"),
        ({"supervised": "a.txt"}, "'supervised' is no protocol with K shots"),
        ({"few_shot_4": "a.txt", "few_shot_4_draw0": "b.txt"}, "a protocol without _draw is its draw 0"),
    ],
)
def test_keys_of_lists_are_protocols(shots, message):
    with pytest.raises(ValueError, match=message):
        ProtocolOptions(shots=shots)


def test_novel_classes_never_train():
    splits = protocol_splits(clips(val=1), LABELS, "base_to_novel_2", ProtocolOptions(novel=["pull"]))
    assert {row["label"] for name in ("train", "val", "test") for row in splits[name].rows} == {"push", "jump"}
    assert len(splits["train"].rows) == 4
    assert ids(splits["novel"]) == ["test/pull/0.mp4", "test/pull/1.mp4"]
    assert (splits["test"].labels, splits["novel"].labels) == (["push", "jump"], ["pull"])
    assert ids(splits["novel_among_all"]) == ids(splits["novel"])
    assert ids(splits["test_among_all"]) == ids(splits["test"])
    assert splits["novel_among_all"].labels == splits["test_among_all"].labels == LABELS


def test_the_half_with_fewer_training_clips_is_novel():
    rows = clips()[:8] + clips()[10:]  # push 6 training clips, pull 4, jump 6
    splits = protocol_splits(rows, LABELS, "base_to_novel", ProtocolOptions(novel="half"))
    assert splits["novel"].labels == ["pull"]  # the smaller half of three


@pytest.mark.parametrize("val", [["push"] * 3, ["pull"] * 3, ["jump"] * 3, []])
def test_validation_clips_count_for_the_half_so_that_a_draw_of_them_changes_nothing(val):
    rows, waiting = clips(train=10), list(val)
    for row in rows:
        if row["split"] == "train" and row["label"] in waiting:
            waiting.remove(row["label"])
            row["split"] = "val"
    splits = protocol_splits(rows, LABELS, "base_to_novel", ProtocolOptions(novel="half"))
    assert splits["novel"].labels == ["push"]  # the first in the official order, as all have equally many


def test_the_half_of_hmdb51_is_that_of_vificlip():
    names = vificlip_names("hmdb51")
    labels = sorted(names["base"] + names["novel"])  # the official order
    rows = clips(train=70, labels=labels)
    novel = [
        protocol_splits(rows, labels, "base_to_novel", ProtocolOptions(novel=rule))["novel"].labels
        for rule in ("half", "vificlip")
    ]
    assert novel[0] == novel[1] == sorted(names["novel"])


@pytest.mark.parametrize(
    ("dataset", "base", "novel", "first"),
    [
        ("hmdb51", 26, 25, "brush hair"),
        ("ucf101", 51, 50, "PlayingViolin"),
        ("ssv2", 87, 87, "Poking a hole into some substance"),
        ("kinetics", 200, 200, "tying bow tie"),
    ],
)
def test_vificlip_holds_out_its_classes_whatever_their_case_and_signs(dataset, base, novel, first):
    names = vificlip_names(dataset)
    assert (len(names["base"]), len(names["novel"]), names["novel"][0]) == (base, novel, first)
    written = {name: name.replace("(", "").upper() for name in names["base"] + names["novel"]}
    assert vificlip.novel_classes(sorted(written.values())) == {written[name] for name in names["novel"]}


def test_vificlip_has_no_list_for_other_classes():
    names = vificlip_names("hmdb51")
    labels = sorted(names["base"] + names["novel"])[1:]
    with pytest.raises(ValueError, match=r"these 50 classes are none of them \(nearest: hmdb51; .* 'brush hair'\)"):
        protocol_splits(clips(labels=labels), labels, "base_to_novel", ProtocolOptions(novel="vificlip"))


def vificlip_names(dataset):
    return yaml.safe_load(vificlip.CLASSES.read_text())[dataset]


@pytest.mark.parametrize(("protocol", "order"), [("few_shot_2", "novel base"), ("base_to_novel_2", "base")])
@pytest.mark.parametrize("swap", [True, False])
def test_swapped_class_numbers_in_vificlips_lists_of_hmdb51_are_named(tmp_path, capsys, protocol, order, swap):
    names = vificlip_names("hmdb51")
    numbered = [label for part in order.split() for label in names[part]]
    labels = sorted(names["base"] + names["novel"])
    rows = clips(labels=labels)
    lines = []
    for row in rows:
        if row["split"] == "train" and row["label"] in numbered and row["clip_id"][-5] in "01":
            label = vificlip.SWAPPED.get(row["label"], row["label"]) if swap else row["label"]
            lines.append(f"{row['clip_id']} {numbered.index(label)}\n")
    (tmp_path / "list.txt").write_text("".join(lines))
    options = ProtocolOptions(novel="vificlip", shots={protocol: str(tmp_path / "list.txt")})
    trained = protocol_splits(rows, labels, protocol, options)["train"].rows
    assert all(row["clip_id"].split("/")[1] == row["label"] for row in trained)
    assert ("sword and sword exercise, are swapped" in capsys.readouterr().err) == swap


def test_a_novel_class_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match=r"novel: 'pul' is not a class; did you mean 'pull'\?"):
        protocol_splits(clips(), LABELS, "base_to_novel", ProtocolOptions(novel=["pul"]))


def test_shots_are_drawn_among_clips_with_frames(tmp_path):
    broken = [f"train/push/{n}.mp4" for n in range(4)]
    written = write(tmp_path, clips(), pictures=lambda clip: None if clip in broken else clip)
    split_clips("x", *written, "few_shot_2", PLAIN, tmp_path / "splits.parquet")
    trained = ids(read_splits(tmp_path / "splits.parquet")["train"])
    assert [name for name in trained if "push" in name] == ["train/push/4.mp4", "train/push/5.mp4"]


def test_nothing_to_train_on_is_an_error():
    with pytest.raises(ValueError, match=r"no training clips; splits found: \['test'\]"):
        protocol_splits(clips(train=0), LABELS, "supervised", PLAIN)


def write(folder, rows, labels=LABELS, pictures=lambda clip: clip):
    """The tables clips and frames; `pictures` gives each clip's content hash."""
    tables.write_table("clips", rows, folder / "clips.parquet", {"labels": labels})
    hashes = [{"clip_id": row["clip_id"], "content_hash": pictures(row["clip_id"])} for row in rows]
    tables.write_shard("frames", [hashes], folder / "0.arrow")
    return folder / "clips.parquet", [folder / "0.arrow"]


def test_the_table_is_what_was_split(tmp_path):
    options = ProtocolOptions(novel=["pull"])
    split_clips("x", *write(tmp_path, clips(val=1)), "base_to_novel", options, tmp_path / "splits.parquet")
    expected = protocol_splits(clips(val=1), LABELS, "base_to_novel", options)
    splits = read_splits(tmp_path / "splits.parquet")
    assert {name: (ids(split), split.labels) for name, split in splits.items()} == {
        name: (ids(split), split.labels) for name, split in expected.items()
    }


def test_splits_carry_the_group_of_each_clip(tmp_path):
    rows = [row | {"group": f"film of {row['clip_id']}" if row["split"] == "test" else None} for row in clips()]
    split_clips("x", *write(tmp_path, rows), "supervised", PLAIN, tmp_path / "splits.parquet")
    for name, split in read_splits(tmp_path / "splits.parquet").items():
        assert [row["group"] for row in split.rows] == [
            f"film of {row['clip_id']}" if name == "test" else None for row in split.rows
        ]


def test_captions_have_splits_without_classes(tmp_path):
    rows = [{"clip_id": str(n), "split": s, "captions": ["a"]} for n, s in enumerate(["train", "val", "test"])]
    split_clips("x", *write(tmp_path, rows, []), "supervised", PLAIN, tmp_path / "splits.parquet")
    assert {name: ids(split) for name, split in read_splits(tmp_path / "splits.parquet").items()} == {
        "train": ["0"],
        "val": ["1"],
        "test": ["2"],
    }


@pytest.mark.parametrize("protocol", ["supervised", "few_shot_6", "base_to_novel"])
def test_equal_pictures_in_training_and_test_are_refused_with_all_offenders(tmp_path, protocol):
    same = {"train/push/3.mp4": "P", "test/jump/1.mp4": "P", "val/jump/0.mp4": "Q", "test/push/0.mp4": "Q"}
    written = write(tmp_path, clips(val=1), pictures=lambda clip: same.get(clip, clip))
    output = tmp_path / "splits.parquet"
    with pytest.raises(ValueError, match=r"2 training clips are test clips, too: train/push/3.mp4 = test/jump/1.mp4"):
        split_clips("x", *written, protocol, ProtocolOptions(novel=["pull"]), output)
    assert (tmp_path / "overlap.txt").read_text() == "train/push/3.mp4\nval/jump/0.mp4\n"
    assert not output.exists()


def test_clips_without_frames_are_not_duplicates(tmp_path):
    written = write(tmp_path, clips(), pictures=lambda clip: None)
    split_clips("x", *written, "supervised", PLAIN, tmp_path / "splits.parquet")
    assert len(read_splits(tmp_path / "splits.parquet")["train"].rows) == 18


@pytest.fixture
def kinetics(tmp_path):
    """A data set that was trained on: its splits and shards."""
    (tmp_path / "source").mkdir()
    source, shards = write(tmp_path / "source", clips(labels=["Push", "running"]), ["Push", "running"])
    split_clips("source", source, shards, "supervised", PLAIN, tmp_path / "source/splits.parquet")
    return tmp_path / "source/splits.parquet", shards


def zero_shot(folder, kinetics, pictures=lambda clip: f"other {clip}", prefix="b/"):
    rows = [row | {"clip_id": prefix + row["clip_id"]} for row in clips()]
    written = write(folder, rows, pictures=pictures)
    split_clips("x", *written, "zero_shot_from_source", PLAIN, folder / "splits.parquet", *kinetics)
    return read_splits(folder / "splits.parquet")


def test_zero_shot_tests_all_classes_and_unseen_names(tmp_path, kinetics):
    splits = zero_shot(tmp_path, kinetics)
    assert {name: len(split.rows) for name, split in splits.items()} == {"train": 0, "val": 0, "test": 6, "unseen": 4}
    assert splits["test"].labels == LABELS
    assert splits["unseen"].labels == ["pull", "jump"]


def test_zero_shot_refuses_clips_that_the_other_data_set_trained_on(tmp_path, kinetics):
    with pytest.raises(ValueError, match=r"1 training clips are test clips, too: train/Push/2.mp4 = b/test/pull/0.mp4"):
        zero_shot(tmp_path, kinetics, lambda clip: "train/Push/2.mp4" if clip == "b/test/pull/0.mp4" else clip)
    assert (tmp_path / "overlap.txt").read_text() == "train/Push/2.mp4\n"

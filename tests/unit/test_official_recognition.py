"""The traps of the official recognition lists, and of lists that users write."""

import logging
import os
from pathlib import Path

import pytest
import yaml

import official
from kinetext.config.data import DatasetOptions
from kinetext.core import tables
from kinetext.data.datasets import ssv2
from kinetext.data.datasets.base import Clip, Dataset, build_dataset, set_aside
from kinetext.data.datasets.diving48 import dive
from kinetext.data.index import index_clips

OFFICIAL = [name for name in official.WRITERS if name != "csv"]


def built(name: str, options: dict) -> Dataset:
    return build_dataset(name, DatasetOptions(options=options))


def listed(name: str, options: dict) -> dict[str, Clip]:
    return {clip.clip_id: clip for clip in built(name, options).list_clips(Path("unused"))}


def rewrite(options: dict, name: str, old: str, new: str) -> None:
    """Replaces text in a list; the list is called `name`."""
    path = Path(options["list"]) if "list" in options else Path(options["annotations"]) / name
    content = path.read_text()
    assert old in content
    path.write_text(content.replace(old, new))


def refused(name: str, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        listed(name, options)


# ---- what all of them have in common


@pytest.mark.parametrize("name", official.WRITERS)
def test_an_absent_video_is_still_a_clip(tmp_path, name):
    options = official.WRITERS[name](tmp_path, real=False)
    complete = listed(name, options)
    for path in (tmp_path / "videos").rglob("*.*"):
        path.unlink()
    clips = listed(name, options)
    assert [(clip.clip_id, clip.split, clip.label) for clip in clips.values()] == [
        (clip.clip_id, clip.split, clip.label) for clip in complete.values()
    ]
    assert all(clip.error is None and not clip.path.exists() for clip in clips.values())
    assert all(clip.path.is_relative_to(tmp_path / "videos") for clip in clips.values())


@pytest.mark.parametrize("name", official.WRITERS)
def test_check_names_what_is_missing(tmp_path, name):
    options = official.WRITERS[name](tmp_path, real=False)
    dataset = built(name, options)
    dataset.check()
    assert all(path.is_file() for path in dataset.list_files())
    with pytest.raises(ValueError, match=r"root: no folder .*/nowhere; nearest existing parent: "):
        built(name, {**options, "root": str(tmp_path / "nowhere")}).check()
    for path in (tmp_path / "lists").iterdir():
        path.unlink()
    with pytest.raises(ValueError, match=r"annotations: .*/lists has no |list: there is no file .*/mine.csv"):
        dataset.check()


@pytest.mark.parametrize(
    ("name", "file", "old", "clip_id"),
    [
        ("kinetics", "train.csv", "abcdefghijk", "../../x_000003_000013"),
        ("ssv2", "something-something-v2-train.json", "42", "../../x"),
        ("hmdb51", "clap_test_split1.txt", "Hands_clap_u_nm_np1_fr_goo_0.avi", "clap/../../x"),
        ("ucf101", "testlist01.txt", "YoYo/v_YoYo_g01_c01.avi", "../../YoYo/x"),
        ("diving48", "Diving48_V2_train.json", "-mmq0PT-u8k_00150", "../../x"),
        ("csv", "mine.csv", "a/0.mp4", "../../x"),
    ],
)
def test_a_path_that_leads_out_of_the_root_is_not_read(tmp_path, name, file, old, clip_id):
    options = official.WRITERS[name](tmp_path / "data", real=False)
    rewrite(options, file, old, clip_id.removeprefix("clap/").removesuffix("_000003_000013"))
    (tmp_path / "x.mp4").touch()
    assert (listed(name, options)[clip_id].error or "").startswith("outside_root: ")


@pytest.mark.parametrize("name", OFFICIAL)
def test_validation_clips_are_set_aside_and_the_test_is_left_alone(tmp_path, name):
    options = official.WRITERS[name](tmp_path, real=False)
    before = listed(name, options)
    after = listed(name, {**options, "val_share": 0.999})
    assert "val" not in {clip.split for clip in before.values()}
    assert {i for i, clip in after.items() if clip.split == "test"} == {
        i for i, clip in before.items() if clip.split == "test"
    }
    assert "val" in {clip.split for clip in after.values()}
    assert "train" not in built(name, {**options, "val_share": 0.1}).published()


def test_the_draw_keeps_cuts_of_one_video_together_and_does_not_depend_on_other_clips():
    clips = [Clip(f"v{i}_c{j}", Path("x"), "train", "a", group=f"v{i}") for i in range(500) for j in range(2)]

    def drawn(seed: int, clips: list[Clip]) -> set[str]:
        aside = set_aside(clips, 0.2, seed)
        return {clip.clip_id for clip in aside if clip.split == "val"}

    val = drawn(0, clips)
    assert 0.15 < len(val) / len(clips) < 0.25
    assert all(f"{name[:-1]}{1 - int(name[-1])}" in val for name in val)
    assert drawn(0, clips[:300]) == {clip.clip_id for clip in clips[:300]} & val
    assert drawn(1, clips) != val


def test_the_published_sizes():
    def sizes(name: str, **options) -> dict[str, int]:
        return built(name, {"root": ".", "annotations": ".", **options}).published()

    assert sizes("ucf101") == {"train": 9537, "test": 3783, "classes": 101}
    assert sizes("ucf101", fold=3) == {"train": 9624, "test": 3696, "classes": 101}
    assert sizes("hmdb51", fold=2) == {"train": 3570, "test": 1530, "classes": 51}
    assert sizes("ssv2") == {"train": 168_913, "test": 24_777, "classes": 174}
    assert sizes("kinetics", variant=600) == {"classes": 600}
    assert sizes("diving48")["classes"] == 48


# ---- Kinetics


def test_kinetics_names_quotes_and_times(tmp_path):
    options = official.write_kinetics(tmp_path, real=False)
    clips = listed("kinetics", options)
    assert {i: (clip.split, clip.label) for i, clip in clips.items()} == {
        "-0WZKTu0xFk_000009_000019": ("train", "massaging person's head"),
        "abcdefghijk_000003_000013": ("train", "abseiling"),
        "ABcdefghijk_000003_000013": ("train", "riding, or walking, with horse"),
        "zzzzzzzzzz__000000_000010": ("test", "abseiling"),
    }
    assert all(clip.path.exists() for clip in clips.values())
    assert clips["ABcdefghijk_000003_000013"].path.name == "ABcdefghijk_000003_000013.mkv"  # by case


def test_kinetics_classes_are_sorted_as_with_underscores(tmp_path):
    options = official.write_kinetics(tmp_path, real=False)
    header = "label,youtube_id,time_start,time_end,split\n"
    rows = [
        f"{label},{i},0,10,train\n" for i, label in enumerate(["tap dancing", "tapPing", "abseiling", "tap dancing"])
    ]
    (tmp_path / "lists" / "train.csv").write_text(header + "".join(rows))
    dataset = built("kinetics", options)
    assert dataset.labels() == ["abseiling", "tapPing", "tap dancing"]


@pytest.mark.parametrize("path", ["abseiling/{}", "massaging person's head/{}", "videos_train/abseiling/{}", "{}"])
def test_kinetics_videos_may_be_in_class_folders_or_in_the_root(tmp_path, path):
    options = official.write_kinetics(tmp_path, real=False)
    label = "massaging person's head" if "massaging" in path else "abseiling"
    name = "-0WZKTu0xFk_000009_000019.mp4" if "massaging" in path else "abcdefghijk_000003_000013.mp4"
    for inner in {path, path.replace(" ", "_")}:
        target = tmp_path / "videos" / inner.format(name)
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(next((tmp_path / "videos").rglob(name)), target)
        assert next(c.path for c in listed("kinetics", options).values() if c.label == label) == target


def test_kinetics_test_clips_without_a_label_are_counted(tmp_path, caplog):
    options = official.write_kinetics(tmp_path, real=False)
    rewrite(options, "validate.csv", "abseiling,", ",")
    with caplog.at_level(logging.WARNING):
        assert {clip.split for clip in listed("kinetics", options).values()} == {"train"}
    assert "validate.csv: 1 clips without a label are left out" in caplog.text


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("validate.csv", "abseiling", "abseilin", r"validate.csv:2: 'abseilin' is none of .*did you mean 'abseiling'"),
        ("train.csv", "3.0", "soon", r"train.csv:3: time_start is 'soon'; it must be a number of seconds"),
        ("train.csv", "3.0", "nan", r"train.csv:3: time_start is 'nan'"),
        ("train.csv", "abseiling,", '"",', r"train.csv:3: the label is empty"),
        ("train.csv", "abcdefghijk", "", r"train.csv:3: youtube_id is empty"),
        ("train.csv", '"massaging person\'s head"', "massaging, person", r"train.csv:2: more values than columns"),
        ("train.csv", "youtube_id", "youtub_id", r"no column 'youtube_id'; did you mean 'youtub_id'"),
        ("train.csv", ",3.0,13.0,train,1", "", r"train.csv:3: no value for column 'time_start'"),
    ],
)
def test_a_wrong_row_of_kinetics_is_named(tmp_path, file, old, new, message):
    options = official.write_kinetics(tmp_path, real=False)
    rewrite(options, file, old, new)
    refused("kinetics", options, message)


def test_flat_lists_of_kinetics(tmp_path):
    lists = {
        "names.csv": 'id,name\n1,"massaging person\'s head"\n0,air_drumming\n',
        "train.csv": "train/air drumming/-a_000001_000011.mp4 0\ntrain/b_000001_000011.mp4 1\n",
        "val.txt": "val/c_000001_000011.mp4\t1\n",
    }
    options = {**official.write(tmp_path, lists, ["train/air drumming/-a_000001_000011.mp4"]), "classes": "names.csv"}
    dataset = built("kinetics", options)
    assert dataset.labels() == ["air drumming", "massaging person's head"]
    assert dataset.published() == {}
    clips = listed("kinetics", options)
    assert {i: (clip.split, clip.label) for i, clip in clips.items()} == {
        "train/air drumming/-a_000001_000011.mp4": ("train", "air drumming"),
        "train/b_000001_000011.mp4": ("train", "massaging person's head"),
        "val/c_000001_000011.mp4": ("test", "massaging person's head"),
    }
    assert clips["train/air drumming/-a_000001_000011.mp4"].path.exists()
    rewrite(options, "val.txt", "\t1", " 2")
    refused("kinetics", options, r"val.txt:1: 'val/c_000001_000011.mp4 2' is not `path id` with an id of names.csv")
    rewrite(options, "names.csv", "0,air", "1,air")
    refused("kinetics", options, r"names.csv:3: '1,air_drumming' is not `id,name` with a unique id")


@pytest.mark.parametrize(("names", "warned"), [("0,kick ball\n1,kick\n", 2), ("0,kick\n1,kick ball\n", 0)])
def test_flat_lists_of_hmdb51_with_swapped_labels_are_named(tmp_path, caplog, names, warned):
    lists = {
        "names.csv": f"id,name\n{names}",
        "train.csv": "Tackle_kick_f_cm_np1_ba_bad_5.avi 0\nGoal_kick_ball_f_cm_np1_ba_med_1.avi 1\n",
        "val.csv": "my_kick_start.avi 0\n",  # no name of HMDB51
    }
    list(listed("kinetics", {**official.write(tmp_path, lists, []), "classes": "names.csv"}))
    messages = [record.getMessage() for record in caplog.records]
    assert [f": {warned} clips of HMDB51 have another class than their file names say" in m for m in messages] == (
        [True] if warned else []
    )


# ---- Something-Something V2


@pytest.mark.parametrize("prefix", ["something-something-v2-", "something-something-", ""])
def test_ssv2_finds_converted_videos_and_old_and_new_list_names(tmp_path, prefix):
    options = official.write_ssv2(tmp_path, real=False, prefix=prefix)
    clips = listed("ssv2", options)
    assert {i: (clip.split, clip.label, clip.path.name) for i, clip in clips.items()} == {
        "78687": ("train", "Holding something", "78687.mp4"),
        "42": ("train", "Moving something up", "42.mp4"),
        "7": ("test", "Holding something", "7.mkv"),
    }
    dataset = built("ssv2", options)
    assert dataset.labels() == ["Holding something", "Moving something up"]


def test_ssv2_absent_videos_are_looked_for_as_webm_and_withheld_templates_counted(tmp_path, caplog):
    options = official.write_ssv2(tmp_path, real=False, prefix="")
    (tmp_path / "videos" / "42.mp4").unlink()
    (tmp_path / "lists" / "validation.json").write_text('[{"id": "1"}, {"id": "2"}]')
    with caplog.at_level(logging.WARNING):
        clips = listed("ssv2", options)
    assert clips["42"].path == tmp_path / "videos" / "42.webm"
    assert set(clips) == {"78687", "42"}
    assert "validation.json: 2 clips without a template are left out" in caplog.text


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("Holding [something]", "Holding [somethin]", r"entry 1: 'Holding somethin' is none of the 2 .*did you mean"),
        ('"id": "42"', '"Id": "42"', r"train.json: entry 2 has no 'id'; known: Id, label"),
        ("[{", "{", r"train.json: not JSON"),
        ('[{"id": "78687"', '["78687", {"id": "78687"', r"train.json: entry 1 is '78687'; it must be an object"),
    ],
)
def test_a_wrong_entry_of_ssv2_is_named(tmp_path, old, new, message):
    options = official.write_ssv2(tmp_path, real=False)
    rewrite(options, "something-something-v2-train.json", old, new)
    refused("ssv2", options, message)


# ---- HMDB51


def test_hmdb51_odd_names_unused_clips_and_classes_with_underscores(tmp_path):
    options = official.write_hmdb51(tmp_path, real=False)
    clips = listed("hmdb51", options)
    assert {i: (clip.split, clip.label) for i, clip in clips.items()} == {
        "brush_hair/April_(09)_brush_hair_u_nm_np1_ba_goo_0.avi": ("train", "brush hair"),
        "brush_hair/Hair_brush_hair_u_nm_np1_ba_goo_0.avi": ("test", "brush hair"),
        "clap/#20_Rhythm_clap_u_nm_np1_fr_goo_0.avi": ("train", "clap"),
        "clap/Hands_clap_u_nm_np1_fr_goo_0.avi": ("test", "clap"),
    }
    assert all(clip.path.exists() for clip in clips.values())
    assert [clip.split for clip in listed("hmdb51", {**options, "fold": 2}).values()] == ["test"]
    refused(
        "hmdb51",
        {**options, "fold": 3},
        r"has no \*_test_split3.txt; give the folder testTrainMulti_7030_splits itself",
    )
    dataset = built("hmdb51", options)
    assert dataset.labels() == ["brush hair", "clap"]


def test_hmdb51_videos_may_be_in_one_folder(tmp_path):
    options = official.write_hmdb51(tmp_path, real=False)
    os.rename(tmp_path / "videos" / "clap", tmp_path / "all")
    clips = listed("hmdb51", {**options, "root": str(tmp_path / "all")})
    assert [clip.path.parent.name for clip in clips.values() if clip.label == "clap"] == ["all", "all"]


def test_hmdb51_a_name_that_is_not_utf8_becomes_a_clip_with_an_error(tmp_path):
    options = official.write_hmdb51(tmp_path, real=False)
    (tmp_path / "lists" / "clap_test_split1.txt").write_bytes(b"Kr\xe9mer_clap_u_0.avi 1 \nok_clap_u_0.avi 2\n")
    Path(os.fsdecode(os.fsencode(tmp_path / "videos" / "clap") + b"/Kr\xe9mer_clap_u_0.avi")).touch()
    clip = listed("hmdb51", options)["clap/Kr\\xe9mer_clap_u_0.avi"]
    assert clip.error == "odd_name: not UTF-8; rename the file, also in the list"
    paths = tmp_path / "clips.parquet", tmp_path / "shards.txt", tmp_path / "media", tmp_path / "cache"
    index_clips("hmdb51", DatasetOptions(options=options), *paths)
    assert clip.clip_id in {row["clip_id"] for row in tables.read_rows("clips", paths[0])}


@pytest.mark.parametrize("line", ["a_clap_u.avi 3", "a_clap_u.avi", "1"])
def test_a_wrong_line_of_hmdb51_is_named(tmp_path, line):
    options = official.write_hmdb51(tmp_path, real=False)
    (tmp_path / "lists" / "clap_test_split1.txt").write_text(f"b_clap_u.avi 1\n\n{line}\n")
    refused("hmdb51", options, rf"clap_test_split1.txt:3: '{line}' is not `video.avi flag` with flag 0, 1 or 2")


def test_hmdb51_sets_whole_films_aside(tmp_path):
    lines = [f"film_{i}_of_brush_hair_brush_hair_u_nm_{j}.avi 1\n" for i in range(40) for j in range(3)]
    options = official.write(tmp_path, {"brush_hair_test_split1.txt": "".join(lines)}, [])
    clips = listed("hmdb51", {**options, "val_share": 0.5})
    films: dict[str, set[str]] = {}
    for clip_id, clip in clips.items():
        films.setdefault(clip_id.rpartition("_")[0], set()).add(clip.split)
    assert all(len(splits) == 1 for splits in films.values())
    assert {"train"} in films.values()
    assert {"val"} in films.values()


# ---- UCF101


def test_ucf101_words_spellings_and_suffixes(tmp_path):
    options = official.write_ucf101(tmp_path, real=False)
    dataset = built("ucf101", options)
    assert dataset.labels() == ["Apply Eye Makeup", "Handstand Pushups", "Yo Yo"]
    clips = listed("ucf101", options)
    assert {i: (clip.split, clip.label) for i, clip in clips.items()} == {
        "ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi": ("train", "Apply Eye Makeup"),
        "HandStandPushups/v_HandStandPushups_g08_c01.avi": ("train", "Handstand Pushups"),
        "YoYo/v_YoYo_g08_c01.avi": ("train", "Yo Yo"),
        "HandstandPushups/v_HandStandPushups_g01_c01.avi": ("test", "Handstand Pushups"),
        "YoYo/v_YoYo_g01_c01.avi": ("test", "Yo Yo"),
    }
    assert [clip.path.name for clip in clips.values() if not clip.path.exists()] == ["v_YoYo_g01_c01.avi"]


@pytest.mark.parametrize("stand", ["Handstand", "HandStand"])
def test_ucf101_classes_may_be_spelt_either_way(tmp_path, stand):
    options = official.write_ucf101(tmp_path, real=False)
    rewrite(options, "classInd.txt", "Handstand", stand)
    dataset = built("ucf101", options)
    assert dataset.labels()[1] == "Handstand Pushups"
    assert len(listed("ucf101", options)) == 5


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("testlist01.txt", "YoYo/", "YoYoo/", r"testlist01.txt:2: 'Yo Yoo' is none of .*did you mean 'Yo Yo'"),
        ("testlist01.txt", "YoYo/", "", r"testlist01.txt:2: 'v_YoYo_g01_c01.avi' is not `class/video.avi`"),
        ("trainlist01.txt", ".avi 10", ".avi 1", r"trainlist01.txt:3: number 1 is not that of 'Yo Yo' in classInd.txt"),
        ("classInd.txt", "10 YoYo", "YoYo", r"classInd.txt:3: 'YoYo' is not `number class`"),
        (
            "classInd.txt",
            "10 YoYo",
            "1 YoYo",
            r"classInd.txt:3: '1 YoYo' is not `number class` with a unique number",
        ),
    ],
)
def test_a_wrong_line_of_ucf101_is_named(tmp_path, file, old, new, message):
    options = official.write_ucf101(tmp_path, real=False)
    rewrite(options, file, old, new)
    refused("ucf101", options, message)


def test_ucf101_has_three_folds(tmp_path):
    options = official.write_ucf101(tmp_path, real=False)
    refused("ucf101", {**options, "fold": 2}, r"has no trainlist02.txt; did you mean 'trainlist01.txt'")
    with pytest.raises(ValueError, match=r"fold: input should be 1, 2 or 3, not 4"):
        built("ucf101", {**options, "fold": 4})


# ---- Diving48


def test_diving48_classes_are_words(tmp_path):
    options = official.write_diving48(tmp_path, real=False)
    dataset = built("diving48", options)
    assert dataset.labels() == [
        "back dive with one and a half somersaults and half a twist in free position",
        "inward dive in pike position",
    ]
    assert dive("Forward", "1som", "NoTwis", "PIKE") == "forward dive with one somersault in pike position"
    assert dive("Forward", "45som", "NoTwis", "TUCK").endswith("four and a half somersaults in tuck position")
    assert dive("Reverse", "2som", "1Twis", "STR").endswith("two somersaults and one twist in straight position")
    clips = listed("diving48", options)
    assert [clip.label for clip in clips.values()] == [*dataset.labels(), dataset.labels()[1]]
    assert clips["-mmq0PT-u8k_00150"].path.exists()


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        (
            "Diving48_V2_test.json",
            '"label": 1',
            '"label": 2',
            r"V2_test.json: entry 1: label 2 is none of the 2 classes",
        ),
        ("Diving48_V2_test.json", "vid_name", "video", r"V2_test.json: entry 1 has no 'vid_name'"),
        ("Diving48_vocab.json", "15som", "som", r"vocab.json: class 0 is \['Back', 'som', .*it must be like"),
        ("Diving48_vocab.json", '"Dive", ', "", r"vocab.json: class 1 is \['Inward', 'NoTwis', 'PIKE'\]"),
    ],
)
def test_a_wrong_entry_of_diving48_is_named(tmp_path, file, old, new, message):
    options = official.write_diving48(tmp_path, real=False)
    rewrite(options, file, old, new)
    refused("diving48", options, message)


# ---- your write_list list


def write_list(tmp_path, text: str, **options) -> dict[str, str]:
    written = official.write(tmp_path, {"mine.csv": text}, ["a.mp4", "-b.mp4", "B.mp4", "b.mp4"])
    return {"root": written["root"], "list": f"{written['annotations']}/mine.csv", **options}


def test_rows_with_captions_of_one_video_are_one_clip(tmp_path):
    text = 'path;split;caption;start_s;end_s\na.mp4;train;"a man; a plan";;\nb.mp4;test;she said "hi";;\n'
    text += "a.mp4;train;it's a dog;;\na.mp4;train;later;10.0;12\nB.mp4;train;upper case;;\n-b.mp4;val;a dash;;\n"
    clips = listed("csv", write_list(tmp_path, text, delimiter=";"))
    assert {i: (clip.split, clip.captions) for i, clip in clips.items()} == {
        "a.mp4": ("train", ["a man; a plan", "it's a dog"]),
        "b.mp4": ("test", ['she said "hi"']),
        "a.mp4:10.0-12": ("train", ["later"]),
        "B.mp4": ("train", ["upper case"]),
        "-b.mp4": ("val", ["a dash"]),
    }
    assert (clips["a.mp4:10.0-12"].start_s, clips["a.mp4:10.0-12"].end_s) == (10.0, 12.0)
    assert all(clip.label is None and clip.path.exists() for clip in clips.values())


def test_labels_and_ids_of_a_users_list(tmp_path):
    clips = listed(
        "csv",
        write_list(tmp_path, "\ufeffpath,label,split,clip_id\na.mp4, push_up ,train,first\nb,push up,test,second\n"),
    )
    assert {i: (clip.label, clip.path.name) for i, clip in clips.items()} == {
        "first": ("push up", "a.mp4"),
        "second": ("push up", "b.mp4"),
    }


def test_a_list_of_test_clips_alone_may_name_any_class(tmp_path):
    assert len(listed("csv", write_list(tmp_path, "path,label,split\na.mp4,x,test\nb.mp4,y,test\n"))) == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,split\na.mp4,train\n", r"mine.csv:2: no label and no caption; give one of them"),
        ("path,split,label,caption\na.mp4,train,x,y\n", r"mine.csv:2: a label and a caption; give one of them"),
        ("path,splt,label\na.mp4,train,x\n", r"mine.csv: no column 'split'; did you mean 'splt'"),
        ("path,split,label\na.mp4,dev,x\n", r"mine.csv:2: split is 'dev'; known: train, val, test"),
        ("path,split,label\n,train,x\n", r"mine.csv:2: path is empty"),
        ("path,split,caption\na.mp4,train,a man, a plan\n", r"mine.csv:2: more values than columns; quote"),
        ("path,split,label\na.mp4,train,x\na.mp4,train,x\n", r"mine.csv:3: clip 'a.mp4' is already in line 2"),
        ("path,split,caption\na.mp4,train,x\na.mp4,test,y\n", r"mine.csv:3: clip 'a.mp4' is already in line 2"),
        (
            "path,split,label\na.mp4,train,wave\nb.mp4,test,wavee\n",
            r"mine.csv:3: 'wavee' is none of .*did you mean 'wave'",
        ),
        (
            "path,split,label,start_s\na.mp4,train,x,-1\n",
            r"mine.csv:2: start_s is '-1'; it must be a number of seconds",
        ),
        ("path,split,label,start_s,end_s\na.mp4,train,x,3,3.0\n", r"mine.csv:2: end_s is 3.0, not after the start"),
    ],
)
def test_a_wrong_row_of_a_users_list_is_named(tmp_path, text, message):
    refused("csv", write_list(tmp_path, text), message)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"path\tsplit\tlabel\na.mp4\ttrain\tx\n", r"mine.csv: the header is separated by '\\t', not by ','; save the"),
        (
            b"path;split;label\na.mp4;train;x\n",
            r"the header is separated by ';', .* or set delimiter of the data set csv",
        ),
        ("path,split,label\na.mp4,train,x\n".encode("utf-16"), r"mine.csv: is UTF-16; save the file as UTF-8"),
        ("path,split,label\na.mp4,train,x\n".encode("utf-16-le"), r"mine.csv: is UTF-16; save the file as UTF-8"),
        (b"path,split,label\na.mp4,train,x\0\n", r"mine.csv:2: has a NUL byte; remove it"),
        (b"path,split,label\ndir\\a.mp4,train,x\n", r"mine.csv:2: path is 'dir\\a.mp4'; write / between folders, not"),
        (b'path,split,label\n"a.mp4,train,x\n' + 200_000 * b"a", r"mine.csv:\d+: field larger than .* is a quote not"),
    ],
)
def test_a_list_in_another_format_is_refused_with_the_remedy(tmp_path, content, message):
    options = write_list(tmp_path, "")
    Path(options["list"]).write_bytes(content)
    refused("csv", options, message)


def test_a_file_whose_name_has_a_backslash_is_found(tmp_path):
    options = write_list(tmp_path, "path,split,label\ndir\\a.mp4,train,x\n")
    (Path(options["root"]) / "dir\\a.mp4").touch()
    assert [clip.path.name for clip in listed("csv", options).values()] == ["dir\\a.mp4"]


def test_a_list_that_is_not_utf8_is_refused_with_its_line(tmp_path):
    options = write_list(tmp_path, "")
    Path(options["list"]).write_bytes("path,split,label\na.mp4,train,x\nb.mp4,train,café\n".encode("cp1252"))
    refused("csv", options, r"mine.csv:3: .* is not UTF-8; save the file as UTF-8")


def test_each_class_of_ssv2_has_one_kind_of_motion():
    names = (Path(__file__).parent / "banks" / "ssv2.txt").read_text("utf-8").splitlines()
    text = Path(ssv2.__file__).with_name("ssv2_kinds.yaml").read_text("utf-8")
    listed_classes = [label for labels in yaml.safe_load(text).values() for label in labels]
    assert sorted(listed_classes) == sorted(names)
    assert ssv2.kinds_of_motion()["Moving something up"] == "reversal"


def test_clips_of_ssv2_have_the_kind_of_their_class(tmp_path):
    clips = listed("ssv2", official.write_ssv2(tmp_path, real=False, prefix=""))
    assert {clip.label: clip.kind for clip in clips.values()} == {
        "Holding something": "still",
        "Moving something up": "reversal",
    }


def test_a_list_may_give_the_kind_of_motion(tmp_path):
    (tmp_path / "list.csv").write_text("path,split,label,kind\na.mp4,test,turning,loop\nb.mp4,test,turning,\n")
    clips = listed("csv", {"root": str(tmp_path), "list": str(tmp_path / "list.csv")})
    assert [clip.kind for clip in clips.values()] == ["loop", None]

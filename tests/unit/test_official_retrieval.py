"""Traps of the official caption lists: text with commas and quotes, odd names, pickles that run code, lists that leak."""

import json
import pickle

import pytest

from captioned import UNBREAKABLE, WRITERS, lsmdc_line, write_didemo, write_lsmdc, write_msrvtt, write_msvd
from kinetext.core import plugins
from kinetext.data.datasets.base import Clip, Dataset, set_aside
from kinetext.data.datasets.didemo import DiDeMo
from kinetext.data.datasets.lsmdc import LSMDC
from kinetext.data.datasets.msrvtt import MSRVTT
from kinetext.data.datasets.msvd import MSVD


def built(plugin: type[Dataset], options: dict, **more) -> Dataset:
    return plugin(plugins.configure(plugin, {**options, **more}))


def listed(plugin: type[Dataset], options: dict, **more) -> list[Clip]:
    return list(built(plugin, options, **more).list_clips(None))


def captions(clips):
    return {clip.clip_id: clip.captions for clip in clips}


def splits(clips):
    return {clip.clip_id: clip.split for clip in clips}


def rewrite(options, name, text):
    path = f"{options['annotations']}/{name}"
    with open(path, "wb") as file:
        file.write(text if isinstance(text, bytes) else text.encode())
    return path


# ---- what all four do


@pytest.fixture(params=sorted(WRITERS))
def any_set(request, tmp_path):
    return plugins.load("datasets", request.param), WRITERS[request.param](tmp_path, videos=False)


def test_absent_videos_are_listed_where_they_should_be(any_set, tmp_path):
    plugin, options = any_set
    clips = listed(plugin, options)
    assert {clip.split for clip in clips} >= {"train", "test"}
    assert all(clip.path.is_relative_to(tmp_path / "videos") and clip.path.suffix for clip in clips)
    assert all(clip.error is None and not clip.path.exists() for clip in clips)


def test_a_missing_folder_or_list_is_named(any_set, tmp_path):
    plugin, options = any_set
    built(plugin, options).check()
    with pytest.raises(ValueError, match=r"^root: no folder .*/videos/deep; nearest existing parent: "):
        built(plugin, options, root=f"{tmp_path}/videos/deep").check()
    file = built(plugin, options).list_files()[0]
    file.rename(file.with_name(f"{file.name}.bak"))
    with pytest.raises(ValueError, match=rf"has no {file.name}; did you mean '{file.name}.bak'"):
        built(plugin, options).check()


def test_every_list_is_named_and_sizes_are_of_splits(any_set):
    plugin, options = any_set
    dataset = built(plugin, options)
    files = dataset.list_files()
    assert len(set(files)) == len(files) >= 3
    assert all(file.is_file() for file in files)
    assert set(dataset.published()) <= {"train", "val", "test"}
    assert dataset.labels() is None
    assert dataset.declared_pairs() == []
    assert dataset.captioned


# ---- MSR-VTT


def test_msrvtt_sentences_with_commas_and_quotes(tmp_path):
    clips = listed(MSRVTT, write_msrvtt(tmp_path, videos=False))
    assert captions(clips) == {
        "video0": ["a man, a plan", "a car"],
        "video1": ['she says "hi"'],
        "video9770": ['a man, who says "no", sits'],
        "video9771": ["a cartoon"],
    }
    assert splits(clips) == {"video0": "train", "video1": "train", "video9770": "test", "video9771": "test"}
    assert clips[0].path == tmp_path / "videos" / "video0.mp4"


def test_msrvtt_7k(tmp_path):
    options = {**write_msrvtt(tmp_path, videos=False), "train": "7k"}
    assert list(captions(listed(MSRVTT, options))) == ["video1", "video9770", "video9771"]
    assert built(MSRVTT, options).published() == {"train": 7010, "test": 1000}


def test_msrvtt_sets_training_videos_aside(tmp_path):
    options = write_msrvtt(tmp_path, videos=False)
    clips = splits(listed(MSRVTT, options, val_share=0.999999))
    assert clips == {"video0": "val", "video1": "val", "video9770": "test", "video9771": "test"}
    assert built(MSRVTT, options, val_share=0.5).published() == {"test": 1000}


def test_setting_aside_is_by_name_and_seed(tmp_path):
    clips = [Clip(f"video{i}", tmp_path, "train", captions=["a"]) for i in range(2000)]
    aside = {clip.clip_id for clip in set_aside(clips, 0.1, 0) if clip.split == "val"}
    assert 150 < len(aside) < 250
    assert {clip.clip_id for clip in set_aside(clips[::-2], 0.1, 0) if clip.split == "val"} == {
        clip.clip_id for clip in clips[::-2] if clip.clip_id in aside
    }
    assert {clip.clip_id for clip in set_aside(clips, 0.1, 1) if clip.split == "val"} != aside
    assert list(set_aside(clips, 0, 0)) == clips


def test_msrvtt_rows_that_cannot_be_read(tmp_path):
    options = write_msrvtt(tmp_path, videos=False)
    header = "key,vid_key,video_id,sentence\nret0,msr9770,video9770,ok\n"
    path = rewrite(options, "MSRVTT_JSFUSION_test.csv", f"{header}ret1,msr9771,video9771\n")
    with pytest.raises(ValueError, match=f"^{path}:3: no value for column 'sentence'"):
        listed(MSRVTT, options)
    rewrite(options, "MSRVTT_JSFUSION_test.csv", f"{header}ret1,msr9771,video9771,a man, a plan\n")
    with pytest.raises(ValueError, match=f"^{path}:3: more values than columns; quote values"):
        listed(MSRVTT, options)


def test_msrvtt_videos_of_training_and_test_are_refused(tmp_path):
    options = write_msrvtt(tmp_path, videos=False)
    rewrite(options, "MSRVTT_train.9k.csv", "video_id\nvideo0\nvideo9770\nvideo9771\n")
    with pytest.raises(ValueError, match="has 2 videos in train and test: video9770, video9771; keep each"):
        listed(MSRVTT, options)


def test_empty_captions_and_silent_videos_are_counted(tmp_path, caplog):
    options = write_msrvtt(tmp_path, videos=False)
    caption_rows = [("video0", " a car "), ("video0", " "), ("video1", "")]
    content = {"sentences": [{"video_id": video, "caption": text} for video, text in caption_rows]}
    rewrite(options, "MSRVTT_data.json", json.dumps(content))
    rewrite(options, "MSRVTT_train.9k.csv", "video_id\nvideo0\nvideo1\nvideo2\n")
    clips = listed(MSRVTT, options)
    assert captions(clips[:1]) == {"video0": ["a car"]}
    assert splits(clips) == {"video0": "train", "video9770": "test", "video9771": "test"}
    assert "lists: 2 empty captions are left out" in caplog.text
    assert "lists: 2 videos without a caption are left out, first video1" in caplog.text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"sentences": [{"video_id": "video0"}]}, "caption 1 has no text 'caption'"),
        ({"sentences": [{"video_id": "video0", "caption": 3}]}, "caption 1 has no text 'caption'"),
        ({"sentences": ["video0"]}, "caption 1 has no text 'video_id'"),
        ({"videos": []}, "no list of captions"),
        ([], "contains a list; the official file contains a dict"),
    ],
)
def test_json_that_differs_from_the_official_file(tmp_path, content, message):
    options = write_msrvtt(tmp_path, videos=False)
    path = rewrite(options, "MSRVTT_data.json", json.dumps(content))
    with pytest.raises(ValueError, match=f"^{path}: {message}"):
        listed(MSRVTT, options)


# ---- MSVD


def test_msvd_stems_with_a_dash_and_of_other_case(tmp_path):
    options = write_msvd(tmp_path, videos=False)
    for name in ("-4wsuPCjDBc_5_15.mp4", "aBcdefghijk_0_10.avi"):
        (tmp_path / "videos" / name).touch()
    clips = {clip.clip_id: clip for clip in listed(MSVD, options)}
    assert splits(clips.values()) == {
        "-4wsuPCjDBc_5_15": "train",
        "aBcdefghijk_0_10": "train",
        "abcdefghijk_0_10": "val",
        "zzzzzzzzzzz_1_5": "test",
    }
    assert clips["-4wsuPCjDBc_5_15"].path == tmp_path / "videos" / "-4wsuPCjDBc_5_15.mp4"
    assert clips["-4wsuPCjDBc_5_15"].captions == ["a squirrel eats", "an animal"]
    assert clips["aBcdefghijk_0_10"].path.name == "aBcdefghijk_0_10.avi"
    assert clips["abcdefghijk_0_10"].path.name == "abcdefghijk_0_10.avi"  # absent, not the other one
    assert clips["abcdefghijk_0_10"].captions == ["a dog"]


def test_msvd_from_json(tmp_path):
    options = write_msvd(tmp_path, videos=False)
    before = listed(MSVD, options)
    (tmp_path / "lists" / "raw-captions.pkl").unlink()
    rewrite(options, "captions_msvd.json", json.dumps(captions(before)))
    assert listed(MSVD, options) == before


class Evil:
    def __reduce__(self):
        return open, (Evil.path, "w")


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_that_runs_code_is_refused_and_does_not_run(tmp_path, protocol):
    options = write_msvd(tmp_path, videos=False)
    Evil.path = str(tmp_path / "ran")
    path = rewrite(options, "raw-captions.pkl", pickle.dumps({"-4wsuPCjDBc_5_15": [Evil()]}, protocol))
    with pytest.raises(
        ValueError, match=rf"^{path}: not a pickle of captions \(it needs \w+.open, but captions need only"
    ):
        listed(MSVD, options)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "content", [b"", b"no pickle", pickle.dumps([1]), pickle.dumps({"a": "text"}), pickle.dumps({"a": [[1]]})]
)
def test_other_pickles_are_refused(tmp_path, content):
    options = write_msvd(tmp_path, videos=False)
    path = rewrite(options, "raw-captions.pkl", content)
    with pytest.raises(ValueError, match=rf"^{path}: .*; use the file as"):
        listed(MSVD, options)


def test_every_protocol_and_builtin_containers_are_read(tmp_path):
    options = write_msvd(tmp_path, videos=False)
    pickled = {"-4wsuPCjDBc_5_15": [("caf\xe9", "at"), "plain"], "x": [], "y": [{"one"}, frozenset({"two"})]}
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        rewrite(options, "raw-captions.pkl", pickle.dumps(pickled, protocol))
        assert captions(listed(MSVD, options)) == {"-4wsuPCjDBc_5_15": ["caf\xe9 at", "plain"]}


def test_a_name_that_is_not_utf8_is_an_error_of_its_clip(tmp_path):
    options = write_msvd(tmp_path, videos=False)
    rewrite(options, "val_list.txt", b"caf\xe9_0_10\n")
    rewrite(options, "raw-captions.pkl", pickle.dumps({"caf\udce9_0_10": [["a", "cat"]]}))
    (clip,) = listed(MSVD, options)
    assert (clip.clip_id, clip.captions) == ("caf\\xe9_0_10", ["a cat"])
    assert clip.error.startswith("odd_name")


# ---- DiDeMo


def test_didemo_paragraphs_and_other_suffixes(tmp_path, caplog):
    options = write_didemo(tmp_path, videos=False)
    name = "10015567@N08_3655084291_a8b58478dc.mov"
    (tmp_path / "videos" / "10015567@N08_3655084291_a8b58478dc.mp4").touch()
    first, *rest = listed(DiDeMo, options)
    assert (first.clip_id, first.split, first.end_s) == (name, "train", 31)
    assert first.captions == ["The sun sets. A dog runs."]
    assert first.path == tmp_path / "videos" / "10015567@N08_3655084291_a8b58478dc.mp4"
    assert [(clip.split, clip.path.name) for clip in rest] == [("val", "1@N0_2_b.m4v"), ("test", "1@N0_3_c.avi")]
    assert "train_list.txt: 1 described videos are not in it, first 0@N00_0_z.mov" in caplog.text
    assert listed(DiDeMo, options, end_s=None)[0].end_s is None


def test_didemo_listed_videos_without_a_description_are_counted(tmp_path, caplog):
    options = write_didemo(tmp_path, videos=False)
    rewrite(options, "val_list.txt", "1@N0_2_b.m4v\n1@N0_7_q.mov\n")
    assert [clip.clip_id for clip in listed(DiDeMo, options) if clip.split == "val"] == ["1@N0_2_b.m4v"]
    assert "1 videos without a caption are left out, first 1@N0_7_q.mov" in caplog.text


def test_a_name_that_leads_out_of_the_root_is_an_error_of_its_clip(tmp_path):
    options = write_didemo(tmp_path, videos=False)
    (tmp_path / "secret.mp4").touch()
    for name in ("../secret.mp4", f"{tmp_path}/secret.mp4"):
        rewrite(options, "val_list.txt", f"{name}\n")
        rewrite(options, "val_data.json", json.dumps([{"video": name, "description": "It leaks."}]))
        clip = next(clip for clip in listed(DiDeMo, options) if clip.split == "val")
        assert clip.error.startswith(f"outside_root: the list names {name}")


# ---- LSMDC


def test_lsmdc_quotes_are_text_and_names_are_grouped(tmp_path):
    clips = listed(LSMDC, write_lsmdc(tmp_path, videos=False))
    blind = "3011_BLIND_DATING_01.11.23.496-01.11.25.853"
    assert [clip.split for clip in clips] == ["train", "train", "val", "test"]
    assert captions(clips)[blind] == ['"Stop!" SOMEONE says, and "goes.', "He goes."]
    assert clips[0].path == tmp_path / "videos" / "3011_BLIND_DATING" / f"{blind}.avi"
    assert clips[1].path == tmp_path / "videos" / "1012_Unbreakable" / f"{UNBREAKABLE}.avi"


def test_lsmdc_skips_a_clip_as_xpool_does_if_asked(tmp_path):
    options = write_lsmdc(tmp_path, videos=False)
    assert UNBREAKABLE in captions(listed(LSMDC, options))
    assert UNBREAKABLE not in captions(listed(LSMDC, options, skip_as_xpool=True))


def test_lsmdc_short_rows_are_refused(tmp_path):
    options = write_lsmdc(tmp_path, videos=False)
    path = rewrite(options, "LSMDC16_annos_val.csv", f"{lsmdc_line('1006_A_00.1-00.2', 'ok')}1006_A_00.3-00.4\ta\tb\n")
    with pytest.raises(ValueError, match=f"^{path}:2: 3 of 6 tab-separated fields; use the file as"):
        listed(LSMDC, options)


def test_lsmdc_lines_that_a_spreadsheet_quoted(tmp_path):
    options = write_lsmdc(tmp_path, videos=False)
    line = lsmdc_line("1006_A_00.1-00.2", 'He says ""no"".').strip()
    rewrite(options, "LSMDC16_annos_val.csv", f'"{line}"\r\n')
    assert captions(listed(LSMDC, options))["1006_A_00.1-00.2"] == ['He says "no".']


def test_lsmdc_without_a_sentence_or_in_another_encoding(tmp_path, caplog):
    options = write_lsmdc(tmp_path, videos=False)
    lines = f"{lsmdc_line('1006_A_00.1-00.2', '')}{lsmdc_line('1006_A_00.3-00.4', 'caf*')}"
    rewrite(options, "LSMDC16_annos_val.csv", lines.encode().replace(b"*", b"\xe9"))
    clips = [clip for clip in listed(LSMDC, options) if clip.split == "val"]
    assert [clip.clip_id for clip in clips] == ["1006_A_00.3-00.4"]
    assert clips[0].captions[0].startswith("caf\N{REPLACEMENT CHARACTER}")
    assert "1 empty captions are left out" in caplog.text

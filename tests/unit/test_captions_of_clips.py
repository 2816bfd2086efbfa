"""The provider captions_of_clips: captions of training clips by a multimodal model, pooled per class."""

import base64
import json
from dataclasses import replace

import numpy as np
import pytest
import simplejpeg

from chat_server import completion
from chat_world import KEY, options, serving
from describe_world import LABELS, write_world
from kinetext.config.texts import TextOptions
from kinetext.core.tables import read_metadata, read_rows, write_shard
from kinetext.plan import reads_clips, text_modules
from kinetext.texts import prompts
from kinetext.texts.chat.limits import IMAGE_TOKENS
from kinetext.texts.describe import describe_classes
from kinetext.texts.providers.base import Context, Text, load_provider
from kinetext.texts.providers.captions_of_clips import pooled

SIZE, STORED = 16, 6
GREY = {str(n): 10 + 20 * n for n in range(12)}  # clip_id -> brightness of its frames; 0 to 7 are training clips
CLIPS_OF = {label: [str(n), str(n + 4)] for n, label in enumerate(LABELS)}


@pytest.fixture
def server(monkeypatch):
    with serving(monkeypatch) as server:
        server.script = caption
        yield server


def shown(asked):
    """Return the brightness of each picture of a request."""
    (message,) = asked["messages"]
    urls = [part["image_url"]["url"] for part in message["content"] if part["type"] == "image_url"]
    prefix = "data:image/jpeg;base64,"
    assert all(url.startswith(prefix) for url in urls)
    return [int(simplejpeg.decode_jpeg(base64.b64decode(url.removeprefix(prefix))).mean().round()) for url in urls]


def clip_of(asked):
    """Return the number of the clip that a request shows."""
    return (shown(asked)[0] - 10) // 20


def caption(asked):
    """A caption of each clip; that the two clips of a class start alike."""
    number = clip_of(asked)
    answer = {"start": f"a disc lies low {number % 4}", "end": f"a disc is high {number}"}
    return completion(json.dumps(answer | {"steps": [f"a disc is half up {number}"], "whole": [f"it climbs {number}"]}))


def make_world(folder, server, failed=(), **more):
    """Write a data set with frames; return the arguments of describe_classes."""
    rows = []
    for clip_id, grey in GREY.items():
        frames = [np.full((SIZE, SIZE, 3), grey + t, np.uint8).tobytes() for t in range(STORED)]
        status = {"status": "failed", "error": "broken"} if clip_id in failed else {"status": "ok"}
        rows.append({"clip_id": clip_id, "images": [] if clip_id in failed else frames, **status})
    world = {key: more.pop(key) for key in ("novel",) if key in more}
    chat = options(server, steps=1, frames=3) | more
    world = write_world(folder, name="mine", options=TextOptions(module="captions_of_clips", options=chat), **world)
    write_shard("frames", [rows], folder / "0000.arrow")
    (folder / "frames.json").write_text(json.dumps({"clips": {}, "shards": {"0000": "x"}}))
    return world | {"frames": folder / "frames.json"}


def described(world):
    return [row for row in read_rows("texts", world["output"]) if row["kind"] == "motion"]


def test_captions_of_training_clips_are_pooled_per_class(tmp_path, server, capfd):
    world = make_world(tmp_path, server)
    describe_classes(**world)
    assert sorted(clip_of(asked) for _, _, asked in server.requests) == list(range(8))  # 8 to 11 are test clips
    assert read_metadata(world["output"]) == {"control": None}
    rising = [
        (r["sentence"], r["position"], r["clips"].split(" | ")) for r in described(world) if r["label"] == "rising"
    ]
    first, second = rising[1][2], rising[4][2]
    assert sorted(first + second) == CLIPS_OF["rising"]
    (a,), (b,) = first, second
    assert rising == [
        ("a disc lies low 0", 0.0, [a, b]),  # both captions have it
        (f"a disc is half up {a}", 0.5, [a]),
        (f"a disc is high {a}", 1.0, [a]),
        (f"it climbs {a}", None, [a]),
        (f"a disc is half up {b}", 0.5, [b]),
        (f"a disc is high {b}", 1.0, [b]),
        (f"it climbs {b}", None, [b]),
    ]
    assert {(r["status"], r["prompt_version"], r["model"]) for r in described(world)} == {("ok", "clip-1", "m-2024-05")}
    assert "8 of 8 clips to request" in capfd.readouterr().err
    names = [row for row in read_rows("texts", world["output"]) if row["kind"] == "name"]
    assert [(row["label"], row["clips"]) for row in names] == [(label, None) for label in LABELS]


def test_a_request_shows_frames_and_no_class_name(tmp_path, server):
    describe_classes(**make_world(tmp_path, server, clips=1))
    assert len(server.requests) == len(LABELS)
    for _, authorization, asked in server.requests:
        assert authorization == f"Bearer {KEY}"
        pictures = shown(asked)
        assert pictures == [pictures[0] + 2 * t for t in range(3)]  # frames 1, 3 and 5 of 6
        text = asked["messages"][0]["content"][0]["text"]
        assert text == prompts.clip_prompt(1, 1)
        assert not any(label in text for label in LABELS)
    for path in (tmp_path / "cache" / "replies").glob("*.json"):
        stored = path.read_text()
        assert KEY not in stored
        assert "base64" not in stored
        assert stored.count("sha256:") == 3


def test_the_prompt_states_the_form_of_the_answer():
    text = prompts.clip_prompt(2, 0)
    assert '{"start": "...", "end": "...", "whole": ["...", "..."]}' in text
    assert "whole: 2 sentences" in text
    assert "steps" not in text
    assert '"steps": ["...", "..."], "end"' in prompts.clip_prompt(1, 2)


def test_replies_are_cached_and_an_interrupted_table_resumes(tmp_path, server):
    world = make_world(tmp_path, server)
    describe_classes(**world)
    rows = described(world)
    describe_classes(**world)
    assert len(server.requests) == 8
    assert described(world) == rows
    next((tmp_path / "cache" / "replies").glob("*.json")).unlink()
    describe_classes(**world)
    assert len(server.requests) == 9
    assert [row["sentence"] for row in described(world)] == [row["sentence"] for row in rows]
    describe_classes(**make_world(tmp_path, server, detail=None))  # other requests
    assert len(server.requests) == 17


def test_the_seed_draws_the_clips(tmp_path, server):
    drawn = set()
    for seed in range(6):
        describe_classes(**(world := make_world(tmp_path, server, clips=1, seed=seed)))
        drawn.add(tuple(sorted({row["clips"] for row in described(world)})))
    assert len(drawn) > 1
    assert len(server.requests) <= 8


def test_the_cost_is_capped_before_anything_is_sent(tmp_path, server):
    prices = {"price_in": 1e4, "price_out": 1e4, "max_usd": 0.01}
    with pytest.raises(ValueError, match=r"chat_api: max_usd: the table would cost about .* nothing was sent"):
        describe_classes(**make_world(tmp_path, server, **prices))
    assert server.requests == []


def test_classes_without_training_clips_keep_their_names(tmp_path, server, capfd):
    world = make_world(tmp_path, server, novel=["growing", "shrinking"], failed=["0", "4"])
    describe_classes(**world)
    assert sorted(clip_of(asked) for _, _, asked in server.requests) == [1, 5]
    statuses = {row["label"]: row["status"] for row in described(world)}
    reason = "failed: the class has no training clip with frames"
    assert statuses == {"rising": reason, "falling": "ok", "growing": reason, "shrinking": reason}
    assert f"class 'growing' has no usable description: {reason}" in capfd.readouterr().err
    with pytest.raises(ValueError, match="captions_of_clips: no class has a training clip with frames"):
        describe_classes(**make_world(tmp_path, server, failed=list(GREY)))


def test_faulty_answers_cost_their_clip_only(tmp_path, server):
    def some(asked):
        number = clip_of(asked)
        if number == 0:
            return completion("no JSON")
        if number == 4:
            return completion(json.dumps({"start": "a", "end": "b", "steps": ["c", "d"], "whole": ["e"]}))
        return caption(asked)

    server.script = some
    describe_classes(**(world := make_world(tmp_path, server)))
    rising = {row["clips"]: row["status"] for row in described(world) if row["label"] == "rising"}
    assert rising["0"].startswith("not_json: the answer is not JSON")
    assert rising["4"] == "failed: the answer has 2 steps, 1 were requested"
    assert all(row["status"] == "ok" for row in described(world) if row["label"] != "rising")


def test_equal_clips_are_asked_about_once(tmp_path, server, monkeypatch):
    monkeypatch.setitem(GREY, "4", GREY["0"])
    describe_classes(**(world := make_world(tmp_path, server)))
    assert len(server.requests) == 7
    (both,) = {row["clips"] for row in described(world) if row["label"] == "rising"}
    assert sorted(both.split(" | ")) == ["0", "4"]


def test_a_clip_of_two_classes_is_named_once_in_each(tmp_path, server):
    world = make_world(tmp_path, server)
    provider = load_provider("texts.mine", "captions_of_clips", world["options"].options)
    context = Context(
        ["rising", "falling"], tmp_path / "cache", {}, {}, {"rising": ["0"], "falling": ["0"]}, world["frames"]
    )
    provider.prepare({"rising": [], "falling": []}, context)
    for label in ("rising", "falling"):
        assert {text.clips for text in provider.describe(label, [], context)} == {"0"}
    assert len(server.requests) == 1


def test_pooling_joins_equal_sentences_about_the_same_part():
    texts = [
        Text("up", "It is low.", position=0.0, clips="a"),
        Text("up", "it is low", position=1.0, clips="a"),
        Text("up", "it  is LOW", position=0.0, clips="b"),
        Text("up", "", status="failed: x", clips="c"),
        Text("up", "", status="failed: x", clips="d"),
    ]
    assert pooled(texts) == [replace(texts[0], clips="a | b"), texts[1], texts[3], texts[4]]


def test_frames_are_needed(tmp_path, server):
    world = make_world(tmp_path, server)
    with pytest.raises(ValueError, match="captions_of_clips: needs the frames of the data set; pass --frames"):
        describe_classes(**world | {"frames": None})


def test_the_workflow_knows_which_texts_need_frames(server):
    of = {"module": "captions_of_clips", "options": options(server)}
    assert reads_clips(TextOptions(**of), "mine")
    assert reads_clips(TextOptions(module="shuffled", options={"of": of}), "mine")
    assert not reads_clips(TextOptions(), "bundled")
    assert not reads_clips(TextOptions(module="chat_api", options=options(server)), "mine")
    assert "kinetext.texts.providers.captions_of_clips" in text_modules(
        TextOptions(module="shuffled", options={"of": of}), "x"
    )


def test_a_control_and_a_second_round_may_rest_on_captions(tmp_path, server):
    world = make_world(tmp_path, server)
    of = {"module": "captions_of_clips", "options": world["options"].options}
    describe_classes(**world | {"options": TextOptions(module="shuffled", options={"of": of})})
    assert read_metadata(world["output"]) == {"control": "shuffled"}
    assert any(row["source"].startswith("shuffled, written about 'falling'") for row in described(world))


@pytest.mark.parametrize("wrong", [{"batch": True}, {"ask": "pair"}, {"about": "appearance"}, {"max_repairs": 1}])
def test_options_of_chat_api_that_do_not_apply_are_refused(server, wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        load_provider("texts.mine", "captions_of_clips", options(server) | wrong)


def test_prepare_without_clips_sends_nothing(tmp_path, server):
    provider = load_provider("texts.mine", "captions_of_clips", options(server))
    with pytest.raises(ValueError, match="pass --frames"):
        provider.prepare({"rising": []}, Context(["rising"]))
    assert server.requests == []


def test_the_estimate_counts_a_request_with_images_per_clip(server):
    provider = load_provider("texts.mine", "captions_of_clips", options(server) | {"clips": 3, "frames": 4})
    tokens = provider.estimate_cost(("rising", "falling")).tokens
    assert tokens.prompt > 2 * 3 * 4 * IMAGE_TOKENS
    twice = provider.estimate_cost(("rising", "falling", "growing", "shrinking")).tokens
    assert twice.prompt == 2 * tokens.prompt
    known = provider.estimate_cost(("rising", "falling"), {"rising": 1, "novel": 9}).tokens
    assert known.prompt * 6 == tokens.prompt  # one clip instead of two times three

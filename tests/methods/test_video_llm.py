"""video_llm: what a model behind an API is sent about a clip, how its answers are read, and what they cost."""

import base64
import json
import re

import numpy as np
import pytest
import torch
import yaml

from chat_server import completion, error
from chat_world import KEY, serving
from few_draws import measure_quickly
from kinetext.core import tables
from kinetext.core.schemas import FRAME_ORDERS
from kinetext.data.images import decode_image
from kinetext.data.store import FrameStore
from kinetext.evaluation.calibration import read_calibration
from kinetext.evaluation.predict import predict_clips
from kinetext.evaluation.run_files import find_run_files
from kinetext.methods.base import configure_method
from kinetext.methods.frames import Choice, Example, Question
from kinetext.methods.video_llm.conversation import ask, read_choices
from kinetext.report.collect import answers_sentence

USAGE = 400, 100  # tokens of each reply of the fake server


def texts_of(asked):
    """The texts of a request, in order."""
    contents = [message["content"] for message in asked["messages"]]
    parts = [[{"type": "text", "text": c}] if isinstance(c, str) else c for c in contents]
    return [part["text"] for content in parts for part in content if part["type"] == "text"]


def images_of(asked):
    """The pictures of a request [N, H, W, 3], decoded."""
    parts = [p for m in asked["messages"] if isinstance(m["content"], list) for p in m["content"]]
    urls = [part["image_url"]["url"] for part in parts if part["type"] == "image_url"]
    return [decode_image(base64.b64decode(url.removeprefix("data:image/jpeg;base64,"))) for url in urls]


def listed(asked):
    """The choices of a request: text -> number."""
    return {text: int(number) for number, text in re.findall(r"^(\d+)\. ([^:\n]*)", texts_of(asked)[0], re.M)}


def choosing(label):
    """A script of the server that always chooses this class."""
    return lambda asked: completion(json.dumps({"choices": [listed(asked)[label]]}))


def predict(world, folder, server, seed=0, cache=None, **options):
    """Predict with video_llm; return the rows of the table by clip and frame order, and its metadata."""
    run = world.write_run(folder, "video_llm", seed)
    spec = yaml.safe_load(run.read_text())
    spec["method_options"] = {"model": "m", "base_url": server.url, "api_key_env": "TEST_KEY", "retries": 0, **options}
    run.write_text(yaml.safe_dump(spec))
    output = folder / "predictions.parquet"
    cache = cache or folder / "cache"
    predict_clips(run, world.splits(), [world.frames], world.texts, world.backbone, None, output, cache=cache)
    rows = tables.read_rows("predictions", output)
    return {(row["clip_id"], row["frame_order"]): row for row in rows}, tables.read_metadata(output)


@pytest.fixture
def server(monkeypatch):
    with serving(monkeypatch) as server:
        yield server


def test_each_test_clip_is_one_request_with_its_frames_and_the_classes(world, tmp_path, server):
    label = world.labels[1]
    server.script = choosing(label)
    rows, metadata = predict(world, tmp_path, server)
    test = [row for row in tables.read_rows("clips", world.clips) if row["split"] == "test"]
    assert set(rows) == {(clip["clip_id"], "ordered") for clip in test}
    assert all(row["score_K"] == [0, 1, 0, 0] and row["note"] is None for row in rows.values())
    assert metadata["labels"] == {"test": world.labels}
    assert len(server.requests) == len(test)
    _, authorization, asked = server.requests[0]
    assert authorization == f"Bearer {KEY}"
    assert set(listed(asked)) == set(world.labels)
    assert asked["response_format"]["json_schema"]["schema"]["required"] == ["choices"]
    store = FrameStore([world.frames])
    sent = {images_of(body)[0].tobytes() for _, _, body in server.requests}
    assert len(images_of(asked)) == len(store.frames(test[0]["clip_id"]))
    assert len(sent) > 1
    assert KEY not in "".join(path.read_text() for path in (tmp_path / "cache").rglob("*.json"))


def test_the_pictures_are_the_frames_and_the_cache_holds_none(world, tmp_path, server):
    server.script = choosing(world.labels[0])
    rows, _ = predict(world, tmp_path, server, jpeg_quality=100, motion_probes=True)
    clip_id = next(iter(rows))[0]
    assert {order for name, order in rows if name == clip_id} == set(FRAME_ORDERS)
    frames_THWC = FrameStore([world.frames]).frames(clip_id).permute(0, 2, 3, 1).numpy()
    errors = []
    for _, _, asked in server.requests:
        pictures = np.stack(images_of(asked)).astype(int)
        errors.append((np.abs(pictures - frames_THWC).mean(), np.abs(pictures - frames_THWC[::-1]).mean()))
    assert min(ordered for ordered, _ in errors) < 2
    assert min(backwards for _, backwards in errors) < 2
    for path in (tmp_path / "cache/replies").glob("*.json"):
        assert path.stat().st_size < 10_000
        assert "base64" not in path.read_text()


def test_replies_are_cached_and_their_cost_is_that_of_a_first_run(world, tmp_path, server, monkeypatch):
    server.script = choosing(world.labels[0])
    first, metadata = predict(world, tmp_path / "a", server, cache=tmp_path / "c", price_in=2.0, price_out=10.0)
    asked = len(server.requests)
    monkeypatch.delenv("TEST_KEY")
    repeated, cached = predict(world, tmp_path / "b", server, cache=tmp_path / "c", price_in=2.0, price_out=10.0)
    assert len(server.requests) == asked
    assert first == repeated
    cost = {
        "requests_per_clip": 1.0,
        "prompt_tokens_per_clip": USAGE[0],
        "answer_tokens_per_clip": USAGE[1],
        "usd_per_clip": pytest.approx(400 * 2e-6 + 100 * 10e-6),
    }
    for part in (metadata, cached):
        assert {name: part["cost"][name] for name in cost} == cost
    assert metadata["predict_clips_per_s"] > 0
    assert cached["predict_clips_per_s"] is None
    assert cached["answers"]["models"] == ["m-2024-05"]


def test_answers_that_name_no_choice_count_as_wrong_and_are_named(world, tmp_path, server):
    answers = iter(['{"choices": [99]}', "I cannot tell.", '{"choices": []}', json.dumps({"choices": ["dancing"]})])
    server.script = lambda asked: completion(next(answers, '{"choices": [1]}'))
    rows, metadata = predict(world, tmp_path, server, max_in_flight=1)
    notes = [row["note"] for row in rows.values() if row["note"]]
    assert len(notes) == metadata["answers"]["unusable"] == 4
    assert any("99 is not in the list of choices" in note for note in notes)
    assert any("the answer is not JSON" in note for note in notes)
    assert any('"dancing" is not in the list' in note for note in notes)
    assert all(np.isnan(row["score_K"]).all() for row in rows.values() if row["note"])
    sentence = answers_sentence(metadata["answers"])
    assert f"4 of {len(rows)} answers could not be used and count as wrong" in sentence
    measure_quickly(tmp_path, tmp_path / "predictions.parquet", world.confusables, tmp_path / "metrics.parquet")
    metrics = {row["metric"]: row for row in tables.read_rows("metrics", tmp_path / "metrics.parquet")}
    right = sum(row["score_K"][row["target"]] == 1 for row in rows.values())
    assert metrics["top1"]["value"] == pytest.approx(right / len(rows))
    assert metrics["top1"]["clips"] == len(rows)
    assert not {"ece", "aurc"} & metrics.keys()  # an answer has no confidence


def test_a_request_without_a_reply_fails_the_job_and_the_next_run_asks_only_for_it(world, tmp_path, server):
    answers = iter([completion('{"choices": [1]}'), error(500, "overloaded")])
    server.script = lambda asked: next(answers, completion('{"choices": [1]}'))
    with pytest.raises(ValueError, match=r"1 of \d+ requests got no reply .*overloaded.* run again"):
        predict(world, tmp_path, server, max_in_flight=1, structured=False)
    assert not (tmp_path / "predictions.parquet").exists()
    before = len(server.requests)
    predict(world, tmp_path, server, max_in_flight=1, structured=False)
    assert len(server.requests) == before + 1


def test_requests_without_a_reply_count_as_wrong_where_that_is_allowed(world, tmp_path, server):
    answers = iter([completion('{"choices": [1]}'), error(500, "overloaded")])
    server.script = lambda asked: next(answers, completion('{"choices": [1]}'))
    rows, _ = predict(world, tmp_path, server, max_in_flight=1, structured=False, max_no_reply=0.5)
    (note,) = [row["note"] for row in rows.values() if row["note"]]
    assert note.startswith("no reply: ")
    assert "overloaded" in note


def test_the_cost_cap_stops_the_run_and_a_key_is_needed(world, tmp_path, server, monkeypatch):
    server.script = choosing(world.labels[0])
    prices = {"price_in": 2.0, "price_out": 10.0}  # 0.0018 USD a reply
    with pytest.raises(ValueError, match=r"video_llm: cost cap of 0\.006 USD .* raise max_usd"):
        predict(world, tmp_path, server, max_usd=0.006, **prices)
    assert 1 <= len(server.requests) <= 3
    rows, metadata = predict(world, tmp_path, server, max_usd=1.0, **prices)
    assert len(server.requests) == len(rows)  # each clip was asked about once
    assert metadata["answers"]["usd"] == pytest.approx(0.0018 * len(rows))
    monkeypatch.delenv("TEST_KEY")
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(ValueError, match="video_llm: no key in the environment variable OPENAI_API_KEY"):
        predict(world, tmp_path, server, base_url=None, api_key_env="OPENAI_API_KEY")


def test_the_seed_orders_the_choices_and_draws_the_examples(world, tmp_path, server):
    server.script = choosing(world.labels[0])
    orders = set()
    for seed in range(3):
        predict(world, tmp_path / str(seed), server, seed, examples=2)
        _, _, asked = server.requests[-1]
        orders.add(tuple(listed(asked).items()))
        assert [message["role"] for message in asked["messages"]] == ["user", "assistant"] * 2 + ["user"]
        right = [json.loads(m["content"])["choices"][0] for m in asked["messages"] if m["role"] == "assistant"]
        assert len(set(right)) == 2  # one of each of two classes
    assert len(orders) == 3


def test_examples_show_training_clips_with_their_class(world, tmp_path, server):
    server.script = choosing(world.labels[0])
    predict(world, tmp_path, server, examples=1, jpeg_quality=100)
    _, _, asked = server.requests[0]
    store, first = FrameStore([world.frames]), images_of(asked)[0].astype(int)
    rows = [row for row in tables.read_rows("clips", world.clips) if row["split"] == "train"]
    distance = {
        row["clip_id"]: np.abs(store.frames(row["clip_id"])[0].permute(1, 2, 0).numpy() - first).mean() for row in rows
    }
    nearest = min(rows, key=lambda row: distance[row["clip_id"]])
    assert distance[nearest["clip_id"]] < 2
    number = json.loads(asked["messages"][1]["content"])["choices"][0]
    assert listed(asked)[nearest["label"]] == number


def test_descriptions_are_part_of_the_choices(world, tmp_path, server):
    server.script = choosing(world.labels[0])
    predict(world, tmp_path / "a", server)
    assert f"before {world.labels[0]} it waits" in texts_of(server.requests[-1][2])[0]
    predict(world, tmp_path / "b", server, descriptions=0)
    assert "it waits" not in texts_of(server.requests[-1][2])[0]


def test_ranked_choices_score_by_their_rank(world, tmp_path, server):
    server.script = lambda asked: completion('{"choices": [2, 1, 2]}')
    rows, _ = predict(world, tmp_path, server, ranked=2)
    assert "the numbers of the 2 best choices" in texts_of(server.requests[0][2])[0]
    names = {number: text for text, number in listed(server.requests[0][2]).items()}
    score = dict(zip(world.labels, next(iter(rows.values()))["score_K"], strict=True))
    assert (score[names[2]], score[names[1]]) == (2, 1)
    assert sorted(score.values()) == [0, 0, 1, 2]


def test_the_run_has_no_shares_and_cannot_classify_videos(world, tmp_path, server):
    server.script = choosing(world.labels[0])
    _, metadata = predict(world, tmp_path, server)
    assert read_calibration(metadata["calibration"]).ranks_only
    with pytest.raises(ValueError, match="video_llm is a model behind an API"):
        find_run_files(tmp_path)


def test_without_a_cache_nothing_is_asked(world, tmp_path):
    run, output = world.write_run(tmp_path, "video_llm"), tmp_path / "predictions.parquet"
    with pytest.raises(ValueError, match="asks a server; pass --cache"):
        predict_clips(run, world.splits(), [world.frames], world.texts, world.backbone, None, output)


@pytest.mark.parametrize(
    ("content", "positions"),
    [
        ('{"choices": [2]}', [1]),
        ('{"choices": 3}', [2]),
        ("[3, 1, 3, 9]", [2, 0]),
        ("2", [1]),
        ('{"choice": "Moving  Left."}', [0]),
        ('{"choices": ["2. moving right"]}', [1]),
        ('<think>2?</think>```json\n{"choices": [3.0]}\n```', [2]),
    ],
)
def test_answers_in_other_forms_are_read(content, positions):
    assert read_choices(content, ["moving left", "moving right", "spinning"]) == positions


@pytest.mark.parametrize(
    "content", ["", "none", '{"choices": [0]}', '{"choices": [true]}', '{"choices": [null, 1]}', '{"choices": [1e999]}']
)
def test_answers_that_name_no_choice_are_refused(content):
    with pytest.raises(ValueError, match=r"not in the list|names no choice|is not JSON"):
        read_choices(content, ["moving left", "moving right"])


def test_too_many_choices_are_refused(tmp_path):
    cls, config = configure_method("video_llm", {"max_choices": 2})
    method = cls(None, config)
    method.start(0, tmp_path)
    with pytest.raises(ValueError, match=r"3 choices are more than max_choices \(2\)"):
        method.answer(torch.zeros(1, 3, 8, 8), Question([Choice("a"), Choice("b"), Choice("c")]))


def test_captions_that_are_not_chosen_are_in_random_order(tmp_path, server):
    server.script = [completion('{"choices": [1]}')]
    options = {"model": "m", "base_url": server.url, "api_key_env": "TEST_KEY"}
    cls, config = configure_method("video_llm", options)
    method = cls(None, config)
    method.start(0, tmp_path)
    question = Question([Choice(f"caption {k}") for k in range(20)], captions=True)
    (first, second, other) = (method.answer(torch.full((2, 3, 8, 8), v), question).score_K for v in (0, 0, 9))
    assert (first == second).all()
    chosen = method.choice_order(20)[0]
    assert first[chosen] == other[chosen] == 1
    assert sorted(first)[-2] < 0.5
    assert len(set(first)) == 20
    assert (first != other).any()


def test_a_picture_is_named_by_its_pixels_and_sent_once():
    _, config = configure_method("video_llm", {"detail": None})
    frames_TCHW = torch.zeros(3, 3, 8, 8, dtype=torch.uint8)
    question = Question([Choice("a"), Choice("b")], [Example(frames_TCHW, 1)])
    request, images = ask(frames_TCHW, question, [1, 0], config)
    assert len(images) == 1
    assert request["messages"][1]["content"] == '{"choices": [1]}'
    parts = [p for m in request["messages"] if isinstance(m["content"], list) for p in m["content"]]
    assert {json.dumps(p["image_url"]) for p in parts if p["type"] == "image_url"} == {
        json.dumps({"url": next(iter(images))})
    }

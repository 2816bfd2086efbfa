"""The prompt asks for sentences that fit the token limit of the backbone."""

from contextlib import suppress

import pytest

from chat_server import error
from chat_world import options, serving
from describe_world import write_world
from kinetext.config.texts import TextOptions
from kinetext.texts import prompts
from kinetext.texts.chat.limits import words_within
from kinetext.texts.checks import TokenLimit
from kinetext.texts.describe import describe_classes

SHAPES = {"module": "bundled", "options": {"bank": "shapes"}}


def requested(folder, monkeypatch, tokens, module="chat_api", **more) -> list[str]:
    """The first message of every request for a table, for a backbone of `tokens` tokens (None: unknown)."""
    with serving(monkeypatch) as server:
        server.script = [error(404)]  # no answer is needed here
        limit = None if tokens is None else TokenLimit(tokens, lambda text: len(text.split()) + 2)
        text_options = TextOptions(module=module, options=options(server, retries=0, **more))
        with suppress(ValueError):
            describe_classes(**write_world(folder, name="mine", options=text_options, limit=limit))
        return [asked["messages"][0]["content"] for _, _, asked in server.requests]


@pytest.mark.parametrize(
    ("tokens", "words"), [(77, 25), (76, 25), (64, 25), (36, 25), (35, 24), (32, 22), (16, 10), (1, 25)]
)
def test_a_sentence_of_the_requested_words_fits(tokens, words):
    """1 token: a backbone without a text encoder."""
    assert words_within(tokens) == words


@pytest.mark.parametrize(
    "more",
    [{}, {"about": "appearance"}, {"ask": "pair"}, {"module": "refined", "of": SHAPES, "sentences": 1}],
    ids=["class", "appearance", "pair", "second round"],
)
def test_the_words_follow_from_the_limit_and_are_25_for_clip(tmp_path, monkeypatch, more):
    texts = {tokens: requested(tmp_path / str(tokens), monkeypatch, tokens, **more) for tokens in (None, 77, 32)}
    assert texts[None]
    assert set(texts[77]) <= set(texts[None])  # so that cached replies stay valid
    for words, of_limit in ((25, texts[77]), (22, texts[32])):
        assert of_limit
        assert all(f"plain English of at most {words} words," in text for text in of_limit)


def test_the_prompt_about_a_clip_states_them_too():
    assert prompts.clip_prompt(1, 0, 22) == prompts.clip_prompt(1, 0).replace("at most 25 words", "at most 22 words")

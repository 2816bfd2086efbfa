"""Contract of text providers, over every one found. A new provider gets one line in CASES."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from kinetext.contracts import Case, checks
from kinetext.contracts.texts import with_frames
from kinetext.core import plugins
from kinetext.texts import cache
from kinetext.texts.providers.base import Context
from kinetext.texts.providers.captions_of_clips import CaptionsOfClips
from kinetext.texts.providers.chat_api import ChatApi
from kinetext.texts.questions import class_question

LABELS = ["rising", "falling"]


def cached_replies(folder: Path, options: dict) -> None:
    """Replies as chat_api would have cached them: the contract needs no server and no key."""
    provider = ChatApi(ChatApi.Config(**options))
    for label, rival in (LABELS, LABELS[::-1]):
        answer = {
            "start": f"{label} starts",
            "steps": [f"{label} begins", f"{label} nears its end"],
            "end": f"{label} ends",
            "whole": [f"it is {label}", f"it goes on {label}"],
        }
        message = {"role": "assistant", "content": json.dumps(answer)}
        body = {"model": "m-1", "choices": [{"finish_reason": "stop", "message": message}]}
        asked = class_question(label, [rival], provider.config).request
        cache.fetch_reply(asked, folder, lambda body=body: {"mode": "text", "reply": json.dumps(body)})


def cached_captions(folder: Path, options: dict) -> None:
    """Replies as captions_of_clips would have cached them, about the clips of the contract."""
    provider = CaptionsOfClips(CaptionsOfClips.Config(**options))
    context = with_frames(Context(LABELS, folder))
    for label in LABELS:
        answer = {
            "start": f"{label} starts",
            "steps": ["it moves"],
            "end": f"{label} ends",
            "whole": [f"it is {label}"],
        }
        message = {"role": "assistant", "content": json.dumps(answer)}
        body = {"model": "m-1", "choices": [{"finish_reason": "stop", "message": message}]}
        provider._draw(label, context)
        (asked,) = provider.questions(label, [])
        cache.fetch_reply(asked.request, folder, lambda body=body: {"mode": "text", "reply": json.dumps(body)})


def edited_file(folder: Path, options: dict) -> None:
    """A file that somebody wrote, with one column more than the two that there must be."""
    options["path"] = str(folder / "edited.csv")
    rows = [f"{label},it is {label},{phase}" for label in LABELS for phase in ("start", "")]
    (folder / "edited.csv").write_text("\n".join(["label,sentence,phase", *rows]))


# provider -> its options, and what has to be there before it can answer without network or key
CASES: dict[str, tuple[dict, Callable[[Path, dict], None] | None]] = {
    "bundled": ({"bank": "shapes"}, None),
    "captions": ({}, None),
    "captions_of_clips": ({"model": "m", "steps": 1}, cached_captions),
    "chat_api": ({"model": "m", "sentences": 2}, cached_replies),
    "file": ({"path": "edited.csv"}, edited_file),
    "names": ({"templates": ("{}", "a clip of {}.")}, None),
    "random_words": ({}, None),
    "refined": ({"model": "m", "of": {"module": "bundled", "options": {"bank": "shapes"}}}, None),
    "shuffled": ({"of": {"module": "bundled", "options": {"bank": "shapes"}}}, None),
    "shuffled_steps": ({"of": {"module": "bundled", "options": {"bank": "shapes"}}}, None),
    "swapped": ({"of": {"module": "bundled", "options": {"bank": "shapes"}}}, None),
}


@pytest.mark.parametrize("name", plugins.names("texts"))
@pytest.mark.parametrize("check", checks("texts"), ids=lambda check: check.__name__)
def test_contract(name, check, tmp_path, monkeypatch):
    assert name in CASES, f"provider {name} has no entry in CASES of {__file__}: add its options there"
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    options, prepare = CASES[name]
    if prepare:
        prepare(tmp_path, options)
    check(Case("texts", name, tmp_path, options))


@pytest.mark.parametrize("name", plugins.names("texts"))
def test_every_option_is_described(name):
    assert all(field.description for field in plugins.load("texts", name).Config.model_fields.values())

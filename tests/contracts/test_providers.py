"""What every provider promises, whichever it is. A new provider gets one line in CASES."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from kinetext.core import plugins
from kinetext.core.schemas import DESCRIPTIONS
from kinetext.texts import cache
from kinetext.texts.providers.base import Context, Provider, Text, load_provider
from kinetext.texts.providers.chat_api import ChatApi

LABELS = ["rising", "falling"]


def cached_replies(folder: Path, options: dict) -> None:
    """Replies as chat_api would have cached them: the contract needs no server and no key."""
    provider = ChatApi(ChatApi.Config(**options))
    for label, rival in (LABELS, LABELS[::-1]):
        answer = {
            "start": f"{label} starts",
            "end": f"{label} ends",
            "whole": [f"it is {label}", f"it goes on {label}"],
        }
        message = {"role": "assistant", "content": json.dumps(answer)}
        body = {"model": "m-1", "choices": [{"finish_reason": "stop", "message": message}]}
        asked = provider.request(label, [rival])
        cache.reply_to(asked, folder, lambda body=body: {"mode": "text", "reply": json.dumps(body)})


def edited_file(folder: Path, options: dict) -> None:
    """A file that somebody wrote, with one column more than the two that there must be."""
    options["path"] = str(folder / "edited.csv")
    rows = [f"{label},it is {label},{phase}" for label in LABELS for phase in ("start", "")]
    (folder / "edited.csv").write_text("\n".join(["label,sentence,phase", *rows]))


# provider -> its options, and what has to be there before it can answer without network or key
CASES: dict[str, tuple[dict, Callable[[Path, dict], None] | None]] = {
    "bundled": ({"bank": "shapes"}, None),
    "captions": ({}, None),
    "chat_api": ({"model": "m", "sentences": 2}, cached_replies),
    "file": ({"path": "edited.csv"}, edited_file),
    "names": ({"templates": ("{}", "a clip of {}.")}, None),
    "random_words": ({}, None),
    "shuffled": ({"of": {"module": "bundled", "options": {"bank": "shapes"}}}, None),
    "swapped": ({"of": {"module": "bundled", "options": {"bank": "shapes"}}}, None),
}


@pytest.mark.parametrize("name", plugins.names("texts"))
def test_contract(name, tmp_path, monkeypatch):
    assert name in CASES, f"provider {name} has no entry in CASES of {__file__}: add its options there"
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    options, prepare = CASES[name]
    if prepare:
        prepare(tmp_path, options)
    provider = load_provider("texts.mine", name, options)
    assert isinstance(provider, Provider)
    said = {label: [f"it is {label}", f"it is {label}"] for label in LABELS}
    context = Context(LABELS, tmp_path, said)
    if provider.source:
        check_rearranged(provider, context)
        return
    for label, rival in (LABELS, LABELS[::-1]):
        texts = provider.describe(label, [rival], context)
        assert texts
        for text in texts:
            assert isinstance(text, Text)
            assert text.label == label
            assert text.kind in (("caption",) if provider.of_captions else ("name", *DESCRIPTIONS))
            assert text.phase in ("whole", "start", "end")
            assert text.sentence.strip() == text.sentence != ""
            assert text.source
            assert text.status == "ok"
        assert provider.describe(label, [rival], context) == texts
        assert provider.describe(label, [rival], Context(LABELS[::-1], tmp_path, said)) == texts


def without_owner(told):
    return sorted(
        str(replace(text, label="", source="")) for texts in told.values() for text in texts if text.kind != "name"
    )


def check_rearranged(provider, context):
    rivals = dict(zip(LABELS, ([k] for k in LABELS[::-1]), strict=True))
    told = {label: [Text(label, label), *provider.source.describe(label, rivals[label], context)] for label in LABELS}
    handed = provider.rearrange(told, rivals)
    assert list(handed) == LABELS
    for label, texts in handed.items():
        assert texts[0] == told[label][0]
        assert {text.label for text in texts} == {label}
    assert without_owner(handed) == without_owner(told)
    assert provider.rearrange(dict(reversed(told.items())), rivals) == handed


@pytest.mark.parametrize("name", plugins.names("texts"))
def test_config_is_frozen_and_refuses_unknown_options(name):
    provider = plugins.load("texts", name)
    with pytest.raises(ValueError, match="colour: unknown key"):
        plugins.configure(provider, {**CASES[name][0], "colour": "red"})
    assert provider.Config.model_config["frozen"]
    assert all(field.description for field in provider.Config.model_fields.values())

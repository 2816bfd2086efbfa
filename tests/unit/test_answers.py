"""Prompts for a language model, and the parsing of its answers."""

import pytest

from kinetext.texts.answers import parse_answer
from kinetext.texts.prompts import messages


def test_prompt_names_rivals_and_number_of_sentences():
    (message,) = messages("drop kick", ["kick", 'say "hi"'], sentences=2)
    assert message["role"] == "user"
    assert 'Class: "drop kick"' in message["content"]
    assert '"kick", "say \\"hi\\""' in message["content"]
    assert '"whole": ["...", "..."]' in message["content"]
    assert "2 sentences" in message["content"]
    assert "mistaken" not in messages("jump", [], 1)[0]["content"]


@pytest.mark.parametrize(
    "wrap",
    [
        *("{}", " {}\n", "\ufeff{}", "\n\ufeff {}", "[{}]", " [\n{}\n] "),
        *("```json\n{}\n```", "```\n{}```", "```JSON\n{}\n```", "```Json {}```", "```json\n{}", "```json\n[{}]\n```"),
        *("Here it is:\n```json\n{}\n```\nI hope that helps.", "Sure!\n```\n{}\n```"),
        *("<think>It rises {first}.</think>{}", "<think>\n```json\n{}\n``` no\n</think>\n\n```json\n{}\n```"),
        *("It is {first}, then.\n</think>\n{}", "<think></think>{}", "\ufeff<think>a</think>\ufeff{}"),
    ],
)
def test_answer_is_parsed_in_its_usual_forms(wrap):
    answer = '{"start": " low", "end": "high", "whole": ["it goes up "], "note": 1}'
    assert parse_answer(wrap.replace("{}", answer)) == [
        (0.0, "low"),
        (1.0, "high"),
        (None, "it goes up"),
    ]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("Sure, here it is: {}", "is not JSON"),
        ("[1]", "is a JSON list"),
        ("[{}, {}]", "is a JSON list"),
        ("[]", "is a JSON list"),
        ("```json\nno\n```", "is not JSON"),
        ("<think>It rises, and", "was cut off inside its <think> block"),
        ("<think>It rises</think>", "is not JSON"),
        ('{"start": "a", "whole": ["b"]}', "has no 'end'"),
        ('{"start": "a", "end": "b", "whole": []}', "'whole' in the answer"),
        ('{"start": "a", "end": "b", "whole": "c"}', "'whole' in the answer"),
        ('{"start": "a", "end": null, "whole": ["c"]}', "'end' in the answer"),
    ],
)
def test_unreadable_answer_is_refused(content, complaint):
    with pytest.raises(ValueError, match=complaint):
        parse_answer(content)

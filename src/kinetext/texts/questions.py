"""What is asked of a language model about one class: one request per class, or one per pair of confusable classes.

`request` of a question is everything that determines the reply; its hash names the file of the cached reply. `max_words`
is the most words that are requested per sentence.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from kinetext.texts import answers, cache, prompts
from kinetext.texts.chat.completion import read_completion
from kinetext.texts.chat.limits import MAX_WORDS
from kinetext.texts.chat.options import ChatOptions
from kinetext.texts.positions import part_name
from kinetext.texts.providers.base import Text


@dataclass(frozen=True)
class Question:
    """A request, and which sentences of its answer are about the class.

    `rival` is the column of the table: all rivals of the class, separated by " | ", or the other class of a pair. `part`
    is the key of the class in the answer about a pair; None if the answer is about this class alone.
    """

    request: dict[str, Any]
    rival: str | None
    part: prompts.Part | None = None

    @cached_property
    def key(self) -> str:
        """The hash of the request."""
        return cache.request_hash(self.request)


def sentences_per_class(config: ChatOptions) -> int:
    """Return how many sentences about one class an answer has."""
    return config.sentences + config.steps + 2


def class_question(label: str, rivals: list[str], config: ChatOptions, max_words: int = MAX_WORDS) -> Question:
    """Return the question about a class and what distinguishes it from its rivals."""
    whole = config.sentences if config.about == "motion" else sentences_per_class(config)
    messages = prompts.messages(label, rivals, whole, config.about, config.steps, max_words)
    schema = answers.schema(config.about, config.steps)
    request = _request(messages, schema, prompts.version(config.about, config.steps), config)
    return Question(request, " | ".join(rivals) or None)


def pair_question(label: str, rival: str, config: ChatOptions, max_words: int = MAX_WORDS) -> Question:
    """Return the question about two classes, which is the same for both of them."""
    first, second = sorted((label, rival))
    messages = prompts.pair_messages(first, second, config.sentences, config.steps, max_words)
    request = _request(messages, answers.pair_schema(config.steps), prompts.VERSIONS["pair"], config)
    return Question(request, rival, "first" if label == first else "second")


def refine_question(
    label: str,
    rival: str,
    texts: dict[str, list[Text]],
    score: float,
    config: ChatOptions,
    max_words: int = MAX_WORDS,
) -> Question:
    """Return the question about two classes that are still confused, which shows their old sentences."""
    first, second = sorted((label, rival))
    old = [
        [text.sentence for text in texts[k] if text.kind == "motion" and text.status == "ok"] for k in (first, second)
    ]
    messages = prompts.refine_messages((first, second), old, score, config.sentences, config.steps, max_words)
    request = _request(messages, answers.pair_schema(config.steps), prompts.VERSIONS["refined"], config)
    return Question(request, rival, "first" if label == first else "second")


def clip_question(image_parts: list[dict[str, Any]], config: ChatOptions, max_words: int = MAX_WORDS) -> Question:
    """Return the question about a training clip. `image_parts` are its frames as parts of a message."""
    text = prompts.clip_prompt(config.sentences, config.steps, max_words)
    messages = [{"role": "user", "content": [{"type": "text", "text": text}, *image_parts]}]
    return Question(_request(messages, answers.schema("motion", config.steps), prompts.VERSIONS["clip"], config), None)


def pair_partners(rivals: dict[str, list[str]]) -> dict[str, list[str]]:
    """Return the classes that each class is compared with: its rivals, and the classes that it is a rival of."""
    partners = {label: list(of_label) for label, of_label in rivals.items()}
    for label, of_label in rivals.items():
        for rival in of_label:
            if rival in partners and label not in partners[rival]:
                partners[rival].append(label)
    return partners


def questions(
    label: str, rivals: list[str], partners: list[str], config: ChatOptions, max_words: int = MAX_WORDS
) -> list[Question]:
    """Return all questions about a class: one, or with `ask: pair` one per partner."""
    if config.ask == "pair" and partners:
        return [pair_question(label, partner, config, max_words) for partner in partners]
    return [class_question(label, rivals, config, max_words)]


def correction(question: Question, record: dict[str, Any], texts: list[Text], config: ChatOptions) -> Question:
    """Return the question that asks to correct the faults of an answer. `texts` are its checked sentences."""
    answer = answer_text(record) or "(no answer)"
    messages = prompts.correction(record["request"]["messages"], answer, _faults(question, record, texts, config))
    version = f"{record['request']['prompt_version'].partition('+')[0]}+{prompts.VERSIONS['correction']}"
    request = {**record["request"], "messages": messages, "prompt_version": version}
    return Question(request, question.rival, question.part)


def parse(question: Question, content: str, config: ChatOptions) -> list[tuple[float | None, str]]:
    """Return the sentences about the class in an answer, with their positions. Raises ValueError that names the fault."""
    if question.part:
        return answers.parse_pair(content, question.part)
    return answers.parse_answer(content, config.about, config.steps)


def _faults(question: Question, record: dict[str, Any], texts: list[Text], config: ChatOptions) -> list[str]:
    """Return the faults of a reply, one string each, for the correction. Paths and hints for the user are left out."""
    try:
        parse(question, read_completion(record["reply"]).answer(), config)
    except ValueError as error:
        return [str(error)]
    if config.about == "appearance":  # its answer is one list, whatever positions the sentences get
        asked, count = sentences_per_class(config), sum(bool(text.sentence) for text in texts)
        faults = [f'whole, "{text.sentence}": {text.status}' for text in texts if text.sentence and text.status != "ok"]
        return faults + [f"whole: count: the answer has {count} of the {asked} requested sentences"] * (count < asked)
    where = f"{question.part}, " if question.part else ""
    return [
        f'{where}{part_name(text.position)}, "{text.sentence}": {text.status}'
        if text.sentence
        else f"{where}{part_name(text.position)}: {text.status}"
        for text in texts
        if text.status != "ok"
    ]


def answer_text(record: dict[str, Any]) -> str | None:
    """Return the text of a cached reply; None if it has none."""
    try:
        return read_completion(record["reply"]).text
    except ValueError:
        return None


def _request(
    messages: list[dict[str, Any]], schema: dict[str, Any], version: str, config: ChatOptions
) -> dict[str, Any]:
    return {
        "base_url": config.server.base_url,
        "model": config.model,
        "temperature": config.temperature,
        "messages": messages,
        "schema": schema if config.structured else None,
        "prompt_version": version,
    }

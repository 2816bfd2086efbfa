"""Choose where the motion descriptions of a study come from, and estimate the cost of a language model."""

import math
import os
from pathlib import Path
from typing import Any

from kinetext.start.choices import Choice
from kinetext.texts.chat import limits
from kinetext.texts.providers.bundled import BANKS, read_bank
from kinetext.texts.providers.captions_of_clips import CaptionOptions
from kinetext.texts.providers.chat_api import ChatApi
from kinetext.texts.questions import clip_question, pair_partners, questions, sentences_per_class

RIVALS = 3  # of a class in a request, as confusables.rivals


def choose_descriptions(labels: tuple[str, ...], file: Path | None, server: str | None, model: str | None) -> Choice:
    """Return the options of the text set: a file, a server, sentences that come with kinetext, else OpenAI.

    Raises ValueError if a server is named without a model.
    """
    if file is not None:
        return Choice({"module": "file", "options": {"path": str(file.absolute())}}, "your sentences")
    if server is not None:
        if model is None:
            raise ValueError(f"--server: needs --model, a model that {server} serves")
        options: dict[str, Any] = {"base_url": server, "model": model}
        return Choice({"module": "chat_api", "options": options}, f"written by {model} at {server}; no key is needed")
    bank = covering_bank(labels) if model is None else None
    if bank is not None:
        return Choice(
            {"module": "bundled", "options": {"bank": bank}}, f"kinetext has sentences for all {len(labels)} classes"
        )
    chat = ChatApi.Config(model=model) if model else ChatApi.Config()
    options = {"model": chat.model}
    tokens, usd = estimate_cost(ChatApi(chat), labels)
    if usd is None:
        price = f"about {tokens.prompt + tokens.completion} tokens; the price of {chat.model} is not known here"
    else:
        options["max_usd"] = max(1, math.ceil(3 * usd))
        price = f"about {usd:.2g} USD; the run stops before it costs more than max_usd"
    key = "" if os.environ.get(chat.api_key_env) else f"; first `export {chat.api_key_env}=YOUR_KEY`"
    return Choice({"module": "chat_api", "options": options}, f"{price}{key}")


def covering_bank(labels: tuple[str, ...]) -> str | None:
    """Return the name of the first bank with sentences for every class; None if there is no such bank."""
    names = sorted(path.stem for path in BANKS.glob("*.yaml"))
    return next((name for name in names if set(labels) <= set(read_bank(name)["classes"])), None)


def estimate_cost(provider: ChatApi, labels: tuple[str, ...]) -> tuple[limits.Tokens, float | None]:
    """Return the approximate tokens of the requests for all classes, and their cost in USD (None if unknown)."""
    config = provider.config
    sentences = sentences_per_class(config)
    tokens = limits.Tokens(0, 0)
    if isinstance(config, CaptionOptions):  # one request per clip, with its frames
        request = clip_question([{"type": "image_url"}] * config.frames, config).request
        of_clip, clips = limits.estimate(request, sentences), config.clips * len(labels)
        tokens = limits.Tokens(of_clip.prompt * clips, of_clip.completion * clips)
        return tokens, config.prices.cost(tokens) if config.prices else None
    rivals = {label: [other for other in labels if other != label][:RIVALS] for label in labels}
    partners = pair_partners(rivals)
    asked = {q.key: q for label in labels for q in questions(label, rivals[label], partners[label], config)}
    for question in list(asked.values())[: getattr(config, "pairs", None)]:
        tokens += limits.estimate(question.request, sentences * (2 if config.ask == "pair" else 1))
    factor = limits.BATCH_PRICE_FACTOR if config.batch else 1.0
    return tokens, config.prices.cost(tokens) * factor if config.prices else None

"""Choose where the motion descriptions of a study come from."""

import math
import os
from pathlib import Path
from typing import Any

from kinetext.start.choices import Choice
from kinetext.texts.providers.bundled import BANKS, read_bank
from kinetext.texts.providers.chat_api import ChatApi


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
    cost = ChatApi(chat).estimate_cost(labels)
    if cost.usd is None:
        price = (
            f"about {cost.tokens.prompt + cost.tokens.completion} tokens; the price of {chat.model} is not known here"
        )
    else:
        options["max_usd"] = max(1, math.ceil(3 * cost.usd))
        price = f"about {cost.usd:.2g} USD; the run stops before it costs more than max_usd"
    key = "" if os.environ.get(chat.api_key_env) else f"; first `export {chat.api_key_env}=YOUR_KEY`"
    return Choice({"module": "chat_api", "options": options}, f"{price}{key}")


def covering_bank(labels: tuple[str, ...]) -> str | None:
    """Return the name of the first bank with sentences for every class; None if there is no such bank."""
    names = sorted(path.stem for path in BANKS.glob("*.yaml"))
    return next((name for name in names if set(labels) <= set(read_bank(name)["classes"])), None)

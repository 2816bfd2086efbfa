"""What `shuffled` and `swapped` share: which provider's rows they rearrange, and how a class is given another's.

Of WaffleCLIP's (Roth et al., ICCV 2023) sanity checks: if descriptions of the wrong class do as well as those of the
right one, it is not what they say that helps. The rows are described and checked as the table that they come from, so
that a control has exactly the sentences of that table, and differs in whose they are. Names stay with their class.
"""

from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

from pydantic import Field

from kinetext.core import plugins
from kinetext.core.tables import DESCRIPTIONS
from kinetext.texts import providers
from kinetext.texts.providers import Text


class Of(plugins.Options):
    """A provider and its options, as under `texts` of config.yaml."""

    module: str = Field(description="module of texts/providers that describes")
    options: dict[str, Any] = Field(default_factory=dict, description="the module's Config")


class Config(plugins.Options):
    """Whose rows are rearranged."""

    of: Of = Field(description="the provider whose descriptions are given to other classes")


def of(config: Config) -> tuple[ModuleType, Any]:
    """The provider whose rows are rearranged, and its Config. Raises ValueError, with the option's name, if it will not do."""
    try:
        provider = plugins.load_module(providers, config.of.module)
    except ValueError as error:
        raise ValueError(f"of.module: {error}") from None
    if hasattr(provider, "rearrange") or not getattr(provider, "DESCRIBES", True):
        raise ValueError(
            f"of.module: {config.of.module} describes no class by itself; take one such as bundled or chat_api"
        )
    try:
        return provider, plugins.configure(provider, config.of.options)
    except ValueError as error:
        raise ValueError(f"of.options.{error}") from None


def check(config: Config) -> None:
    """Raise ValueError for what the provider itself would refuse."""
    provider, options = of(config)
    if hasattr(provider, "check"):
        try:
            provider.check(options)
        except ValueError as error:
            raise ValueError(f"of.options.{error}") from None


def list_files(config: Config) -> list[Path]:
    """The files that the provider reads."""
    provider, options = of(config)
    return provider.list_files(options) if hasattr(provider, "list_files") else []


def hand_over(told: dict[str, list[Text]], giver: dict[str, str], how: str) -> dict[str, list[Text]]:
    """The same table with every class's descriptions replaced by those of its `giver`.

    Each keeps its provenance and status, and its source says whose it was. A class without a giver gets a row that says so.
    """
    handed = {}
    for label, own in told.items():
        handed[label] = [text for text in own if text.kind not in DESCRIPTIONS]
        if label not in giver:
            status = "failed: no other class to take sentences from"
            handed[label].append(Text(label, "", kind="motion", source=how, status=status))
            continue
        for text in told[giver[label]]:
            if text.kind in DESCRIPTIONS:
                source = f"{how}, written about '{giver[label]}': {text.source}"
                handed[label].append(replace(text, label=label, source=source))
    return handed

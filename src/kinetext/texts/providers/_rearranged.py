"""Base class of the controls `shuffled` and `swapped`, which give each class the descriptions of another class.

A sanity check of WaffleCLIP (Roth et al., ICCV 2023): if descriptions of the wrong class work as well as those of the
right class, their content is not what helps. The rows are described and checked as in the original table, so both
tables have the same sentences and differ only in their assignment to classes. Class names are not exchanged.
"""

from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import Field

from kinetext.core.plugins import Options
from kinetext.core.schemas import DESCRIPTIONS
from kinetext.texts.providers.base import Provider, Text, load_provider


class SourceOptions(Options):
    """A provider and its options, as under `texts` of config.yaml."""

    module: str = Field(description="text provider that describes")
    options: dict[str, Any] = Field(default_factory=dict, description="the provider's Config")


class Rearranged(Provider):
    """Base class of controls that rearrange the table of another provider."""

    control = True

    class Config(Options):
        """The provider whose table is rearranged."""

        of: SourceOptions = Field(description="the provider whose descriptions are given to other classes")

    @cached_property
    def source(self) -> Provider:
        """The provider whose rows are rearranged. Raises ValueError, `of...: ...`, if it gives no descriptions."""
        of = self.config.of
        provider = load_provider("of", of.module, of.options)
        if isinstance(provider, Rearranged) or not provider.gives_descriptions:
            raise ValueError(
                f"of.module: {of.module} has no descriptions of its own; use one that has, such as bundled or chat_api"
            )
        return provider

    @property
    def paid(self) -> bool:
        """Whether the answers of the source cost money."""
        return self.source.paid

    def check(self) -> None:
        """Raise ValueError if the source gives no descriptions or has a wrong option."""
        self.source.check()

    def list_files(self) -> list[Path]:
        """Return the files that the source reads."""
        return self.source.list_files()


def reassign(texts: dict[str, list[Text]], givers: dict[str, str], control: str) -> dict[str, list[Text]]:
    """Return the table with the descriptions of each class replaced by those of another class.

    `givers` maps a label to the label whose descriptions it gets. Each row keeps its provenance and status, and its
    column `source` also names the original class. A class without a giver gets a row with status `failed`.
    """
    reassigned = {}
    for label, rows in texts.items():
        reassigned[label] = [text for text in rows if text.kind not in DESCRIPTIONS]
        if label not in givers:
            status = "failed: no other class to take sentences from"
            reassigned[label].append(Text(label, "", kind="motion", source=control, status=status))
            continue
        for text in texts[givers[label]]:
            if text.kind in DESCRIPTIONS:
                source = f"{control}, written about '{givers[label]}': {text.source}"
                reassigned[label].append(replace(text, label=label, source=source))
    return reassigned

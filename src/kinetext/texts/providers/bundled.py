"""Sentences that come with kinetext, for descriptions without a network or a key.

A bank is texts/banks/{bank}.yaml: who wrote it (`source`), and for each class (`classes`) lists of sentences under
`start`, `end` and `whole` about its motion, and under `appearance` about its looks (a control).
"""

from functools import cache
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field

from kinetext.core.plugins import Options, nearest
from kinetext.texts.providers.base import Context, Provider, Text

BANKS = Path(__file__).parents[1] / "banks"
ROW_ORDER = ("start", "end", "whole")  # of the rows of a class


class Bundled(Provider):
    """Sentences from a bank."""

    class Config(Options):
        """Which bank, and which of its sentences."""

        bank: str = Field("shapes", description="file in src/kinetext/texts/banks, without its suffix")
        about: Literal["motion", "appearance"] = Field("motion", description="motion, or appearance as a control")

    def check(self) -> None:
        """Raise ValueError if there is no such bank, or it has no sentences of this kind."""
        bank = self.config.bank
        known = sorted(path.stem for path in BANKS.glob("*.yaml"))
        if bank not in known:
            raise ValueError(f"bank: no bank '{bank}' in {BANKS}{nearest(bank, known)}")
        classes = read_bank(bank)["classes"].values()
        if self.config.about == "appearance" and not all("appearance" in sentences for sentences in classes):
            raise ValueError(f"about: the bank '{bank}' has no sentences about appearance; use motion")

    def list_files(self) -> list[Path]:
        """Return the bank's file."""
        return [BANKS / f"{self.config.bank}.yaml"]

    def describe(self, label: str, rivals: list[str], context: Context) -> list[Text]:
        """Return the bank's sentences about a class. Raises ValueError with the nearest class if the bank lacks it."""
        self.check()
        bank = read_bank(self.config.bank)
        classes, about = bank["classes"], self.config.about
        if label not in classes:
            raise ValueError(f"{self.list_files()[0]}: has no class '{label}'{nearest(label, list(classes))}")
        if about == "appearance":
            rows = [("whole", sentence) for sentence in classes[label]["appearance"]]
        else:
            rows = [(phase, sentence) for phase in ROW_ORDER for sentence in classes[label][phase]]
        return [Text(label, sentence, kind=about, phase=phase, source=bank["source"]) for phase, sentence in rows]


@cache
def read_bank(bank: str) -> dict[str, Any]:
    """Return the content of a bank's file."""
    return yaml.safe_load((BANKS / f"{bank}.yaml").read_text("utf-8"))

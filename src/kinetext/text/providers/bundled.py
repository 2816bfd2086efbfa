"""Sentences that were written beforehand and come with kinetext: a run with descriptions, without network or key.

A bank is text/banks/{bank}.yaml: who wrote it (`source`), and for each class lists of sentences under `start`, `end`
and `whole`.
"""

from functools import cache
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field

from kinetext.registry import Options, nearest
from kinetext.text.providers import Context, Text

BANKS = Path(__file__).parents[1] / "banks"
PHASES = ("start", "end", "whole")


class Config(Options):
    """Which bank."""

    bank: str = Field("shapes", description="file in src/kinetext/text/banks, without its ending")


def check(config: Config) -> None:
    """Raise ValueError if there is no such bank."""
    known = sorted(path.stem for path in BANKS.glob("*.yaml"))
    if config.bank not in known:
        raise ValueError(f"bank: no bank '{config.bank}' in {BANKS}{nearest(config.bank, known)}")


def describe(label: str, rivals: list[str], config: Config, context: Context) -> list[Text]:
    """The bank's sentences about a class. Raises ValueError, with the nearest class, if the bank does not have it."""
    check(config)
    bank = read_bank(config.bank)
    classes = bank["classes"]
    if label not in classes:
        raise ValueError(f"{BANKS / config.bank}.yaml: has no class '{label}'{nearest(label, list(classes))}")
    return [
        Text(label, sentence, kind="motion", phase=phase, source=bank["source"])
        for phase in PHASES
        for sentence in classes[label][phase]
    ]


@cache
def read_bank(bank: str) -> dict[str, Any]:
    """The content of a bank's file."""
    return yaml.safe_load((BANKS / f"{bank}.yaml").read_text("utf-8"))

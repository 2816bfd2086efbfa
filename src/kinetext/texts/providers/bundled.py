"""Sentences that were written beforehand and come with kinetext: a run with descriptions, without network or key.

A bank is texts/banks/{bank}.yaml: who wrote it (`source`), and for each class (`classes`) lists of sentences under
`start`, `end` and `whole`, which say how it moves, and `appearance`, which say what stands still in it: a control.
"""

from functools import cache
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field

from kinetext.core.plugins import Options, nearest
from kinetext.texts.providers import Context, Text

BANKS = Path(__file__).parents[1] / "banks"
PHASES = ("start", "end", "whole")


class Config(Options):
    """Which bank, and what of it."""

    bank: str = Field("shapes", description="file in src/kinetext/texts/banks, without its ending")
    about: Literal["motion", "appearance"] = Field("motion", description="appearance: what does not move, as a control")


def check(config: Config) -> None:
    """Raise ValueError if there is no such bank, or no such part of it."""
    known = sorted(path.stem for path in BANKS.glob("*.yaml"))
    if config.bank not in known:
        raise ValueError(f"bank: no bank '{config.bank}' in {BANKS}{nearest(config.bank, known)}")
    if config.about == "appearance" and not all(
        "appearance" in of for of in read_bank(config.bank)["classes"].values()
    ):
        raise ValueError(f"about: the bank '{config.bank}' does not say what its classes look like; take motion")


def list_files(config: Config) -> list[Path]:
    """The bank's file."""
    return [BANKS / f"{config.bank}.yaml"]


def describe(label: str, rivals: list[str], config: Config, context: Context) -> list[Text]:
    """The bank's sentences about a class. Raises ValueError, with the nearest class, if the bank does not have it."""
    check(config)
    bank = read_bank(config.bank)
    classes = bank["classes"]
    if label not in classes:
        raise ValueError(f"{BANKS / config.bank}.yaml: has no class '{label}'{nearest(label, list(classes))}")
    if config.about == "appearance":
        return [Text(label, said, kind="appearance", source=bank["source"]) for said in classes[label]["appearance"]]
    return [
        Text(label, sentence, kind="motion", phase=phase, source=bank["source"])
        for phase in PHASES
        for sentence in classes[label][phase]
    ]


@cache
def read_bank(bank: str) -> dict[str, Any]:
    """The content of a bank's file."""
    return yaml.safe_load((BANKS / f"{bank}.yaml").read_text("utf-8"))

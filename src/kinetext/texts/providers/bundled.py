"""Sentences that come with kinetext, for descriptions without a network or a key.

A bank is a file texts/banks/{bank}.yaml. It states who wrote it (`source`) and has lists of sentences for each class
(`classes`): `start`, `steps`, `end` and `whole` about motion, and `appearance`, a control, about the looks of the class.
`steps` is optional: what is seen between start and end, one sentence per step in temporal order. The other lists about
motion have one or more sentences about the same part. `appearance` gives as many sentences as these four lists have
together, at the same positions, in the order start, steps, end, whole. No two of them are equal: a shorter list is
repeated in other wordings.
"""

from functools import cache
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field

from kinetext.core.plugins import Options, nearest
from kinetext.texts.positions import with_positions
from kinetext.texts.providers.base import Context, Provider, Text

BANKS = Path(__file__).parents[1] / "banks"
WORDINGS = ("{}", "a picture of {}", "a still image with {}", "in view: {}", "a photo of {}")
ROW_ORDER = ("start", "steps", "end", "whole")  # of the rows of a class; `steps` is optional


class Bundled(Provider):
    """Sentences from a bank, a file that comes with kinetext."""

    class Config(Options):
        """The bank, and the kind of sentences taken from it."""

        bank: str = Field("shapes", description="file in src/kinetext/texts/banks, without its suffix")
        about: Literal["motion", "appearance"] = Field("motion", description="motion, or appearance as a control")

    def check(self) -> None:
        """Raise ValueError if there is no such bank, or if it lacks sentences about appearance that are requested."""
        bank = self.config.bank
        known = sorted(path.stem for path in BANKS.glob("*.yaml"))
        if bank not in known:
            raise ValueError(f"bank: no bank '{bank}' in {BANKS}{nearest(bank, known)}")
        classes = read_bank(bank)["classes"].values()
        if self.config.about == "appearance" and not all("appearance" in sentences for sentences in classes):
            raise ValueError(f"about: the bank '{bank}' has no sentences about appearance; use motion")

    def list_files(self) -> list[Path]:
        """Return the file of the bank."""
        return [BANKS / f"{self.config.bank}.yaml"]

    def describe(self, label: str, rivals: list[str], context: Context) -> list[Text]:
        """Return the bank's sentences about a class.

        Raises ValueError with the most similar class if the bank does not have the class.
        """
        self.check()
        bank = read_bank(self.config.bank)
        classes, about = bank["classes"], self.config.about
        if label not in classes:
            raise ValueError(f"{self.list_files()[0]}: has no class '{label}'{nearest(label, list(classes))}")
        rows = with_positions(*(classes[label].get(part, []) for part in ROW_ORDER))
        if about == "appearance":
            looks = reworded(classes[label]["appearance"], len(rows))
            rows = [(position, look) for (position, _), look in zip(rows, looks, strict=True)]
        return [Text(label, sentence, about, position, source=bank["source"]) for position, sentence in rows]


def reworded(sentences: list[str], count: int) -> list[str]:
    """Return `count` distinct sentences: those of `sentences`, then the same ones in other wordings.

    Raises ValueError if all wordings together are fewer.
    """
    if count > len(sentences) * len(WORDINGS):
        raise ValueError(
            f"about: {len(sentences)} sentences about appearance give no {count} distinct ones; use motion"
        )
    rounds = [
        wording.format(text if wording == "{}" else text[0].lower() + text[1:])
        for wording in WORDINGS
        for text in sentences
    ]
    return rounds[:count]


@cache
def read_bank(bank: str) -> dict[str, Any]:
    """Return the content of the file of a bank."""
    return yaml.safe_load((BANKS / f"{bank}.yaml").read_text("utf-8"))

"""A finding of the preflight: how serious it is, what it is about, and what to do."""

from typing import Literal, NamedTuple

from kinetext.core.escape import for_terminal
from kinetext.data.lists import printable


class Check(NamedTuple):
    """One sentence of the preflight. `stop`: jobs would fail; `warning`: results may disappoint; `note`: good to know."""

    level: Literal["stop", "warning", "note"]
    subject: str
    message: str
    remedy: str = ""

    def __str__(self) -> str:
        level = "" if self.level == "note" else f"{self.level}: "
        sentence = f"{level}{self.subject}: {self.message}" + (f"; {self.remedy}" if self.remedy else "")
        return for_terminal(printable(sentence))

"""A finding of the preflight: the level, the subject, the message, and what to do."""

from typing import Literal, NamedTuple

from kinetext.core.escape import for_terminal
from kinetext.data.lists import printable


class Check(NamedTuple):
    """A finding of the preflight. `stop`: jobs would fail; `warning`: results may be poor; `note`: for information."""

    level: Literal["stop", "warning", "note"]
    subject: str
    message: str
    remedy: str = ""

    def __str__(self) -> str:
        level = "" if self.level == "note" else f"{self.level}: "
        sentence = f"{level}{self.subject}: {self.message}" + (f"; {self.remedy}" if self.remedy else "")
        return for_terminal(printable(sentence))

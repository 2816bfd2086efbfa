"""The captions of clips as the data set has them: the texts of text-video retrieval."""

from kinetext.core.plugins import Options
from kinetext.texts.providers import Context, Text

OF_CAPTIONS = True  # for data sets with captions
DESCRIBES = False  # whatever captions say is said; there is nothing beside them


class Config(Options):
    """No options."""


def describe(label: str, rivals: list[str], config: Config, context: Context) -> list[Text]:
    """One row of kind `caption` per caption of the clip `label`, equal ones too: at the test each is a query."""
    return [Text(label, said, kind="caption", source="the data set") for said in context.captions[label]]

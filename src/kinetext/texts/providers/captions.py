"""The captions of a data set that has them: the texts of text-video retrieval."""

from kinetext.texts.providers.base import Context, Provider, Text


class Captions(Provider):
    """One row per caption of a clip."""

    of_captions = True
    gives_descriptions = False

    def describe(self, label: str, rivals: list[str], context: Context) -> list[Text]:
        """Return one row of kind `caption` per caption of the clip. Duplicates are kept, since each is a query."""
        return [Text(label, caption, kind="caption", source="the data set") for caption in context.captions[label]]

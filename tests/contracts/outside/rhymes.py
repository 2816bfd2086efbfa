"""A text provider from outside: a name and two descriptions of each class, made without a model."""

from pydantic import Field

from kinetext.core.plugins import Options
from kinetext.texts.providers.base import Provider, Text


class Rhymes(Provider):
    """Descriptions that contrast a class with its first rival."""

    class Config(Options):
        """Wording."""

        subject: str = Field("something", description="what moves")

    def describe(self, label, rivals, context):
        """Return the rows of a class."""
        motion = {"kind": "motion", "source": "rhymes", "rival": rivals[0] if rivals else None}
        return [
            Text(label, label, source="rhymes"),
            Text(label, f"{self.config.subject} is {label}", position=0.0, **motion),
            Text(label, f"{self.config.subject} was {label}", position=1.0, **motion),
        ]

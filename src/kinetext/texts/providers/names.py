"""The class name in one or more templates, as in CLIP (Radford et al., 2021): the baseline for all descriptions."""

from pydantic import Field, field_validator

from kinetext.core.plugins import Options
from kinetext.texts.providers.base import Context, Provider, Text


class Names(Provider):
    """Class names in templates, without descriptions."""

    gives_descriptions = False
    control = True

    class Config(Options):
        """The templates into which the class name is inserted."""

        templates: tuple[str, ...] = Field(("{}",), min_length=1, description="sentences with {} for the class name")

        @field_validator("templates")
        @classmethod
        def _one_placeholder(cls, templates: tuple[str, ...]) -> tuple[str, ...]:
            for template in templates:
                if template.count("{}") != 1 or template.count("{") != 1 or template.count("}") != 1:
                    raise ValueError(f"'{template}' needs {{}} once, for the class name, and no other brace")
            return templates

    def describe(self, label: str, rivals: list[str], context: Context) -> list[Text]:
        """Return one row of kind `name` per template, with the class name spelled as in the data set."""
        return [Text(label, template.format(label), source="class name") for template in self.config.templates]

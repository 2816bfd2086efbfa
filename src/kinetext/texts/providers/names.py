"""The class name in one or more templates, as in CLIP (Radford et al., 2021): the baseline for all descriptions.

With `as_descriptions` the name is also the description of every part of the action, so that a method that needs
descriptions can be trained on names. Its difference to the same method with descriptions is what their content adds.
"""

from typing import Any

from pydantic import Field, field_validator

from kinetext.core.plugins import Options
from kinetext.texts.positions import with_positions
from kinetext.texts.providers.base import Context, Provider, Text


class Names(Provider):
    """Class names in templates, without descriptions."""

    control = True

    class Config(Options):
        """The templates into which the class name is inserted."""

        templates: tuple[str, ...] = Field(("{}",), min_length=1, description="sentences with {} for the class name")
        as_descriptions: bool = Field(False, description="repeat the name as start, steps, end and whole of each class")
        steps: int = Field(0, ge=0, le=20, description="with as_descriptions: steps between start and end")

        @field_validator("templates")
        @classmethod
        def _one_placeholder(cls, templates: tuple[str, ...]) -> tuple[str, ...]:
            for template in templates:
                if template.count("{}") != 1 or template.count("{") != 1 or template.count("}") != 1:
                    raise ValueError(f"'{template}' needs {{}} once, for the class name, and no other brace")
            return templates

    def __init__(self, config: Any):
        super().__init__(config)
        self.gives_descriptions = config.as_descriptions

    def describe(self, label: str, rivals: list[str], context: Context) -> list[Text]:
        """Return one row of kind `name` per template, with the class name spelled as in the data set.

        With `as_descriptions` there are rows of kind `repeated_name` at each position, too.
        """
        names = [Text(label, template.format(label), source="class name") for template in self.config.templates]
        if not self.config.as_descriptions:
            return names
        places = with_positions([label], [label] * self.config.steps, [label], [label])
        return names + [Text(label, text, "repeated_name", position, source="class name") for position, text in places]

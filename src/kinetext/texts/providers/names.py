"""The class name in one or more templates, as CLIP (Radford et al., 2021) uses it: what descriptions have to beat."""

from pydantic import Field, field_validator

from kinetext.core.plugins import Options
from kinetext.texts.providers import Context, Text

DESCRIBES = False  # names say nothing of motion
CONTROL = True


class Config(Options):
    """The templates."""

    templates: tuple[str, ...] = Field(("{}",), min_length=1, description="sentences with {} where the class name goes")

    @field_validator("templates")
    @classmethod
    def _one_place(cls, templates: tuple[str, ...]) -> tuple[str, ...]:
        for template in templates:
            if template.count("{}") != 1 or template.count("{") != 1 or template.count("}") != 1:
                raise ValueError(f"'{template}' needs {{}} once, where the class name goes, and no other brace")
        return templates


def describe(label: str, rivals: list[str], config: Config, context: Context) -> list[Text]:
    """One row of kind `name` per template; the class name is left as it is written."""
    return [Text(label, template.format(label), source="class name") for template in config.templates]

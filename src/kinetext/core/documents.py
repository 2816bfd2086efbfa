"""Read YAML and JSON files that may be damaged or hostile. A damaged file raises ValueError with its path."""

import json
from pathlib import Path
from typing import Any

import yaml

MAX_DEPTH = 100
MAX_VALUES = 1_000_000  # of a YAML file, aliases expanded
LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # written in C: 10 times faster


def load_yaml(path: Path) -> Any:
    """Read a YAML file.

    Raises ValueError with the path if the file is invalid, has more than MAX_DEPTH levels, or has more than MAX_VALUES
    values once its aliases are expanded.
    """
    try:
        text = path.read_text()
        _check_yaml_size(text)
        return yaml.load(text, Loader=LOADER)
    except (yaml.YAMLError, ValueError) as error:
        raise ValueError(f"{path}: cannot be read as YAML ({' '.join(str(error).split())[:200]})") from error


def load_json(path: Path) -> Any:
    """Read a JSON file. Raises ValueError with the path if it is invalid or nested too deeply."""
    try:
        return json.loads(path.read_text())
    except (RecursionError, ValueError) as error:
        raise ValueError(f"{path}: cannot be read as JSON ({error})") from error


def _check_yaml_size(text: str) -> None:
    """Count the values and levels of a YAML text from the parser's events, before any object is built.

    Deep nesting crashes libyaml, and a few nested aliases can expand to billions of values. Raises ValueError above
    MAX_DEPTH or MAX_VALUES, and for an alias that refers to nothing.
    """
    open_nodes: list[tuple[str | None, int]] = []  # anchor and number of values of each collection that is not closed
    sizes: dict[str, int] = {}
    for event in yaml.parse(text, Loader=LOADER):
        if isinstance(event, yaml.CollectionStartEvent):
            open_nodes.append((event.anchor, 1))
            if len(open_nodes) > MAX_DEPTH:
                raise ValueError(f"it is nested more than {MAX_DEPTH} levels deep")
            continue
        if isinstance(event, yaml.CollectionEndEvent):
            anchor, size = open_nodes.pop()
        elif isinstance(event, yaml.AliasEvent):
            if event.anchor not in sizes:
                raise ValueError(f"the alias *{event.anchor} refers to its own collection or to nothing")
            anchor, size = None, sizes[event.anchor]
        elif isinstance(event, yaml.ScalarEvent):
            anchor, size = event.anchor, 1
        else:
            continue
        if anchor is not None:
            sizes[anchor] = size
        if open_nodes:
            outer, num_values = open_nodes[-1]
            open_nodes[-1] = outer, num_values + size
        if size > MAX_VALUES:
            raise ValueError(f"its aliases expand to more than {MAX_VALUES} values")

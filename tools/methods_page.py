"""Print docs/methods.md: a table of all methods of kinetext, from the class attributes of their modules.

    python tools/methods_page.py > docs/methods.md

The parameters are counted on open_clip's ViT-B-16 with random weights and default options. A method that is fitted adds
no parameter to the backbone; its page shows the formula of what `fit` gives.
"""

import torch

from kinetext.backbones.base import Backbone
from kinetext.backbones.open_clip_vit import Architecture, OpenClipViT
from kinetext.core import plugins
from kinetext.methods.base import Method, configure_method

MODEL = "ViT-B-16"
HEAD = f"""# Methods

`python tools/methods_page.py > docs/methods.md` writes this page from the modules in
`src/kinetext/methods`. Parameters are those that a method adds to {MODEL} with its default options (K
classes, N training clips, D joint width, V width of the image encoder). A method without scores of
novel classes has no results on them under `base_to_novel`.
"""
COLUMNS = (
    "method",
    "mechanism",
    "what trains",
    "parameters added",
    "tasks",
    "protocols",
    "equals before training",
    "paper",
)


def main() -> None:
    """Print the page."""
    print(page(), end="")


def page() -> str:
    """Return the page as Markdown."""
    torch.manual_seed(0)
    backbone = OpenClipViT(Architecture(MODEL))
    names = plugins.built_in("methods")
    lines = [HEAD, _line(COLUMNS), _line(["---"] * len(COLUMNS))]
    lines += [_line(_cells(name, backbone)) for name in names]
    results = [(name, result) for name in names for result in plugins.load("methods", name).published]
    if results:
        lines += ["\n## Published results\n", _line(("method", "result")), _line(("---", "---"))]
        lines += [_line((f"`{name}`", result)) for name, result in results]
    return "\n".join(lines) + "\n"


def _cells(name: str, backbone: Backbone) -> list[str]:
    cls, config = configure_method(name, {})
    added = sum(parameter.numel() for parameter in cls(backbone, config).new_parameters().values())
    return [
        f"`{name}`",
        cls.mechanism,
        cls.what_trains or _what_trains(cls, added),
        cls.fitted_parameters if cls.fits else f"{added:,}",
        ", ".join(cls.tasks),
        "all but zero_shot; no scores of novel classes" if cls.needs_training_clips else "all",
        cls.equals_before_training,
        cls.paper,
    ]


def _what_trains(cls: type[Method], added: int) -> str:
    if not cls.trains:
        return "nothing"
    if cls.fits:
        return "a head on cached frame features"
    return "image encoder and new parameters" if added else "image encoder"


def _line(cells: list[str] | tuple[str, ...]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


if __name__ == "__main__":
    main()

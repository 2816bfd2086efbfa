"""Which architectures of open_clip are supported, by which plug-in, and what replaces the others: docs/backbones.md.

Everything is read from open_clip's configuration files. No model is built, and neither open_clip nor timm is imported.
"""

import re
from typing import NamedTuple

from kinetext.backbones import native_models, timm_models
from kinetext.backbones.catalogue import model_files, settings_of, substitute_of
from kinetext.backbones.values import Facts
from kinetext.config.backbone import BackboneOptions

GROUPS = {  # pattern of an architecture -> models that it belongs to
    r".*CLIPA": "CLIPA",
    r".*worldwide": "MetaCLIP 2",
    r"coca": "CoCa",
    r".*SigLIP2": "SigLIP 2",
    r"nllb": "NLLB-CLIP",
    r".*SigLIP": "SigLIP",
    r"PE-": "Perception Encoder",
    r"EVA": "EVA-CLIP",
    r"MobileCLIP": "MobileCLIP",
    r"ViTamin": "ViTamin",
    r"RN": "ResNet",
    r"convnext": "ConvNeXt",
    r"swin": "Swin",
    r".*(roberta|mt5)": "text encoders of transformers",
}
CONFIGS = "model_configs"  # the folder in open_clip
MARK_START, MARK_END = "<!-- table: tools/backbones_table.py -->", "<!-- end of the table -->"


class Status(NamedTuple):
    """The support of an architecture: its plug-in and sizes, or the reason why it is not supported and a substitute."""

    model: str
    family: str | None  # None: not supported
    facts: Facts | None
    reason: str = ""
    substitute: str = ""


def status_of(model: str) -> Status:
    """Return the status of an architecture. Raises ValueError if open_clip does not have it."""
    settings = settings_of(model)
    family = BackboneOptions(model=model).family
    with_timm = family == "timm_vit"
    reason = (timm_models if with_timm else native_models).unsupported(settings)
    if reason:
        return Status(model, None, None, reason, substitute_of(model))
    return Status(model, family, timm_models.timm_facts(model) if with_timm else native_models.facts_of(model))


def statuses() -> list[Status]:
    """Return the status of every architecture of open_clip, in alphabetical order."""
    return [status_of(name) for name, file in sorted(model_files().items()) if file.parent.name == CONFIGS]


def group_of(model: str) -> str:
    """Return the name of the models that an architecture belongs to."""
    return next((name for pattern, name in GROUPS.items() if re.match(pattern, model)), "CLIP")


def table_lines() -> list[str]:
    """Return the lines of the table in docs/backbones.md."""
    rows = statuses()
    count = sum(row.family is not None for row in rows)
    lines = [
        f"{count} of {len(rows)} architectures are supported.",
        "",
        "| architecture | models | plug-in | px | layers | text tokens | GFLOP per image | frames |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        cells = [f"`{row.model}`", group_of(row.model)]
        if row.facts is None:
            lines.append(f"| {' | '.join(cells)} | no: {row.reason}; nearest: `{row.substitute}` | | | | | |")
            continue
        facts = row.facts
        cells += [str(row.family), str(facts.image_size_px), str(facts.num_layers), str(facts.context_length)]
        cells += [f"{facts.image_gflop:.1f}", f"{facts.interpolation}, {facts.resize_mode}"]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def with_table(text: str) -> str:
    """Return the text of docs/backbones.md with the table of this version of open_clip."""
    before, _, rest = text.partition(MARK_START)
    _, _, after = rest.partition(MARK_END)
    return "\n".join([f"{before}{MARK_START}", *table_lines(), f"{MARK_END}{after}"])

"""Write a study as a commented config.yaml."""

import json
from dataclasses import dataclass
from typing import Any

from kinetext.start.choices import SEEDS, Choice, interval_points
from kinetext.start.survey import Survey, first_of, split_counts


@dataclass(frozen=True)
class Study:
    """Everything that was chosen. The value of `backbone` is the name and options of the backbone."""

    source: str
    dataset: str  # its name
    results: str
    clips: Survey
    backbone: Choice
    frames: Choice
    protocol: Choice
    training: Choice
    max_failed: Choice
    shard_clips: int
    stan: dict[str, Any]  # options of the method stan
    descriptions: Choice | None  # None: a study of names alone, or of captions

    @property
    def methods(self) -> dict[str, list[str]]:
        """Return the methods of each group of experiments. All methods of a group run with the same texts."""
        trained = ["mean_pool", "seq_transformer", "stan"]
        groups = {"untrained": ["zero_shot"], "trained": trained}
        if self.clips.labels:  # the probe is fitted: with one seed, the tests of the table would not be about methods
            groups["trained"] = ["linear_probe", *trained]
        if self.clips.labels and self.descriptions is not None:
            groups["described_untrained"] = ["zero_shot", "description_ensemble", "ordered_descriptions"]
            groups["described"] = [*trained, "moted"]
            groups["controls_untrained"] = ["zero_shot", "ordered_descriptions"]
            groups["controls"] = ["moted"]
        return groups


REASONS = {
    "untrained": "nothing trains: one seed",
    "trained": "",
    "described_untrained": "",
    "described": "every method that takes descriptions",
    "controls_untrained": "wrong texts: if they help as much, the content of the descriptions does not",
    "controls": "the most direct control, for the method made for descriptions",
}


def flow(value: Any) -> str:
    """Return a value in one line of YAML. Names without special characters are not quoted."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(flow, value)) + "]"
    if isinstance(value, float):
        return f"{value:.1e}" if 0 < value < 1e-2 else f"{value:g}"
    plain = isinstance(value, str) and value.replace("_", "").replace("-", "").isalnum() and value[0].isalpha()
    return (
        value
        if plain and value.lower() not in ("yes", "no", "on", "off", "true", "false", "null")
        else json.dumps(value, ensure_ascii=False)
    )


def render(study: Study) -> str:
    """Return the text of the configuration file."""
    sections = [_head(study), _data(study), _texts(study), _methods(study), _experiments(study)]
    return "\n\n".join("\n".join(lines) for lines in sections) + "\n"


def _head(study: Study) -> list[str]:
    name, options = study.backbone.value
    clips = study.clips
    classes = f" of {len(clips.labels)} classes" if clips.labels else " with captions"
    return [
        f"# A study of {clips.total} clips{classes} ({split_counts(clips)}), by `kinetext init {comment(study.source)}`.",
        "# Every key is described in workflow/config.schema.json; docs/data.md, docs/texts.md, docs/recipes.md say more.",
        f"# {clips.clips('test')} test clips: an accuracy of 50 % has an interval of about "
        f"+- {interval_points(clips.clips('test')):.0f} points.",
        "",
        f"results: {flow(study.results)}  # one folder per study",
        "",
        "backbones:",
        f"  {name}: {flow(options)}  # {study.backbone.reason}",
    ]


def _data(study: Study) -> list[str]:
    clips = study.clips
    lines = [
        "datasets:",
        f"  {flow(study.dataset)}:",
        f"    module: {clips.module}",
        f"    options: {flow(clips.options)}",
        f"    frames: {flow(study.frames.value)}  # {study.frames.reason}",
        f"    shard_clips: {study.shard_clips}  # one job decodes one shard, so that all cores decode",
        f"    max_failed: {study.max_failed.value:g}  # {study.max_failed.reason}",
    ]
    if clips.module == "folder":
        lines.insert(
            4, "    # options also takes `group`, a regular expression: file names with the same match were cut from"
        )
        lines.insert(5, "    # one recording and stay in one split, for example group: '^(.+)_cut[0-9]+'")
    if clips.skipped:
        lines.append(f"    # {len(clips.skipped)} folders and files give no clip: {comment(first_of(clips.skipped))}")
    return lines


def _texts(study: Study) -> list[str]:
    if not study.clips.labels:
        return ["texts:", "  captions: {}"]
    lines = ["texts:", '  names: {options: {templates: ["a video of {}."]}}  # write what fits all class names']
    if study.descriptions is None:
        return [
            *lines,
            "  # without descriptions: `kinetext init` with --server, --texts, or a key writes the other half",
        ]
    return [
        *lines,
        f"  described: &described {flow(study.descriptions.value)}  # {study.descriptions.reason}",
        "  random_words: {}  # controls: the class name with random words,",
        "  shuffled: {options: {of: *described}}  # the descriptions of another class,",
        "  swapped: {options: {of: *described}}  # the descriptions of the class it is most often confused with",
    ]


def _methods(study: Study) -> list[str]:
    training = f"    training: &training {flow(study.training.value)}"
    lines = [
        "methods:  # docs/methods.md: what each method does, and what it cannot see",
        "  zero_shot: {}  # the baseline: the image-text model as it is",
        "  mean_pool:  # the same, fine-tuned; it ignores frame order",
        f"    # {study.training.reason}",
        training,
        "  seq_transformer: {training: *training}  # a transformer over the frames' features",
        f"  stan: {{options: {flow(study.stan)}, training: *training}}  # a branch beside the last layers, over patches and time",
    ]
    if study.clips.labels:
        lines.insert(2, "  linear_probe: {}  # without texts: what the frames alone give")
    if study.descriptions is not None:
        visual: dict[str, Any] = {"visual": "stan", "visual_options": study.stan}
        if study.backbone.value[0] == "tiny":
            visual |= {"heads": 4}
        lines += [
            "  description_ensemble: {}  # descriptions, no order, nothing trained",
            "  ordered_descriptions: {}  # descriptions of start and end against the first and last frames, nothing trained",
            f"  moted: {{options: {flow(visual)}, training: *training}}  # stan's features against the descriptions (reconstruction)",
        ]
    return lines


def _experiments(study: Study) -> list[str]:
    lines = [f"experiments:  # protocol {study.protocol.value}: {study.protocol.reason}"]
    texts = {
        "untrained": ["names"],
        "trained": ["names"],
        "described_untrained": ["described"],
        "described": ["described"],
        "controls_untrained": ["random_words", "shuffled", "swapped"],
        "controls": ["shuffled"],
    }
    if not study.clips.labels:
        texts = {key: ["captions"] for key in texts}
    for group, methods in study.methods.items():
        trains = not group.endswith("untrained")
        reason = REASONS[group] or ("three seeds: intervals hold for methods" if trains else "")
        values = {
            "datasets": [study.dataset],
            "protocol": study.protocol.value,
            "backbone": study.backbone.value[0],
            "methods": methods,
            "texts": texts[group],
            **({"seeds": SEEDS} if trains else {}),
        }
        lines.append(f"  {group}: {flow(values)}" + (f"  # {reason}" if reason else ""))
    if len(study.clips.labels) >= 4:
        lines += [
            "  # do the methods know classes that they were not trained on? `novel: half` beside `module` above, and:",
            f"  # novel: {{datasets: [{flow(study.dataset)}], protocol: base_to_novel, backbone: {study.backbone.value[0]}, "
            "methods: [zero_shot, stan], texts: [names], seeds: [0, 1, 2]}",
        ]
    return [*lines, "", "report:", f"  title: {flow('Motion in ' + study.dataset)}"]


def comment(text: str) -> str:
    """Return a text for a comment, in which "?" replaces line breaks and control characters."""
    return "".join(character if character.isprintable() else "?" for character in text)

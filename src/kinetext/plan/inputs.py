"""What the parts of a configuration depend on: files, modules of plug-ins, and facts that need no model or video."""

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from kinetext.config.backbone import TINY, BackboneOptions
from kinetext.config.data import DatasetOptions, FrameOptions
from kinetext.config.experiment import Config
from kinetext.config.texts import ConfusablesOptions, TextOptions
from kinetext.core import plugins
from kinetext.core.documents import load_yaml
from kinetext.data.datasets.base import build_dataset
from kinetext.texts.providers.base import Provider

HUB_FACTS = "KINETEXT_HUB_FACTS"  # environment variable that Snakemake passes to jobs: see hub_facts


def dataset_inputs(options: DatasetOptions, name: str) -> list[str]:
    """Return the annotation files of a data set, its root folder, and two levels of folders below the root.

    Adding a video changes the modification time of its folder, so Snakemake lists the clips again.
    """
    dataset = build_dataset(name, options)
    paths = [str(path) for path in dataset.list_files()]
    paths += [options.exclude] if options.exclude else []
    level = [str(dataset.root)] if dataset.root else []
    for _ in range(3):
        paths += sorted(level)
        level = [e.path for folder in level for e in os.scandir(folder) if os.path.isdir(e.path) and e.name[0] != "."]
    return paths


def text_inputs(options: TextOptions, name: str) -> list[str]:
    """Return the files that a text provider reads. If one of them changes, the table of texts is written again."""
    provider = plugins.load("texts", options.module or name)
    return [str(path) for path in provider(plugins.configure(provider, options.options)).list_files()]


def text_modules(options: TextOptions, name: str) -> list[str]:
    """Return the module of a text set's provider and, for a control, the module of the provider that it rearranges."""
    return [type(provider).__module__ for provider in text_providers(options, name)]


def defining_options(options: TextOptions, name: str) -> TextOptions:
    """Return the options of a text set without operational ones, such as cost cap, rates and key variable.

    A provider declares these as `operational` of its Config. They change no text, so they are not part of a run.
    """
    return options.model_copy(update={"options": _defining(options.module or name, options.options)})


def _defining(module: str, options: dict[str, Any]) -> dict[str, Any]:
    operational = plugins.load("texts", module).Config.operational
    kept = {key: value for key, value in options.items() if key not in operational}
    of = kept.get("of")  # the provider that a control rearranges or that is refined
    if isinstance(of, dict) and "module" in of and "options" in of:
        kept["of"] = {**of, "options": _defining(of["module"], of["options"])}
    return kept


def reads_clips(options: TextOptions, name: str) -> bool:
    """Return whether a text set is written about the frames of training clips, or rearranges one that is."""
    return any(provider.reads_clips for provider in text_providers(options, name))


def text_providers(options: TextOptions, name: str) -> Iterator[Provider]:
    """Yield the provider of a text set, then the provider that it rearranges or refines, and so on."""
    plugin = plugins.load("texts", options.module or name)
    provider: Provider | None = plugin(plugins.configure(plugin, options.options))
    while provider is not None:
        yield provider
        provider = provider.source


def metric_modules(config: Config) -> list[str]:
    """Return the modules of all metrics, both built-in and from the configuration, sorted."""
    from kinetext.evaluation.metrics import all_metrics

    return sorted({type(metric).__module__ for metric in all_metrics(config.metrics).values()})


def mining_options(config: Config, dataset: str) -> ConfusablesOptions:
    """Return the options for mining confusable classes of a data set, with the user's file for this data set.

    A data set with captions has no such file.
    """
    options = config.confusables
    if options.file is None or has_captions(config.datasets[dataset], dataset):
        return options.model_copy(update={"file": None})
    return options.model_copy(update={"file": options.file.replace("{dataset}", dataset)})


def has_captions(options: DatasetOptions, name: str) -> bool | None:
    """Return whether clips of a data set have captions instead of classes; None if only its annotation files tell."""
    captioned: bool | None = plugins.load("datasets", options.module or name).captioned
    return False if captioned is None and is_multi_label(options, name) else captioned


def is_multi_label(options: DatasetOptions, name: str) -> bool:
    """Return whether clips of a data set may have several labels."""
    return build_dataset(name, options).multi_label


def backbone_facts(options: BackboneOptions, folder: Path | None = None) -> Any:
    """Return the image size, number of layers and context length of a backbone, without building it.

    Those of weights on the Hugging Face hub are the ones that Snakemake passed to this job, else those of the weights
    that were prepared in `folder`, else those of the hub. So a plan does not depend on the cache of a machine. Raises
    ValueError for an unknown plug-in or model, and for facts on the hub that cannot be downloaded.
    """
    family = plugins.load("backbones", options.family)
    config = plugins.configure(family, options.settings)
    if options.on_hub:
        passed = json.loads(os.environ.get(HUB_FACTS, "{}")).get(_key(options))
        if passed is not None:
            from kinetext.backbones.values import Facts  # imports torch

            return Facts(**passed)
        prepared = _prepared(options, folder) if folder else None
        if prepared is not None:
            return family.prepared_facts(config, prepared)
    return family.facts(config)


def configured_facts(config: Config, name: str) -> Any:
    """Return the facts of a backbone of the configuration (see `backbone_facts`)."""
    return backbone_facts(config.backbones[name], Path(config.results) / "backbones" / name)


def hub_facts(config: Config) -> str:
    """Return, as JSON, the facts of all backbones with weights on the hub.

    Snakemake passes them to jobs on machines that have neither the cache of the hub nor the prepared backbone.
    """
    on_hub = {name: options for name, options in config.backbones.items() if options.on_hub}
    return json.dumps({_key(options): asdict(configured_facts(config, name)) for name, options in on_hub.items()})


def _key(options: BackboneOptions) -> str:
    return hashlib.sha256(options.model_dump_json().encode()).hexdigest()[:16]


def _prepared(options: BackboneOptions, folder: Path) -> dict[str, Any] | None:
    """Return the content of backbone.yaml in `folder` if it describes weights with these options."""
    path = folder / "backbone.yaml"
    content: dict[str, Any] = (path.is_file() and load_yaml(path)) or {}
    of_options = {"module": options.family, "model": options.model, "source": {"weights": options.source}}
    return content if all(content.get(key) == value for key, value in of_options.items()) else None


def frame_options(config: Config, dataset: str, backbone: str) -> FrameOptions:
    """Return the options of the frames that are stored of a data set for a backbone.

    Size, resize mode and interpolation are those of the backbone where the data set does not set them. Raises
    ValueError if they contradict other options of the data set.
    """
    facts = configured_facts(config, backbone)
    needed = {"size_px": facts.image_size_px, "resize_mode": facts.resize_mode, "interpolation": facts.interpolation}
    try:
        return config.datasets[dataset].frames.with_defaults(**needed)
    except ValidationError as error:
        problem = plugins.sentence(error, FrameOptions)
        raise ValueError(f"datasets.{dataset}.frames for backbone {backbone}: {problem}") from None


def text_limit(options: BackboneOptions, folder: Path) -> tuple[int, Callable[[str], int]] | None:
    """Return the context length of a backbone and a function that counts the tokens of a text.

    Returns None for a plug-in module that has not been prepared in `folder` yet.
    """
    from kinetext.backbones.architecture import token_limit

    if (folder / "backbone.yaml").is_file():
        return token_limit(folder)
    if options.module is not None:
        return None
    family, model = plugins.load("backbones", options.family), options.model or TINY
    return backbone_facts(options, folder).context_length, lambda text: family.token_counter({"model": model})(text)

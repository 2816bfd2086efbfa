"""Check a configuration before anything costs time, and specify each of its runs completely (check_config, plan_run).

This is the module that the Snakefile imports, so it must be quick. A check imports the plug-ins and, with the methods,
torch, but not open_clip or MLflow. plan_run, once for each run, imports none of them.
"""

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from kinetext.config.backbone import TINY, BackboneOptions
from kinetext.config.data import PROTOCOL, DatasetOptions, ProtocolOptions
from kinetext.config.experiment import Config, ExperimentOptions
from kinetext.config.report import Published
from kinetext.config.run import RunSpec
from kinetext.config.texts import ConfusablesOptions, TextOptions
from kinetext.core import plugins
from kinetext.core.files import atomic_write
from kinetext.data.datasets.base import build_dataset
from kinetext.data.lists import need_path
from kinetext.texts.providers.base import Provider, load_provider


def check_config(values: dict[str, Any], where: str = "config.yaml") -> Config:
    """Return the configuration, after a check of its plug-ins' options, files and experiments.

    Raises ValueError: one sentence with the file, the key, the value and the nearest right answer.
    """
    try:
        config = Config(**values)
    except ValidationError as error:
        raise ValueError(f"{where}: {plugins.sentence(error, Config)}") from None
    for name, data in config.datasets.items():
        _check_dataset(f"{where}: datasets.{name}", name, data)
    for name, method in config.methods.items():
        _check_method(f"{where}: methods.{name}", method.module or name, method.options)
    for name, texts in config.texts.items():
        load_provider(f"{where}: texts.{name}", texts.module or name, texts.options)
    if config.metrics:
        _check_metrics(config, where)
    for name, backbone in config.backbones.items():
        with _within(f"{where}: backbones.{name}"):
            backbone_facts(backbone)
    for name, experiment in config.experiments.items():
        _check_experiment(f"{where}: experiments.{name}", config, experiment)
    for i, number in enumerate(config.report.reference):
        _check_reference(f"{where}: report.reference.{i}", config, number)
    return config


def plan_runs(config: Config) -> dict[str, RunSpec]:
    """Return every run of every experiment by its name."""
    runs: dict[str, RunSpec] = {}
    for experiment in config.experiments.values():
        source = source_dataset(experiment.protocol)
        for dataset, backbone, method, texts, seed in product(
            experiment.datasets, experiment.backbone, experiment.methods, experiment.texts, experiment.seeds
        ):
            row = (backbone, method, texts, seed)
            spec = _run_spec(config, experiment.protocol, dataset, *row)
            if source is not None:
                trained = _run_spec(config, "supervised", source, *row)
                runs[trained.run] = trained
                trained_by = {"trained_on": trained.run, "trained_fingerprint": trained.fingerprint}
                spec = _with_fingerprint(spec.model_copy(update=trained_by))
            runs[spec.run] = spec
    return runs


def plan_run(spec: str, output: Path) -> None:
    """Write run.yaml from the run's JSON."""
    run = RunSpec(**json.loads(spec))
    with atomic_write(output) as part:
        part.write_text(yaml.safe_dump(run.model_dump(mode="json"), sort_keys=False))


def dataset_inputs(options: DatasetOptions, name: str) -> list[str]:
    """Return the annotation files of a data set, its root, and two levels of folders below the root.

    A new video changes the time of its folder, so Snakemake lists the clips again.
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
    """Return the files that a text provider reads. When one changes, its table is made again."""
    provider = plugins.load("texts", options.module or name)
    return [str(path) for path in provider(plugins.configure(provider, options.options)).list_files()]


def text_modules(options: TextOptions, name: str) -> list[str]:
    """Return the modules of the provider of a text set, and of the provider that it rearranges."""
    plugin = plugins.load("texts", options.module or name)
    provider: Provider | None = plugin(plugins.configure(plugin, options.options))
    modules = []
    while provider is not None:
        modules.append(type(provider).__module__)
        provider = provider.source
    return modules


def metric_modules(config: Config) -> list[str]:
    """Return the modules of all metrics: the built-in ones and those of the configuration."""
    from kinetext.evaluation.metrics import all_metrics

    return sorted({type(metric).__module__ for metric in all_metrics(config.metrics).values()})


def mining_options(config: Config, dataset: str) -> ConfusablesOptions:
    """Return how the confusable classes of a data set are mined, with the file of this data set; captions have none."""
    options = config.confusables
    if options.file is None or has_captions(config.datasets[dataset], dataset):
        return options.model_copy(update={"file": None})
    return options.model_copy(update={"file": options.file.replace("{dataset}", dataset)})


def has_captions(options: DatasetOptions, name: str) -> bool | None:
    """Return whether clips have captions instead of classes; None if only the annotation files decide."""
    captioned: bool | None = plugins.load("datasets", options.module or name).captioned
    return captioned


def backbone_facts(options: BackboneOptions) -> Any:
    """Return a backbone's image size, layers and context length. Raises ValueError for one that cannot be had."""
    family = plugins.load("backbones", options.family)
    return family.facts(plugins.configure(family, options.settings))


def text_limit(options: BackboneOptions, folder: Path) -> tuple[int, Callable[[str], int]] | None:
    """Return a backbone's context length and counter of tokens; None for a plug-in that is not prepared in `folder` yet."""
    from kinetext.backbones.architecture import token_limit

    if (folder / "backbone.yaml").is_file():
        return token_limit(folder)
    if options.module is not None:
        return None
    family, model = plugins.load("backbones", options.family), options.model or TINY
    return backbone_facts(options).context_length, lambda text: family.token_counter({"model": model})(text)


def method_trains(spec: RunSpec) -> bool:
    """Return whether the run has a checkpoint of its own."""
    method = plugins.load("methods", spec.method_module)
    return method.trains and spec.training.epochs > 0 and spec.trained_on is None


def load_config(path: Path) -> Config:
    """Read and check a config.yaml. Raises ValueError."""
    if not path.is_file():
        raise ValueError(f"{path}: there is no such file")
    try:
        values = yaml.safe_load(path.read_text()) or {}
    except yaml.YAMLError as error:
        raise ValueError(f"{path}: is not YAML; {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise ValueError(f"{path}: holds a {type(values).__name__}; it takes keys such as `experiments:`")
    return check_config(values, str(path))


def _run_spec(
    config: Config, protocol: str, dataset: str, backbone: str, method: str, texts: str, seed: int
) -> RunSpec:
    """Return one run, completely specified."""
    data, options, text_set = config.datasets[dataset], config.methods[method], config.texts[texts]
    spec = RunSpec(
        run=f"{dataset}/{protocol}/{backbone}/{method}/{texts}/seed{seed}",
        dataset=dataset,
        protocol=protocol,
        backbone=backbone,
        method=method,
        texts=texts,
        seed=seed,
        protocol_options=protocol_options(data, protocol),
        method_module=options.module or method,
        num_frames=options.num_frames,
        testing=options.testing,
        method_options=options.options,
        training=options.training,
        dataset_options={
            "module": data.module or dataset,
            "options": data.options,
            "frames": data.frames.model_dump(),
            "exclude": data.exclude,
        },
        backbone_options=config.backbones[backbone].model_dump(),
        text_options={"module": text_set.module or texts, "options": text_set.options},
        confusables=mining_options(config, dataset).model_dump(),
    )
    return _with_fingerprint(spec)


def _with_fingerprint(spec: RunSpec) -> RunSpec:
    """Return the run with the fingerprint of everything that defines it."""
    canonical = json.dumps(spec.model_dump(mode="json", exclude={"fingerprint"}), sort_keys=True)
    return spec.model_copy(update={"fingerprint": hashlib.sha256(canonical.encode()).hexdigest()[:16]})


def source_dataset(protocol: str) -> str | None:
    """Return the data set that a protocol zero_shot_from_DATASET trains on, or None."""
    match = PROTOCOL.fullmatch(protocol)
    return match["source"] if match else None


def protocol_options(data: DatasetOptions, protocol: str) -> ProtocolOptions:
    """Return what a data set declares for this protocol, so that other novel classes leave supervised runs alone."""
    match = PROTOCOL.fullmatch(protocol)
    assert match, protocol
    novel = data.novel if match["kind"] == "base_to_novel" else []
    path = data.shot_list(protocol)
    return ProtocolOptions(novel=novel, shots={} if path is None else {protocol: path})


# ---- checks of one part each; all raise ValueError


@contextmanager
def _within(where: str) -> Iterator[None]:
    """Prefix an error about the options of a part with the key of the part."""
    try:
        yield
    except ValueError as error:
        keyed = re.match(r"[\w.]+: ", str(error))  # an error about several options begins otherwise
        raise ValueError(f"{where}{'.' if keyed else ': '}{error}") from None


def _check_method(where: str, module: str, options: dict[str, Any]) -> None:
    try:
        method = plugins.load("methods", module)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None
    with _within(f"{where}.options"):
        method.check(plugins.configure(method, options))


def _check_dataset(where: str, name: str, options: DatasetOptions) -> None:
    try:
        plugin = plugins.load("datasets", options.module or name)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None
    with _within(f"{where}.options"):
        plugin(plugins.configure(plugin, options.options)).check()
    files = {"exclude": options.exclude, **{f"shots.{k}": path for k, path in options.shots.items()}}
    for key, path in files.items():
        if path is not None:
            need_path(path, f"{where}.{key}")


def _check_metrics(config: Config, where: str) -> None:
    from kinetext.evaluation.metrics import all_metrics  # imports pyarrow

    try:
        all_metrics(config.metrics)
    except ValueError as error:
        raise ValueError(f"{where}: metrics.{error}") from None


def _check_reference(where: str, config: Config, number: Published) -> None:
    """Check that a published number names one row of a comparison."""
    names = {"datasets": number.dataset, "methods": number.method, "texts": number.texts}
    names |= {"backbones": number.backbone} if number.backbone else {}
    for part, name in names.items():
        _check_known(where, part, [name], getattr(config, part))
    row = (number.dataset, number.protocol, number.method, number.texts)
    runs = plan_runs(config).values()
    backbones = {run.backbone for run in runs if (run.dataset, run.protocol, run.method, run.texts) == row}
    if number.backbone is None and len(backbones) > 1:
        raise ValueError(f"{where}: add backbone, one of {', '.join(sorted(backbones))}")


def _check_known(where: str, part: str, names: Iterable[str], known: Mapping[str, Any]) -> None:
    for name in names:
        if name not in known:
            raise ValueError(f"{where}: '{name}' is not in {part}{plugins.nearest(name, list(known))}")


def _check_experiment(where: str, config: Config, experiment: ExperimentOptions) -> None:
    """Check the parts of an experiment, then how they fit together."""
    for key in ("backbone", "datasets", "methods", "texts"):
        part = "backbones" if key == "backbone" else key
        _check_known(f"{where}.{key}", part, getattr(experiment, key), getattr(config, part))
    source = source_dataset(experiment.protocol)
    if source is not None:
        _check_known(f"{where}.protocol", "datasets", [source], config.datasets)
    if source in experiment.datasets:
        raise ValueError(f"{where}: {experiment.protocol} tests on other data sets; take {source} out of `datasets`")
    datasets = [*experiment.datasets, *([source] if source else [])]
    for backbone in experiment.backbone:
        _check_backbone(where, config, experiment, datasets, backbone)
    for dataset in datasets:
        _check_task(where, config, experiment, dataset)
        for name in experiment.methods:
            _check_recipe(f"{where}: methods.{name}", config, name, dataset)
    for name in experiment.methods:
        _check_training_and_texts(where, config, experiment, name)


def _check_backbone(
    where: str, config: Config, experiment: ExperimentOptions, datasets: list[str], backbone: str
) -> None:
    """Check that the stored frames fit the backbone, and that it has the layers that a method needs."""
    facts = backbone_facts(config.backbones[backbone])
    for dataset in datasets:
        size_px = config.datasets[dataset].frames.size_px
        if size_px != facts.image_size_px:
            raise ValueError(
                f"{where}: datasets.{dataset}.frames.size_px is {size_px}, but backbone {backbone} takes "
                f"{facts.image_size_px}; set it to {facts.image_size_px}"
            )
    for name in experiment.methods:
        method = plugins.load("methods", config.methods[name].module or name)
        try:
            options = plugins.configure(method, config.methods[name].options)
            method.check_depth(options, facts.num_layers, f"backbone {backbone}")
        except ValueError as error:
            raise ValueError(f"{where}: methods.{name}.options.{error}") from None


def _check_task(where: str, config: Config, experiment: ExperimentOptions, dataset: str) -> None:
    """Check that a data set has what the protocol and the text sets of an experiment need: classes, captions, rivals."""
    rivals = mining_options(config, dataset).file
    if rivals is not None:
        need_path(rivals, f"{where.partition(': ')[0]}: confusables.file")
    captioned = has_captions(config.datasets[dataset], dataset)
    if captioned and not (experiment.protocol == "supervised" or source_dataset(experiment.protocol)):
        raise ValueError(f"{where}.protocol: {dataset} has captions and no classes; take supervised")
    for texts in experiment.texts:
        of_captions = plugins.load("texts", config.texts[texts].module or texts).of_captions
        if captioned is not None and captioned != of_captions:
            has, takes = ("captions", "texts: [captions]") if captioned else ("classes", "other texts, such as names")
            raise ValueError(f"{where}.texts: {dataset} has {has} and cannot take '{texts}'; take {takes}")
    if experiment.protocol.startswith("base_to_novel") and not config.datasets[dataset].novel:
        raise ValueError(f"{where}.protocol: base_to_novel needs datasets.{dataset}.novel, the classes to hold out")
    with _within(f"{where.partition(': ')[0]}: datasets.{dataset}"):
        config.datasets[dataset].shot_list(experiment.protocol)


def _check_recipe(where: str, config: Config, name: str, dataset: str) -> None:
    """Check that the stored frames and the labels of a data set allow how a method samples, trains and tests."""
    method, frames, data = config.methods[name], config.datasets[dataset].frames, f"datasets.{dataset}"
    captions = has_captions(config.datasets[dataset], dataset)
    stored, taken, training = frames.num_frames, method.num_frames or frames.num_frames, method.training
    task = "captions" if captions else "classes"
    tasks = plugins.load("methods", method.module or name).tasks
    if captions is not None and task not in tasks:
        raise ValueError(f"{where}: {data} has {task}, and {name} serves {' and '.join(tasks)} only; take it out")
    if taken > stored:
        wrong = f"num_frames is {taken}, but {data}.frames.num_frames stores {stored}; store more"
    elif taken == stored and training.sampling != "uniform":
        wrong = (
            f"training.sampling: {training.sampling} chooses among {stored} stored frames, and the method takes all; "
            f"set methods.{name}.num_frames to fewer, or {data}.frames.num_frames to more"
        )
    elif training.sampling == "dense" and (taken - 1) * training.stride >= stored:
        wrong = (
            f"training.stride: {taken} frames, {training.stride} from one to the next, do not fit into {stored} stored "
            "ones"
        )
    elif taken == stored and method.testing.clips > 1:
        wrong = f"testing.clips: with num_frames {taken} of {stored} stored all views are the same; store more"
    elif method.testing.crops > 1 and frames.crop == "centre":
        wrong = f"testing.crops: {method.testing.crops} crops take {data}.frames.crop: whole"
    elif captions and method.testing.average == "probabilities":
        wrong = f"testing.average: {data} has captions, whose scores are no probabilities; take logits"
    elif captions and (option := training.needs_classes()):
        wrong = f"training.{option} is for clips with classes, and {data} has captions; take it out"
    else:
        return
    raise ValueError(f"{where}.{wrong}")


def _check_training_and_texts(where: str, config: Config, experiment: ExperimentOptions, name: str) -> None:
    """Check that a method that trains nothing has no epochs, and that it gets the descriptions that it needs."""
    options = config.methods[name]
    method = plugins.load("methods", options.module or name)
    if not method.trains and options.training.epochs and "epochs" in options.training.model_fields_set:
        raise ValueError(
            f"{where}.methods: {name} does not train, but methods.{name}.training.epochs is set; remove it"
        )
    if method.needs_training_clips and experiment.protocol.startswith(("base_to_novel", "zero_shot")):
        raise ValueError(
            f"{where}: {name} needs training clips of every class, and {experiment.protocol} has classes without any; "
            "take supervised or few_shot_K"
        )
    for texts in experiment.texts:
        provider = plugins.load("texts", config.texts[texts].module or texts)
        if method.needs_descriptions and not provider.gives_descriptions:
            raise ValueError(
                f"{where}: {name} needs motion descriptions and texts '{texts}' gives only names; "
                "put it in an experiment of its own with texts such as bundled or chat_api"
            )

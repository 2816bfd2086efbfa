"""Check that the parts of an experiment fit together: data sets, protocol, backbones, methods and text sets.

Every check raises ValueError with one sentence: the file, the key, the value, and what would be right.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from kinetext.config.data import source_dataset
from kinetext.config.experiment import Config, ExperimentOptions
from kinetext.core import plugins
from kinetext.data.lists import need_path
from kinetext.plan.inputs import (
    configured_facts,
    frame_options,
    has_captions,
    is_multi_label,
    mining_options,
    text_providers,
)
from kinetext.texts.providers.base import load_provider


def check_experiment(where: str, config: Config, experiment: ExperimentOptions) -> None:
    """Check that all parts of an experiment are defined, and that they fit together."""
    for key in ("backbone", "datasets", "methods", "texts"):
        part = "backbones" if key == "backbone" else key
        check_known(f"{where}.{key}", part, getattr(experiment, key), getattr(config, part))
    source = source_dataset(experiment.protocol)
    if source is not None:
        check_known(f"{where}.protocol", "datasets", [source], config.datasets)
    if source in experiment.datasets:
        raise ValueError(f"{where}: {experiment.protocol} tests on other data sets; take {source} out of `datasets`")
    datasets = [*experiment.datasets, *([source] if source else [])]
    for backbone in experiment.backbone:
        _check_backbone(where, config, experiment, datasets, backbone)
    for dataset in datasets:
        _check_task(where, config, experiment, dataset)
        for name in experiment.methods:
            check_recipe(f"{where}: methods.{name}", config, name, dataset)
    for name in experiment.methods:
        _check_training_and_texts(where, config, experiment, name)
        _check_questions(where, config, experiment, name)


def check_known(where: str, part: str, names: Iterable[str], known: Mapping[str, Any]) -> None:
    """Check that all `names` are defined in a part of the configuration, such as `methods`."""
    for name in names:
        if name not in known:
            raise ValueError(f"{where}: '{name}' is not in {part}{plugins.nearest(name, list(known))}")


def _check_backbone(
    where: str, config: Config, experiment: ExperimentOptions, datasets: list[str], backbone: str
) -> None:
    """Check that a backbone fits the stored frames, and has the text encoder and the layers that the methods need."""
    facts = configured_facts(config, backbone)
    has_text = plugins.load("backbones", config.backbones[backbone].family).has_text
    for dataset in datasets:
        with plugins.error_prefix(where):
            frames = frame_options(config, dataset, backbone)
        for name, needed in (
            ("size_px", facts.image_size_px),
            ("resize_mode", facts.resize_mode),
            ("interpolation", facts.interpolation),
        ):
            if getattr(frames, name) != needed:
                raise ValueError(
                    f"{where}: datasets.{dataset}.frames.{name} is {getattr(frames, name)}, but backbone {backbone} takes "
                    f"{needed}; remove it: the frames then follow from the backbone"
                )
    if not has_text and config.confusables.rule == "text":
        raise ValueError(
            f"{where}: confusables.rule: text needs the features of the class names, and backbone {backbone} has no text "
            "encoder; take features"
        )
    for name in experiment.methods:
        method = plugins.load("methods", config.methods[name].module or name)
        if method.needs_text and not has_text:
            raise ValueError(
                f"{where}: {name} compares clips with texts, and backbone {backbone} has no text encoder; take a method that "
                "needs no text, such as linear_probe, or another backbone"
            )
        check_depth(f"{where}: methods.{name}", config, name, backbone)
        for dataset in datasets:
            num_frames = config.methods[name].num_frames or config.datasets[dataset].frames.num_frames
            problem = "" if method.reads == "frames" else facts.frames_problem(num_frames)
            if problem:
                raise ValueError(f"{where}: backbone {backbone} {problem}; set methods.{name}.num_frames for {dataset}")


def check_depth(where: str, config: Config, name: str, backbone: str) -> None:
    """Check that a backbone has enough layers for a method."""
    method, depth = config.methods[name], configured_facts(config, backbone).num_layers
    plugin = plugins.load("methods", method.module or name)
    try:
        plugin.check_depth(plugins.configure(plugin, method.options), depth, f"backbone {backbone}")
    except ValueError as error:
        raise ValueError(f"{where}.options.{error}") from None


def _check_task(where: str, config: Config, experiment: ExperimentOptions, dataset: str) -> None:
    """Check that a data set fits the protocol and the text sets of an experiment, and that its rivals file exists."""
    rivals = mining_options(config, dataset).file
    if rivals is not None:
        need_path(rivals, f"{where.partition(': ')[0]}: confusables.file")
    captioned = has_captions(config.datasets[dataset], dataset)
    if captioned and not (experiment.protocol == "supervised" or source_dataset(experiment.protocol)):
        raise ValueError(f"{where}.protocol: {dataset} has captions and no classes; take supervised")
    if is_multi_label(config.datasets[dataset], dataset) and experiment.protocol != "supervised":
        raise ValueError(
            f"{where}.protocol: {dataset} has several labels per clip, which only supervised serves; take supervised"
        )
    for texts in experiment.texts:
        of_captions = plugins.load("texts", config.texts[texts].module or texts).of_captions
        if captioned is not None and captioned != of_captions:
            has, takes = ("captions", "texts: [captions]") if captioned else ("classes", "other texts, such as names")
            raise ValueError(f"{where}.texts: {dataset} has {has} and cannot take '{texts}'; take {takes}")
        options = config.texts[texts].for_dataset(dataset)
        if options != config.texts[texts]:
            load_provider(f"{where.partition(': ')[0]}: texts.{texts}", options.module or texts, options.options)
        _check_confusions(where, config, experiment, dataset, texts)
    if experiment.protocol.startswith("base_to_novel") and not config.datasets[dataset].novel:
        raise ValueError(f"{where}.protocol: base_to_novel needs datasets.{dataset}.novel, the classes to hold out")
    with plugins.error_prefix(f"{where.partition(': ')[0]}: datasets.{dataset}"):
        config.datasets[dataset].shot_list(experiment.protocol)


def _check_confusions(where: str, config: Config, experiment: ExperimentOptions, dataset: str, texts: str) -> None:
    """Check that the rule `features` has confusions where a text set needs them."""
    several = is_multi_label(config.datasets[dataset], dataset)
    if config.confusables.rule != "features" or not (several or source_dataset(experiment.protocol)):
        return
    if any(provider.needs_confusion for provider in text_providers(config.texts[texts].for_dataset(dataset), texts)):
        why = f"{dataset} has several labels per clip" if several else f"{experiment.protocol} has no training clips"
        raise ValueError(
            f"{where}: texts '{texts}' need confusions, and {why}, so confusables.rule: features finds none; set the option "
            "`confusions` of refined to a csv file, or another confusables.rule"
        )


def check_recipe(where: str, config: Config, name: str, dataset: str) -> None:
    """Check that the stored frames and the labels of a data set fit the sampling, training and testing of a method."""
    method, frames, data = config.methods[name], config.datasets[dataset].frames, f"datasets.{dataset}"
    captions = has_captions(config.datasets[dataset], dataset)
    several = is_multi_label(config.datasets[dataset], dataset)
    stored, taken, training = frames.num_frames, method.num_frames or frames.num_frames, method.training
    task = "captions" if captions else "labels" if several else "classes"
    tasks = plugins.load("methods", method.module or name).tasks
    if captions is not None and task not in tasks:
        has = "several labels per clip" if several else task
        raise ValueError(f"{where}: {data} has {has}, and {name} serves {' and '.join(tasks)} only; take it out")
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
    elif several and method.testing.average == "probabilities":
        wrong = f"testing.average: {data} has several labels per clip, whose scores are no softmax; take logits"
    elif training.loss == "sigmoid" and several:
        wrong = f"training.loss: {data} has several labels per clip, whose loss is binary always; take it out"
    elif (captions or several) and (option := training.needs_classes()):
        has = "captions" if captions else "several labels per clip"
        wrong = f"training.{option} is for clips with one class each, and {data} has {has}; take it out"
    else:
        return
    raise ValueError(f"{where}.{wrong}")


def _check_training_and_texts(where: str, config: Config, experiment: ExperimentOptions, name: str) -> None:
    """Check that a method has no training option without effect, and gets the clips and descriptions it needs."""
    options = config.methods[name]
    method = plugins.load("methods", options.module or name)
    if not method.trains and options.training.epochs and "epochs" in options.training.model_fields_set:
        raise ValueError(
            f"{where}.methods: {name} does not train, but methods.{name}.training.epochs is set; remove it"
        )
    if method.fits and (option := options.training.needs_classes()):
        raise ValueError(
            f"{where}.methods: {name} is fitted to features in one go, where methods.{name}.training.{option} has no effect; "
            "remove it"
        )
    chosen = plugins.configure(method, options.options)
    if method.chooses_on_val(chosen) and options.training.select != "best_val":
        raise ValueError(
            f"{where}.methods: {name} has several settings to choose from on validation clips; set methods.{name}.training."
            "select: best_val, or give one value each"
        )
    if options.training.loss == "sigmoid" and not method.serves_sigmoid():
        raise ValueError(
            f"{where}.methods: {name} has losses of its own, and methods.{name}.training.loss is sigmoid; remove it"
        )
    if method.needs_training_clips and experiment.protocol.startswith("zero_shot"):
        raise ValueError(
            f"{where}: {name} needs training clips of every class, and {experiment.protocol} has none; "
            "take supervised, few_shot_K or base_to_novel"
        )
    for texts in experiment.texts:
        providers = list(text_providers(config.texts[texts].for_dataset(experiment.datasets[0]), texts))
        made_from_clips = any(provider.reads_clips for provider in providers)
        if made_from_clips and experiment.protocol.startswith("zero_shot"):
            raise ValueError(
                f"{where}: texts '{texts}' are made from training clips, and {experiment.protocol} has none; "
                "take supervised, few_shot_K or base_to_novel"
            )
        if made_from_clips and method.needs_descriptions and experiment.protocol.startswith("base_to_novel"):
            raise ValueError(
                f"{where}: {name} needs a description of every class, and texts '{texts}', made from training clips, have none "
                "of novel classes; take supervised or few_shot_K"
            )
        if method.needs_descriptions and not providers[0].gives_descriptions:
            raise ValueError(
                f"{where}: {name} needs motion descriptions and texts '{texts}' gives only names; "
                "put it in an experiment of its own with texts such as bundled or chat_api, or set as_descriptions: true"
            )


def _check_questions(where: str, config: Config, experiment: ExperimentOptions, name: str) -> None:
    """Check that a method that reads frames is asked once per clip, and that its examples have classes."""
    options = config.methods[name]
    method = plugins.load("methods", options.module or name)
    if method.reads != "frames":
        return
    if options.testing.views > 1:
        raise ValueError(
            f"{where}.methods: {name} is asked once per clip, but methods.{name}.testing has {options.testing.views} views; "
            "set clips and crops to 1"
        )
    num_examples = method(None, plugins.configure(method, options.options)).num_examples
    captioned = any(has_captions(config.datasets[dataset], dataset) for dataset in experiment.datasets)
    if num_examples and (captioned or source_dataset(experiment.protocol)):
        kind = "clips with captions have no classes" if captioned else "the training clips have other classes"
        raise ValueError(
            f"{where}.methods: {name} shows {num_examples} training clips as examples, and {kind}; remove it"
        )

"""Check a configuration before anything costs time: the options, files and plug-ins of each part, then the experiments.

A check imports the plug-ins. Methods also import torch, but neither open_clip nor MLflow is imported.
"""

from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import ValidationError

from kinetext.config.data import DatasetOptions
from kinetext.config.experiment import Config
from kinetext.config.report import Published
from kinetext.config.texts import ConfusablesOptions
from kinetext.core import plugins
from kinetext.data.lists import need_path
from kinetext.plan.experiments import check_experiment, check_known
from kinetext.plan.inputs import configured_facts
from kinetext.plan.runs import plan_runs
from kinetext.plan.tuning import check_tuning
from kinetext.texts.providers.base import load_provider


def check_config(values: dict[str, Any], where: str = "config.yaml") -> Config:
    """Return the configuration with these values after checking its options, files, plug-ins and experiments.

    Raises ValueError with one sentence: the file, the key, the value, and what would be right.
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
        if texts.for_dataset("") == texts:  # others are checked for the data sets of each experiment
            load_provider(f"{where}: texts.{name}", texts.module or name, texts.options)
    if config.metrics:
        _check_metrics(config, where)
    _check_headline(f"{where}: report.headline", config)
    for name in config.backbones:
        with plugins.error_prefix(f"{where}: backbones.{name}"):
            configured_facts(config, name)
    for name, experiment in config.experiments.items():
        check_experiment(f"{where}: experiments.{name}", config, experiment)
        for method_name in experiment.methods:
            check_tuning(f"{where}: methods.{method_name}.tuning", config, experiment, method_name)
    for i, number in enumerate(config.report.reference):
        _check_reference(f"{where}: report.reference.{i}", config, number)
    return config


def load_config(path: Path) -> Config:
    """Read and check a config.yaml. Raises ValueError if the file is missing, is not YAML, or fails `check_config`."""
    if not path.is_file():
        raise ValueError(f"{path}: there is no such file")
    try:
        values = yaml.safe_load(path.read_text("utf-8")) or {}
    except yaml.YAMLError as error:
        raise ValueError(f"{path}: is not YAML; {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise ValueError(f"{path}: holds a {type(values).__name__}; it takes keys such as `experiments:`")
    return check_config(values, str(path))


def _check_dataset(where: str, name: str, options: DatasetOptions) -> None:
    plugin = plugins.load_for(where, "datasets", options.module or name)
    with plugins.error_prefix(f"{where}.options"):
        plugin(plugins.configure(plugin, options.options)).check()
    files = {"exclude": options.exclude, **{f"shots.{k}": path for k, path in options.shots.items()}}
    for key, path in files.items():
        if path is not None:
            need_path(path, f"{where}.{key}")


def _check_method(where: str, module: str, options: dict[str, Any]) -> None:
    method = plugins.load_for(where, "methods", module)
    with plugins.error_prefix(f"{where}.options"):
        method.check(plugins.configure(method, options))


def _check_metrics(config: Config, where: str) -> None:
    from kinetext.evaluation.metrics import all_metrics  # imports pyarrow

    try:
        all_metrics(config.metrics)
    except ValueError as error:
        raise ValueError(f"{where}: metrics.{error}") from None


def _check_headline(where: str, config: Config) -> None:
    """Check that there is such a metric, and for the accuracy within confusable pairs such a mining rule."""
    if "headline" not in config.report.model_fields_set:
        return
    from kinetext.evaluation.metrics import BUILT_IN  # imports pyarrow

    rules = get_args(ConfusablesOptions.model_fields["rule"].annotation)
    known = {*BUILT_IN, *config.metrics, *(f"{way}_{name}" for way in ("t2v", "v2t") for name in BUILT_IN)}
    for metric in config.report.headline:
        name, _, rule = metric.partition(":")
        if name not in known and not name.startswith("kind_"):
            raise ValueError(f"{where}: no metric '{name}'{plugins.nearest(name, sorted(known))}")
        if name == "pair_accuracy" and rule not in rules:
            raise ValueError(
                f"{where}: '{metric}' names no mining rule; write pair_accuracy:RULE, RULE one of {', '.join(rules)}"
            )


def _check_reference(where: str, config: Config, number: Published) -> None:
    """Check that the parts of a published value are defined, and that it names the backbone if there are several."""
    names = {"datasets": number.dataset, "methods": number.method, "texts": number.texts}
    names |= {"backbones": number.backbone} if number.backbone else {}
    for part, name in names.items():
        check_known(where, part, [name], getattr(config, part))
    row = (number.dataset, number.protocol, number.method, number.texts)
    runs = plan_runs(config).values()
    backbones = {run.backbone for run in runs if (run.dataset, run.protocol, run.method, run.texts) == row}
    if number.backbone is None and len(backbones) > 1:
        raise ValueError(f"{where}: add backbone, one of {', '.join(sorted(backbones))}")

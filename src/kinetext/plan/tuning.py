"""Check the tuning of a method: its search space, every setting that is tried, and the existence of validation clips.

Every check raises ValueError with one sentence: the file, the key, the value, and what would be right.
"""

from pydantic import ValidationError

from kinetext.config.data import source_dataset
from kinetext.config.experiment import Config, ExperimentOptions
from kinetext.config.training import TrainingOptions
from kinetext.core import plugins
from kinetext.data.datasets.base import build_dataset
from kinetext.plan.experiments import check_depth, check_recipe
from kinetext.training.design import Setting, describe, trial_settings, tuning_record


def check_tuning(where: str, config: Config, experiment: ExperimentOptions, name: str) -> None:
    """Check the tuning of a method in an experiment, if the method is tuned."""
    options = config.methods[name]
    with plugins.error_prefix(where):
        record = tuning_record(plugins.load("methods", options.module or name), options, config.tuning)
    if record is None:
        return
    source = source_dataset(experiment.protocol)
    datasets = [source] if source else experiment.datasets
    for dataset in datasets:
        option = build_dataset(dataset, config.datasets[dataset]).zero_validation_option()
        if option is not None:
            raise ValueError(
                f"{where}: judges by validation clips, and datasets.{dataset}.options.{option} is 0; raise it, or set "
                f"methods.{name}.tuning: {{trials: 0}}"
            )
    for number, setting in enumerate(trial_settings(record)):
        try:
            _check_setting(config, experiment, name, datasets, setting)
        except ValidationError as error:
            message = plugins.sentence(error, TrainingOptions)
            raise ValueError(f"{where}: trial {number} ({describe(setting)}): training.{message}") from None
        except ValueError as error:
            raise ValueError(f"{where}: trial {number} ({describe(setting)}): {str(error).lstrip('.: ')}") from None


def _check_setting(
    config: Config, experiment: ExperimentOptions, name: str, datasets: list[str], setting: Setting
) -> None:
    """Check a setting in the same way as the configured options of the method."""
    changed = config.methods[name].with_setting(setting)
    trial = config.model_copy(update={"methods": config.methods | {name: changed}})
    method = plugins.load("methods", changed.module or name)
    with plugins.error_prefix("options"):
        method.check(plugins.configure(method, changed.options))
    for dataset in datasets:
        check_recipe("", trial, name, dataset)
    for backbone in experiment.backbone:
        check_depth("", trial, name, backbone)

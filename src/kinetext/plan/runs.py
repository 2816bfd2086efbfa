"""The runs of a configuration, each completely specified (plan_runs, plan_run).

A fingerprint of everything that defines a run is part of its specification.
"""

import json
from collections.abc import Mapping
from itertools import product
from pathlib import Path

import yaml

from kinetext.config.data import PROTOCOL, DatasetOptions, ProtocolOptions
from kinetext.config.experiment import Config
from kinetext.config.run import RunSpec, read_run
from kinetext.core import plugins
from kinetext.core.documents import load_yaml
from kinetext.core.files import atomic_write
from kinetext.plan.inputs import mining_options
from kinetext.training.design import tuning_record


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
                spec = _tested_with(trained, spec)
            runs[spec.run] = spec
    return runs


def tuned_runs(runs: Mapping[str, RunSpec]) -> dict[str, RunSpec]:
    """Return the runs that are tuned, one for all seeds, by their names without the seed."""
    tuned = {run.group: run for run in runs.values() if run.tuning is not None and run.trained_on is None}
    first = {group: run.model_copy(update={"run": f"{group}/seed0", "seed": 0}) for group, run in tuned.items()}
    return {group: run.with_fingerprint() for group, run in first.items()}  # the same for whatever other seeds


def plan_run(spec: str, output: Path, setting: Path | None = None, trained: Path | None = None) -> None:
    """Write run.yaml from the run's JSON.

    A tuned run gets the setting that `choose_settings` has written. `trained` is the run.yaml of a tuned run whose
    checkpoint this run tests: it has that run's setting.
    """
    run = planned = RunSpec(**json.loads(spec))
    if setting is not None and run.tuning is not None:
        chosen = load_yaml(setting)
        record = run.tuning.model_copy(update={**chosen, "planned": planned.fingerprint})
        run = run.model_copy(update={"tuning": record}).with_setting(chosen["setting"])
    if trained is not None:
        run = _tested_with(read_run(trained), run)
        if run.tuning is not None:
            record = run.tuning.model_copy(update={"planned": planned.fingerprint})
            run = run.model_copy(update={"tuning": record}).with_fingerprint()
    with atomic_write(output) as part:
        part.write_text(yaml.safe_dump(run.model_dump(mode="json"), sort_keys=False))


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


def method_trains(spec: RunSpec) -> bool:
    """Return whether the run has a checkpoint of its own."""
    method = plugins.load("methods", spec.method_module)
    return method.trains and spec.training.epochs > 0 and spec.trained_on is None


def is_quick(spec: RunSpec) -> bool:
    """Return whether a run takes no gradient descent and no tuning: its row can be in the report before the first
    training ends.
    """
    return (
        spec.trained_on is None
        and spec.tuning is None
        and (not method_trains(spec) or plugins.load("methods", spec.method_module).fits)
    )


def _run_spec(
    config: Config, protocol: str, dataset: str, backbone: str, method: str, texts: str, seed: int
) -> RunSpec:
    """Return one run, completely specified."""
    data, options, text_set = config.datasets[dataset], config.methods[method], config.texts[texts].for_dataset(dataset)
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
        tuning=tuning_record(plugins.load("methods", options.module or method), options, config.tuning),
    )
    return spec.with_fingerprint()


def _tested_with(trained: RunSpec, spec: RunSpec) -> RunSpec:
    """Return a run that tests the checkpoint of another one, with its method, training and tuning."""
    changed = {"trained_on": trained.run, "trained_fingerprint": trained.fingerprint, "training": trained.training}
    changed |= {"method_options": trained.method_options, "tuning": trained.tuning}
    return spec.model_copy(update=changed).with_fingerprint()

"""The runs of a configuration, each completely specified (plan_runs, plan_run).

A fingerprint of everything that defines a run is part of its specification.
"""

import json
from itertools import product
from pathlib import Path

import yaml

from kinetext.config.data import PROTOCOL, DatasetOptions, ProtocolOptions
from kinetext.config.experiment import Config
from kinetext.config.run import RunSpec, fingerprint_of
from kinetext.core import plugins
from kinetext.core.files import atomic_write
from kinetext.plan.inputs import mining_options


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
    """Return whether a run takes no gradient descent: its row can be in the report before the first training ends."""
    return spec.trained_on is None and (not method_trains(spec) or plugins.load("methods", spec.method_module).fits)


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
    )
    return _with_fingerprint(spec)


def _with_fingerprint(spec: RunSpec) -> RunSpec:
    """Return the run with the fingerprint of everything that defines it."""
    return spec.model_copy(update={"fingerprint": fingerprint_of(spec.model_dump(mode="json"))})

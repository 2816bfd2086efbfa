"""Plan the runs of a configuration. Each run has a complete specification, with a fingerprint of its contents."""

import json
from collections.abc import Iterable, Mapping
from functools import cache, partial
from itertools import product
from pathlib import Path

import yaml

from kinetext.config.data import PROTOCOL, DatasetOptions, FrameOptions, ProtocolOptions, source_dataset
from kinetext.config.experiment import Config
from kinetext.config.run import RunSpec, read_run
from kinetext.core import plugins
from kinetext.core.documents import load_yaml
from kinetext.core.files import atomic_write
from kinetext.plan.inputs import defining_options, frame_options, mining_options
from kinetext.training.design import tuning_record


def plan_runs(config: Config) -> dict[str, RunSpec]:
    """Return all runs of all experiments: run name -> specification."""
    runs: dict[str, RunSpec] = {}
    frames = cache(partial(frame_options, config))  # of a data set and a backbone
    for experiment in config.experiments.values():
        source = source_dataset(experiment.protocol)
        for dataset, backbone, method, texts, seed in product(
            experiment.datasets, experiment.backbone, experiment.methods, experiment.texts, experiment.seeds
        ):
            row = (backbone, method, texts, seed)
            spec = _run_spec(config, frames(dataset, backbone), experiment.protocol, dataset, *row)
            if source is not None:
                trained = _run_spec(config, frames(source, backbone), "supervised", source, *row)
                runs[trained.run] = trained
                spec = _tested_with(trained, spec)
            runs[spec.run] = spec
    return runs


def frame_sets(runs: Iterable[RunSpec], dataset: str) -> dict[str, FrameOptions]:
    """Return the sets of frames of a data set that some runs need: folder name -> options, in the order of the runs."""
    of_backbones = {run.backbone: run for run in runs if run.dataset == dataset}
    return {run.frame_options.frame_set: run.frame_options for run in of_backbones.values()}


def smallest_frames(runs: Iterable[RunSpec], preferred: str | None = None) -> RunSpec:
    """Return the run with the smallest frames, in any order of the runs. Equal sizes are sorted by frame set.

    A run with the frame set `preferred` is returned instead, if there is one.
    """

    def rank(run: RunSpec) -> tuple[bool, int, str, str]:
        frames = run.frame_options
        return frames.frame_set != preferred, frames.size_px, frames.frame_set, run.backbone

    return min(runs, key=rank)


def tuned_runs(runs: Mapping[str, RunSpec]) -> dict[str, RunSpec]:
    """Return the tuning tasks among the runs: run name without seed -> specification with seed 0.

    All seeds of a run share one tuning. The specification is the same whichever seeds are configured.
    """
    tuned = {run.group: run for run in runs.values() if run.tuning is not None and run.trained_on is None}
    first = {group: run.model_copy(update={"run": f"{group}/seed0", "seed": 0}) for group, run in tuned.items()}
    return {group: run.with_fingerprint() for group, run in first.items()}  # the same for whatever other seeds


def plan_run(spec: str, output: Path, setting: Path | None = None, trained: Path | None = None) -> None:
    """Write run.yaml. `spec` is the specification of the run as JSON.

    `setting` is the file that `choose_settings` wrote for a tuned run; its values replace those of the specification.
    `trained` is the run.yaml of the run whose checkpoint this run tests; method options and training come from there.
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


def protocol_options(data: DatasetOptions, protocol: str) -> ProtocolOptions:
    """Return the options of a data set that matter for this protocol.

    Options for other protocols are left out, so that changing them leaves the fingerprint of the run unchanged.
    """
    match = PROTOCOL.fullmatch(protocol)
    assert match, protocol
    novel = data.novel if match["kind"] == "base_to_novel" else []
    path = data.shot_list(protocol)
    return ProtocolOptions(novel=novel, shots={} if path is None else {protocol: path})


def method_trains(spec: RunSpec) -> bool:
    """Return whether the run trains a checkpoint."""
    method = plugins.load("methods", spec.method_module)
    return method.trains and spec.training.epochs > 0 and spec.trained_on is None


def reads_frames(spec: RunSpec) -> bool:
    """Return whether the method of a run has no backbone and is asked about the frames of each clip."""
    return bool(plugins.load("methods", spec.method_module).reads == "frames")


def is_fitted(spec: RunSpec) -> bool:
    """Return whether the method of a run is fitted to the features of all training clips at once."""
    return bool(plugins.load("methods", spec.method_module).fits)


def is_quick(spec: RunSpec) -> bool:
    """Return whether a run needs neither gradient descent nor tuning nor a server.

    The report can show such a run before the first training ends.
    """
    return (
        spec.trained_on is None
        and spec.tuning is None
        and not reads_frames(spec)
        and (not method_trains(spec) or plugins.load("methods", spec.method_module).fits)
    )


def _run_spec(
    config: Config,
    frames: FrameOptions,
    protocol: str,
    dataset: str,
    backbone: str,
    method: str,
    texts: str,
    seed: int,
) -> RunSpec:
    """Return the complete specification of one run, which takes the frames `frames`."""
    data, options = config.datasets[dataset], config.methods[method]
    text_set = defining_options(config.texts[texts].for_dataset(dataset), texts)
    plugin = plugins.load("methods", options.module or method)
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
            "frames": frames.model_dump(),
            "exclude": data.exclude,
        },
        backbone_options={} if plugin.reads == "frames" else config.backbones[backbone].model_dump(),
        text_options={"module": text_set.module or texts, "options": text_set.options},
        confusables=mining_options(config, dataset).model_dump(),
        tuning=tuning_record(plugin, options, config.tuning),
    )
    return spec.with_fingerprint()


def _tested_with(trained: RunSpec, spec: RunSpec) -> RunSpec:
    """Return `spec` as a run that tests the checkpoint of `trained`.

    Method options, training and tuning are those of `trained`.
    """
    changed = {"trained_on": trained.run, "trained_fingerprint": trained.fingerprint, "training": trained.training}
    changed |= {"method_options": trained.method_options, "tuning": trained.tuning}
    return spec.model_copy(update=changed).with_fingerprint()

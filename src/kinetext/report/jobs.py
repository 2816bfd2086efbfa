"""The jobs that a run needs, in the order of the data flow, with their outputs and logs (workflow/rules/*.smk).

Snakemake does not record which jobs failed once it has ended. A failed job has no outputs, and its log ends with an
error message. So the results folder alone shows at any time why a file is missing.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from kinetext.config.run import RunSpec


class Planned(NamedTuple):
    """A run of the configuration, and whether it trains a checkpoint."""

    spec: RunSpec
    trains: bool


class Job(NamedTuple):
    """A job of the workflow: the rule, the log and the output files."""

    rule: str
    log: Path
    outputs: tuple[Path, ...]


def jobs_of_run(results: Path, name: str, planned: Mapping[str, Planned]) -> Iterator[Job]:
    """Yield the jobs that the run `name` needs, in the order of the data flow."""
    spec, trains = planned[name]
    if spec.trained_on is not None and spec.trained_on in planned:
        for job in jobs_of_run(results, spec.trained_on, planned):
            if job.rule not in ("predict_clips", "measure_run"):
                yield job
    yield from _data_jobs(results, spec)
    if spec.tuning is not None and spec.trained_on is None:
        yield from _tuning_jobs(results, spec)
    run = results / "runs" / name
    outputs = {"plan_run": ["run.yaml"]}
    outputs |= {"train_method": ["checkpoint.safetensors", "curves.parquet", "cost.json"]} if trains else {}
    outputs |= {"predict_clips": ["predictions.parquet"], "measure_run": ["metrics.parquet"]}
    for rule, names in outputs.items():
        yield Job(rule, results / "logs" / rule / f"{name}.log", tuple(run / file for file in names))


def _tuning_jobs(results: Path, spec: RunSpec) -> Iterator[Job]:
    """Yield the jobs that choose the setting of a tuned run: every trial at every rung, then the choice."""
    assert spec.tuning is not None
    folder, logs = results / "tuning" / spec.group, results / "logs"
    if not (folder / "setting.yaml").is_file():  # else all trials were there
        for rung in range(len(spec.tuning.rungs)):
            for trial in range(spec.tuning.trials):
                name = f"trial{trial}/rung{rung}"
                yield Job("tune_method", logs / "tune_method" / spec.group / f"{name}.log", (folder / f"{name}.json",))
    log = logs / "choose_settings" / f"{spec.group}.log"
    yield Job("choose_settings", log, (folder / "setting.yaml", folder / "trials.parquet"))


def final_jobs(results: Path, datasets: list[str]) -> Iterator[Job]:
    """Yield the jobs after all runs, except the report."""
    for dataset in datasets:
        log = results / "logs" / "log_run" / f"{dataset}.log"
        yield Job("log_run", log, (results / "runs" / dataset / "mlflow.json",))
    tables = results / "tables" / "metrics.parquet"
    yield Job("collect_metrics", results / "logs" / "collect_metrics.log", (tables,))


def _data_jobs(results: Path, spec: RunSpec) -> Iterator[Job]:
    """Yield the jobs that make the clips, frames, backbone, features and texts of a run."""
    dataset, protocol, backbone = spec.dataset, spec.protocol, spec.backbone
    data, logs, frame_set = results / "data" / dataset, results / "logs", spec.frame_options.frame_set
    listed = (data / "clips.parquet", data / "shards.txt")
    yield Job("index_clips", logs / "index_clips" / f"{dataset}.log", listed)
    frames = data / "frames" / frame_set
    if not (frames / "frames.json").is_file():  # else all shards were there
        for shard in shard_names(data):
            log = logs / "extract_frames" / dataset / frame_set / f"{shard}.log"
            yield Job("extract_frames", log, (frames / f"{shard}.arrow",))
    yield Job("check_frames", logs / "check_frames" / dataset / f"{frame_set}.log", (frames / "frames.json",))
    yield Job("split_clips", logs / "split_clips" / dataset / f"{protocol}.log", (data / protocol / "splits.parquet",))
    weights = results / "backbones" / backbone / "weights.safetensors"
    yield Job("prepare_backbone", logs / "prepare_backbone" / f"{backbone}.log", (weights,))
    features, tables = data / "features" / backbone, data / protocol / backbone
    if not (tables / "confusables.parquet").is_file() and _has_log(logs / "embed_frames" / dataset / backbone):
        for shard in shard_names(data):
            log = logs / "embed_frames" / dataset / backbone / f"{shard}.log"
            yield Job("embed_frames", log, (features / f"{shard}.arrow",))
    yield Job("embed_labels", logs / "embed_labels" / dataset / f"{backbone}.log", (features / "labels.npz",))
    log = logs / "mine_confusables" / dataset / protocol / f"{backbone}.log"
    yield Job("mine_confusables", log, (tables / "confusables.parquet",))
    log = logs / "describe_classes" / dataset / protocol / backbone / f"{spec.texts}.log"
    yield Job("describe_classes", log, (tables / "texts" / f"{spec.texts}.parquet",))


def shard_names(data: Path) -> list[str]:
    """Return the names of the frame shards of a data set, from its folder. Empty before its clips are listed."""
    shards_file = data / "shards.txt"
    return [line.split()[0] for line in shards_file.read_text().splitlines()] if shards_file.is_file() else []


def _has_log(folder: Path) -> bool:
    """Return whether jobs have written logs to the folder. Data sets with captions have no logs of features."""
    return folder.is_dir()

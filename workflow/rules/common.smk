# Checks the configuration and says where things lie. No science: what to do is in the package, how much in config.yaml.

import json
import os
from functools import cache
from pathlib import Path

from snakemake.exceptions import WorkflowError

import kinetext
from kinetext.plan import (
    check_config,
    code_digest,
    dataset_inputs,
    has_captions,
    method_trains,
    mining_options,
    plan_runs,
    protocol_options,
    text_inputs,
    text_sources,
)

try:
    CONFIG = check_config(config, ", ".join(str(f) for f in workflow.configfiles))
except ValueError as error:
    raise WorkflowError(str(error)) from None

RESULTS = CONFIG.results
RUNS = plan_runs(CONFIG)
SOURCE = Path(workflow.basedir) / "src/kinetext"
if not SOURCE.is_dir():  # a pod gets the workflow alone; the package is in its image
    SOURCE = Path(kinetext.__file__).parent

# With results in a bucket (--default-storage-provider) a job has no file but those that it declares. What a command finds for
# itself in a folder is declared there by `in_bucket`, and only there, for it makes edges of the graph. Folders are named
# by HERE, where Snakemake keeps what it has fetched.
BUCKET = workflow.storage_settings.default_storage_provider is not None
HERE = RESULTS
if BUCKET:
    prefix = workflow.storage_settings.default_storage_prefix.rstrip("/")
    HERE = str(workflow.storage_registry.default_storage_provider.object(f"{prefix}/{RESULTS}").local_path())


def in_bucket(files):
    """An input function: these files, or what a function of wildcards says, where results lie in a bucket; else none."""
    return lambda w: (files(w) if callable(files) else files) if BUCKET else []


def yours(files):
    """Files that are the user's own, such as videos and lists: they lie in no bucket, but in a volume that every job sees."""
    return [local(file) for file in files] if BUCKET else files


# On a cluster these stay with Snakemake itself: they take seconds, or they need the network (a language model, MLflow's
# server), which compute nodes may lack. So does prepare_backbone, unless it trains (data.smk).
localrules:
    describe_classes,
    plan_run,
    log_run,
    collect_metrics,
    render_report,


# how train_method hears of tracking: as a parameter, a change of server would have every run trained again
os.environ.update(KINETEXT_TRACKING=CONFIG.tracking.model_dump_json())


wildcard_constraints:
    dataset="[^/]+",
    protocol="[^/]+",
    backbone="[^/]+",
    method="[^/]+",
    texts="[^/]+",
    seed="[0-9]+",
    shard="[^/]+",
    frame_set="|".join(sorted({data.frames.frame_set for data in CONFIG.datasets.values()})),


def need_writable():
    """One sentence instead of the traceback that Snakemake has for a results folder that may not be written to."""
    if os.path.isdir(RESULTS) and not os.access(RESULTS, os.W_OK):
        raise WorkflowError(
            f"{RESULTS}: cannot be written to; mount it writable, make it yours, or set `results` to another"
        )


def options(part, wildcard, without=None):
    """The options of one part of config.yaml as JSON; a change of them reruns the rule that takes them."""
    return lambda w: getattr(CONFIG, part)[w[wildcard]].model_dump_json(exclude=without)


def code(*files):
    """A digest of source files: Snakemake does not see code behind a shell line. For rules that are cheap to run again."""
    return code_digest([SOURCE / f for f in files])


def growing(first):
    """What a job asks its cluster for: `first`, a number or a function of wildcards, and half as much again each time that
    it is tried again.
    """

    def asked(w, attempt):
        amount = first(w) if callable(first) else first
        return amount + amount * (attempt - 1) // 2

    return asked


def training_mb(w):
    """Memory for a training, MB: the process and its loaders, and the tokens of a frozen trunk."""
    training = spec(w).training
    return 16_000 + (int(1024 * training.cache_gib) if training.image_encoder == "frozen" else 0)


def mining(w):
    """How the confusables of the wildcards' data set are mined."""
    return mining_options(CONFIG, w.dataset)


def spec(w):
    """The run of a run folder's wildcards."""
    return RUNS[f"{w.dataset}/{w.protocol}/{w.backbone}/{w.method}/{w.texts}/seed{w.seed}"]


def made_from(w):
    """The list files of a data set and the folders of its videos: a video more changes its folder's time."""
    return yours(dataset_inputs(CONFIG.datasets[w.dataset], w.dataset))


def written(w):
    """The files that a table of texts is made from, such as one that you edit."""
    return yours(text_inputs(CONFIG.texts[w.texts], w.texts))


def provider(w):
    """The source files of the provider of the wildcards' texts, for a digest."""
    return text_sources(CONFIG.texts[w.texts], w.texts)


def shard_digests(dataset):
    """The names of a data set's frame shards, known once its clips are listed, and what each is made from."""
    path = checkpoints.index_clips.get(dataset=dataset).output.shards
    if BUCKET and not os.path.exists(path):  # another machine made it
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        path.storage_object.retrieve_object()
    return read_digests(path, os.stat(path).st_mtime_ns)


@cache
def read_digests(path, written):
    """What a shards.txt says; read once, not for each of its shards."""
    return dict(line.split() for line in Path(path).read_text().splitlines())


def shards(dataset):
    """Return the frame shards of a data set."""
    return [f"{frame_folder(dataset)}/{name}.arrow" for name in shard_digests(dataset)]


def frame_folder(dataset):
    """Return the folder of a data set's frame set."""
    return f"{RESULTS}/data/{dataset}/frames/{CONFIG.datasets[dataset].frames.frame_set}"


def frame_list(dataset):
    """Return the frames.json of a data set's frame set, which stands for all of its shards."""
    return f"{frame_folder(dataset)}/frames.json"


def shards_of(w):
    """The frame shards that frames.json stands for, of the data set and of the one that the protocol trains on."""
    return [shard for dataset in {w.dataset, source(w) or w.dataset} for shard in shards(dataset)]


def run_files(run):
    """What a finished run folder holds for those who read the folder."""
    trained = ["checkpoint.safetensors", "curves.parquet", "cost.json"] if method_trains(run) else []
    return [f"{RESULTS}/runs/{run.run}/{name}" for name in ("run.yaml", "predictions.parquet", *trained)]


def features(w):
    """The feature shards of a data set under a backbone; none where clips have captions, for no class is mined."""
    if has_captions(CONFIG.datasets[w.dataset], w.dataset):
        return []
    folder = f"{RESULTS}/data/{w.dataset}/features/{w.backbone}"
    return [f"{folder}/{Path(shard).name}" for shard in shards(w.dataset)]


def logged(run):
    """What MLflow gets of a run, beside its metrics: its folder, what it was made from, and what its model needs."""
    data = f"{RESULTS}/data/{run.dataset}"
    made_from = [frame_list(run.dataset), f"{data}/{run.protocol}/splits.parquet", *shards(run.dataset)]
    texts = f"{data}/{run.protocol}/{run.backbone}/texts/{run.texts}.parquet"
    backbone = [f"{RESULTS}/backbones/{run.backbone}/{name}" for name in ("weights.safetensors", "backbone.yaml")]
    return [*run_files(run), *made_from, texts, *backbone]


def source(w):
    """The data set that a protocol trains on instead of the wildcards' own, or None."""
    return w.protocol.removeprefix("zero_shot_from_") if w.protocol.startswith("zero_shot_from_") else None


def checkpoint(w):
    """The checkpoint that a run is tested with: its own, another run's, or none."""
    run = RUNS.get(spec(w).trained_on, spec(w))
    return [f"{RESULTS}/runs/{run.run}/checkpoint.safetensors"] if method_trains(run) else []


def compared():
    """Runs that are compared with each other, one MLflow experiment: data set -> run folders."""
    found = {}
    for run in RUNS.values():
        found.setdefault(run.dataset, []).append(f"{RESULTS}/runs/{run.run}")
    return found


def run_folders(dataset=None):
    """The folders of all runs, or of those on one data set, in bash's braces, which bash multiplies out: a shell line holds
    128 KiB, and ten thousand run folders are more. A run of two experiments is named twice.
    """

    def braces(names):
        return f"{{{','.join(names)}}}" if len(names) > 1 else names[0]

    folders = []
    for e in CONFIG.experiments.values():
        sets = {e.protocol: e.datasets}
        if e.protocol.startswith("zero_shot_from_"):
            sets["supervised"] = [e.protocol.removeprefix("zero_shot_from_")]
        for protocol, names in sets.items():
            names = [name for name in names if dataset in (None, name)]
            if names:
                parts = [names, [protocol], e.backbone, e.methods, e.texts, [f"seed{seed}" for seed in e.seeds]]
                folders.append("/".join(map(braces, parts)))
    return [f"{HERE}/runs/{folder}" for folder in folders]


def logged_runs():
    """What says that every run is in MLflow."""
    return [f"{RESULTS}/runs/{name}/mlflow.json" for name in compared()] if CONFIG.tracking.enabled else []

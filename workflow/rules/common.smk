# Checks the configuration; functions that the rules share.

import json
import os
from functools import cache
from pathlib import Path
from shlex import quote

from snakemake.exceptions import WorkflowError

import kinetext
from kinetext.core.escape import for_script
from kinetext.core.digests import closure_digest, read_constant
from kinetext.core.collected import COLLECTED
from kinetext.plan import (
    check_config,
    dataset_inputs,
    defining_options,
    frame_sets,
    has_captions,
    hub_facts,
    is_fitted,
    is_quick,
    is_multi_label,
    method_trains,
    metric_modules,
    mining_options,
    plan_runs,
    protocol_options,
    reads_clips,
    reads_frames,
    smallest_frames,
    source_dataset,
    text_inputs,
    text_modules,
    tuned_runs,
)
from kinetext.training.design import trial_run

try:
    CONFIG = check_config(config, ", ".join(str(f) for f in workflow.configfiles))
except ValueError as error:
    raise WorkflowError(str(error)) from None

RESULTS = CONFIG.results
RUNS = plan_runs(CONFIG)
TUNED = tuned_runs(RUNS)
FRAME_SETS = {dataset: frame_sets(RUNS.values(), dataset) for dataset in {run.dataset for run in RUNS.values()}}
SOURCE = Path(workflow.basedir) / "src/kinetext"
if not SOURCE.is_dir():  # a pod gets the workflow alone; the package is in its image
    SOURCE = Path(kinetext.__file__).parent


include: "bucket.smk"
include: "user_files.smk"


if BUCKET and any(reads_frames(run) for run in RUNS.values()):
    raise WorkflowError(
        "methods that ask a server keep paid replies in results/cache, which a job on another machine loses; run them without a bucket"
    )


# On a cluster these stay with Snakemake itself: they take seconds, or they need the network (a language model, MLflow's
# server), which compute nodes may lack. So does prepare_backbone, unless it trains (data.smk).
localrules:
    describe_classes,
    choose_settings,
    plan_run,
    log_run,
    collect_metrics,
    render_report,


# train_method reads the tracking options here: as a parameter, another server would have every run trained again
os.environ.update(KINETEXT_TRACKING=CONFIG.tracking.model_dump_json())

# jobs on other machines read this file, too, and plan the same frames without this machine's cache of the hub
os.environ.update(KINETEXT_HUB_FACTS=hub_facts(CONFIG))


envvars:
    "KINETEXT_HUB_FACTS",


wildcard_constraints:
    dataset="[^/]+",
    protocol="[^/]+",
    backbone="[^/]+",
    method="[^/]+",
    texts="[^/]+",
    seed="[0-9]+",
    trial="[0-9]+",
    rung="[0-9]+",
    shard="[^/]+",
    frame_set="|".join(sorted({name for sets in FRAME_SETS.values() for name in sets})),


def check_writable():
    """Raise a WorkflowError of one sentence if the results folder cannot be written to."""
    if os.path.isdir(RESULTS) and not os.access(RESULTS, os.W_OK):
        raise WorkflowError(
            f"{RESULTS}: is not writable. Mount it writable, change its owner, or set `results` to another folder."
        )


# ---- parameters of rules
#
# Snakemake does not compare the value of a function that takes `input`. Options that change no result are passed by such
# functions, so that a change of them reruns nothing.


def options(part, wildcard, without=None):
    """Return the options of one part of config.yaml as JSON; a change of them reruns the rule that takes them."""
    return lambda w: getattr(CONFIG, part)[w[wildcard]].model_dump_json(exclude=without)


def code(module, plugins=lambda w: (), stops=()):
    """Return a digest of the code of a rule, which Snakemake does not see behind a shell line.

    `module` holds the function of the command; `plugins` are the modules of the plug-ins that the job uses; `stops` are
    packages whose output is an input of the rule. An edit runs the rule again, and all that depends on its output.
    Rules that train have no such digest.
    """
    return lambda w: cached_digest((f"kinetext.{module}", *plugins(w)), tuple(f"kinetext.{stop}" for stop in stops))


@cache
def cached_digest(modules, stops):
    """Return the digest of an import closure, computed once for all jobs of a rule."""
    return closure_digest(modules, stops, SOURCE)


def flags(names, values):
    """Return optional words of a shell line: each flag with its value; none if there are no values."""
    return [word for pair in zip(names, values) for word in pair]


def scale_with_attempt(amount):
    """Return a resource: `amount`, a number or a function of wildcards, and half of it more with each further attempt."""

    def scaled(w, attempt):
        first = amount(w) if callable(amount) else amount
        return first + first * (attempt - 1) // 2

    return scaled


def training_mb(find_run):
    """Return a function: memory for a training, MB: the process, its loaders, and cached tokens of a frozen image encoder."""

    def megabytes(w):
        run = find_run(w)
        space = run.tuning.space if run.tuning else {}
        encoders = [run.training.image_encoder, *space.get("training.image_encoder", {}).get("choices", [])]
        cache_mb = int(1024 * run.training.cache_gib)
        if is_fitted(run):  # its features, in parts and in one tensor
            return 16_000 + 2 * cache_mb
        return 16_000 + (cache_mb if "frozen" in encoders else 0)

    return megabytes


def mining_mb(w, input, attempt):
    """Return the memory for mining, MB: frame features, as read and averaged, and scores between all classes.

    10 000 classes of 16 clips of 8 frames, with 512 numbers each, need 3.9 GiB (benchmarks/mining.py) and get 8 GB.
    Until the files exist, it is the least.
    """
    files = [path for path in input.features if os.path.exists(path)]
    features_mb = sum(os.path.getsize(path) for path in files) / 1e6
    scores_mb = 24 * num_classes(input.names) ** 2 / 1e6
    return scale_with_attempt(int(2000 + 3 * features_mb + scores_mb))(w, attempt)


def num_classes(names):
    """Return the number of classes whose names embed_labels has embedded; 0 before."""
    if not os.path.exists(names):
        return 0
    import numpy as np  # not needed for a dry run

    with np.load(names) as file:
        return len(file["labels"])


# ---- data sets, frames and texts


def shard_digests(dataset):
    """Return the names of a data set's frame shards, each with a digest of its clips, once the clips are listed."""
    path = checkpoints.index_clips.get(dataset=dataset).output.shards
    fetch(path)
    return read_digests(path, os.stat(path).st_mtime_ns)


@cache
def read_digests(path, changed_ns):
    """Read a shards.txt once, not for each of its shards."""
    return dict(line.split() for line in Path(path).read_text().splitlines())


@cache
def frame_set(dataset, backbone):
    """Return the name of the frames of a data set for a backbone."""
    return next(r.frame_options.frame_set for r in RUNS.values() if (r.dataset, r.backbone) == (dataset, backbone))


@cache
def shared_backbone(dataset, protocol=None):
    """Return the backbone whose frames are read to split clips, or for the report, for all backbones."""
    runs = [r for r in RUNS.values() if r.dataset == dataset and protocol in (None, r.protocol)]
    several = len({r.frame_options.frame_set for r in runs}) > 1
    return smallest_frames(runs, splits_frame_set(dataset, protocol) if several and protocol else None).backbone


def splits_frame_set(dataset, protocol):
    """Return the frame set that existing splits were made from: a further backbone must not have them made again."""
    from kinetext.core.tables import read_metadata  # imports pyarrow

    path = f"{RESULTS}/data/{dataset}/{protocol}/splits.parquet"
    try:
        return read_metadata(path).get("frame_set") if os.path.exists(path) else None
    except ValueError:  # doctor reports it
        return None


def frame_list(dataset, backbone):
    """Return the frames.json of a data set's frames for a backbone, which stands for all shards."""
    return f"{RESULTS}/data/{dataset}/frames/{frame_set(dataset, backbone)}/frames.json"


def frame_shards(dataset, backbone):
    """Return the frame shards of a data set for a backbone."""
    folder = f"{RESULTS}/data/{dataset}/frames/{frame_set(dataset, backbone)}"
    return [f"{folder}/{name}.arrow" for name in shard_digests(dataset)]


def protocol_shards(w):
    """Return the frame shards of a data set, and of the one that its protocol trains on."""
    datasets = {w.dataset, source_dataset(w.protocol) or w.dataset}
    backbone = w.get("backbone") or shared_backbone(w.dataset, w.protocol)
    return [shard for dataset in datasets for shard in frame_shards(dataset, backbone)]


def feature_shards(w):
    """Return the feature shards of a data set; none if clips have captions or several labels: nothing is mined from them."""
    options = CONFIG.datasets[w.dataset]
    if has_captions(options, w.dataset) or is_multi_label(options, w.dataset):
        return []
    folder = f"{RESULTS}/data/{w.dataset}/features/{w.backbone}"
    return [f"{folder}/{name}.arrow" for name in shard_digests(w.dataset)]


def described_frames(w):
    """Return the frames.json of a data set whose training clips a text set is written about; none for other text sets."""
    options = CONFIG.texts[w.texts].for_dataset(w.dataset)
    return [frame_list(w.dataset, w.backbone)] if reads_clips(options, w.texts) else []


def source_splits(w):
    """Return the splits and the frames.json of the data set that a protocol trains on, if it is another one."""
    source = source_dataset(w.protocol)
    if source is None:
        return []
    frames = frame_list(source, shared_backbone(w.dataset, w.protocol))
    return [f"{RESULTS}/data/{source}/supervised/splits.parquet", frames]


# ---- runs


def run_spec(w):
    """Return the run of a run folder's wildcards."""
    return RUNS[f"{w.dataset}/{w.protocol}/{w.backbone}/{w.method}/{w.texts}/seed{w.seed}"]


def tuned_run(w):
    """Return the tuned run of the wildcards of a tuning folder."""
    return TUNED[f"{w.dataset}/{w.protocol}/{w.backbone}/{w.method}/{w.texts}"]


def trial_scores(group, rung):
    """Return the scores of all trials of a tuned run at a rung; none before the first one."""
    trials = range(TUNED[group].tuning.trials) if rung >= 0 else []
    return [f"{RESULTS}/tuning/{group}/trial{trial}/rung{rung}.json" for trial in trials]


def promotion(run, rung, before):
    """Return words of a shell line: the scores of the rung before, and how many trials this one trains; none of the first."""
    return flags(["--before"] * len(before), before) + flags(
        ["--promoted"], [run.tuning.rungs[rung].trials][: len(before)]
    )


def chosen_setting(w):
    """Return the setting of a tuned run, before it is planned; none without tuning."""
    group = run_spec(w).group
    return [f"{RESULTS}/tuning/{group}/setting.yaml"] if group in TUNED else []


def tuned_source(w):
    """Return the run.yaml of a tuned run whose checkpoint a run tests, if it tests one."""
    run = run_spec(w)
    return [f"{RESULTS}/runs/{run.trained_on}/run.yaml"] if run.trained_on and run.tuning else []


def dataset_runs(dataset):
    """Return all runs on a data set: one MLflow experiment."""
    return [run for run in RUNS.values() if run.dataset == dataset]


def quick_first(otherwise):
    """Return a priority: rows without a training are in the report before the first training ends."""
    return lambda w: 2 if is_quick(run_spec(w)) else otherwise


def tested_checkpoint(w):
    """Return the checkpoint that a run is tested with: its own, another run's, or none."""
    run = RUNS.get(run_spec(w).trained_on, run_spec(w))
    return [f"{RESULTS}/runs/{run.run}/checkpoint.safetensors"] if method_trains(run) else []


def reply_cache(run):
    """Return words of a shell line: the folder of cached replies, of a run that asks a model behind an API."""
    return flags(["--cache"], [f"{RESULTS}/cache"] * reads_frames(run))


def run_files(run):
    """Return the files that readers of a finished run folder find there."""
    trained = ["checkpoint.safetensors", "curves.parquet", "cost.json"] if method_trains(run) else []
    return [f"{RESULTS}/runs/{run.run}/{name}" for name in ("run.yaml", "predictions.parquet", *trained)]


def tracked_files(run):
    """Return the files that MLflow gets of a run beside its metrics: its folder, its inputs and its backbone."""
    data = f"{RESULTS}/data/{run.dataset}"
    frames = [frame_list(run.dataset, run.backbone), *frame_shards(run.dataset, run.backbone)]
    inputs = [*frames, f"{data}/{run.protocol}/splits.parquet"]
    texts = f"{data}/{run.protocol}/{run.backbone}/texts/{run.texts}.parquet"
    backbone = [f"{RESULTS}/backbones/{run.backbone}/{name}" for name in ("weights.safetensors", "backbone.yaml")]
    return [*run_files(run), *inputs, texts, *backbone]


def run_folders(dataset=None):
    """Return the folders of all runs, or of those on one data set, as quoted words with bash's braces.

    Bash multiplies the braces out: a shell line holds 128 KiB, and ten thousand run folders are longer. A run of two
    experiments is named twice.
    """

    def braces(names):
        names = [quote(name) for name in names]
        return f"{{{','.join(names)}}}" if len(names) > 1 else names[0]

    folders = []
    for e in CONFIG.experiments.values():
        datasets = {e.protocol: e.datasets}
        if source_dataset(e.protocol):
            datasets["supervised"] = [source_dataset(e.protocol)]
        for protocol, names in datasets.items():
            names = [name for name in names if dataset in (None, name)]
            if names:
                levels = [names, [protocol], e.backbone, e.methods, e.texts, [f"seed{seed}" for seed in e.seeds]]
                folders.append("/".join(map(braces, levels)))
    return [f"{quote(RESULTS_LOCAL)}/runs/{folder}" for folder in folders]


def tracking_files():
    """Return the files that say that every run is in MLflow."""
    return [f"{RESULTS}/runs/{name}/mlflow.json" for name in DATASETS] if CONFIG.tracking.enabled else []

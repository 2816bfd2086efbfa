# Everything that only results in a bucket need (--default-storage-provider). There a job has no file but those that its rule
# declares, so files that a command finds by itself in a folder are declared here, and only there: they make edges of the graph.

BUCKET = workflow.storage_settings.default_storage_provider is not None
RESULTS_LOCAL = RESULTS  # the folder that commands are given: where Snakemake keeps what it has fetched
if BUCKET:
    prefix = workflow.storage_settings.default_storage_prefix.rstrip("/")
    provider = workflow.storage_registry.default_storage_provider
    RESULTS_LOCAL = str(provider.object(f"{prefix}/{RESULTS}").local_path())


def backbone_yaml(w):
    """Return the description of a backbone, beside its weights."""
    return f"{RESULTS}/backbones/{w.backbone}/backbone.yaml"


BUCKET_INPUTS = {  # rule -> name -> its further inputs, a function of wildcards
    "split_clips": {"shards": lambda w: protocol_shards(w)},
    "embed_frames": {"backbone": backbone_yaml},
    "embed_labels": {"backbone": backbone_yaml},
    "describe_classes": {
        "weights": lambda w: f"{RESULTS}/backbones/{w.backbone}/weights.safetensors",  # the tokenizer
        "shards": lambda w: frame_shards(w.dataset, w.backbone) if described_frames(w) else [],
    },
    "tune_method": {"backbone": backbone_yaml, "shards": lambda w: protocol_shards(w)},
    "train_method": {"backbone": backbone_yaml, "shards": lambda w: protocol_shards(w)},
    "predict_clips": {"backbone": backbone_yaml, "shards": lambda w: protocol_shards(w)},
    "log_run": {"tracked": lambda w: sorted({file for run in dataset_runs(w.dataset) for file in tracked_files(run)})},
    "collect_metrics": {"runs": lambda w: [file for run in RUNS.values() for file in run_files(run)]},
    "render_report": {
        "shards": lambda w: [
            shard for dataset in DATASETS for shard in frame_shards(dataset, shared_backbone(dataset))
        ],
        "splits": lambda w: sorted(
            {f"{RESULTS}/data/{d}/{protocol}/splits.parquet" for d, protocol, _ in CLASS_TABLES}
        ),
    },
}


def bucket_inputs(rule):
    """Return an input function for `unpack`: what a rule needs beside its own inputs if the results are in a bucket."""
    return lambda w: {name: files(w) for name, files in BUCKET_INPUTS[rule].items()} if BUCKET else {}


def local_inputs(files):
    """Return the user's own files, such as videos and lists: on a volume that every job sees, never in the bucket."""
    files = [file for file in files if not READ_AS_PATTERN.search(file)]  # see pattern_states
    return [local(file) for file in files] if BUCKET else files


def fetch(path):
    """Fetch an output that a job on another machine has made."""
    if BUCKET and not os.path.exists(path):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        path.storage_object.retrieve_object()

"""The columns of all tables: name, type, and meaning with its unit.

Capital letters at the end of a column's name are the axes of a list: score_K has one score per class or caption, bank_P
one score per caption of the bank, frame_TD one vector per frame.
"""

import pyarrow as pa

from kinetext.core.paths import LEVELS

Column = tuple[str, pa.DataType, str]

DESCRIPTIONS = (
    "motion",
    "appearance",
    "random",
    "repeated_name",
)  # kinds of description; only `motion` says how a class moves
USED = ("ok", "cut")  # statuses of sentences that are used; `cut`: longer than the token limit, so the end is lost
FRAME_ORDERS = ("ordered", "reversed", "shuffled", "repeated")  # orders in which the frames of a test clip are scored

_CLIP_ID: Column = ("clip_id", pa.string(), "name of the clip, unique in its data set")
_RUN_COLUMNS: dict[str, Column] = {
    name: (name, pa.int32() if name == "seed" else pa.string(), meaning)
    for name, meaning in {
        "run": "the run's folder below runs/",
        "dataset": "data set, as named in config.yaml",
        "protocol": "protocol: which clips and classes train and test",
        "backbone": "image-text model, as named in config.yaml",
        "method": "method, as named in config.yaml",
        "texts": "text set, as named in config.yaml",
        "seed": "seed of the run",
        "split": "clips that were tested, as in splits",
        "frame_order": f"order of the frames: {' | '.join(FRAME_ORDERS)} (the middle frame)",
        "fingerprint": "hash of everything that defines the run",
    }.items()
}


def is_used(status: str) -> bool:
    """Return whether a sentence with this status, `reason` or `reason: details`, is used."""
    return status.partition(":")[0] in USED


def _columns(*names: str) -> tuple[Column, ...]:
    """Return the columns of these names from the columns that several tables share."""
    return tuple(_RUN_COLUMNS[name] for name in names)


_GROUP: Column = (
    "group",
    pa.string(),
    "the film or recording that the clip was cut from, never split by mining or intervals; null: unknown",
)
_LABELS: Column = (
    "labels",
    pa.list_(pa.string()),
    "the classes of a clip in a multi-label data set, where `label` is null; else empty",
)
_KIND: Column = (
    "kind",
    pa.string(),
    "kind of motion, by which accuracy is measured as well, such as loop or camera; null: unknown",
)
CLIPS: tuple[Column, ...] = (
    _CLIP_ID,
    ("path", pa.string(), "video file, absolute"),
    ("split", pa.string(), "train | val | test"),
    ("label", pa.string(), "class name; null where the data set has captions or several labels a clip"),
    ("captions", pa.list_(pa.string()), "captions of the clip; empty where it has a label"),
    ("start_s", pa.float64(), "start of the clip in the file, seconds; null: the beginning"),
    ("end_s", pa.float64(), "end of the clip in the file, seconds; null: the end"),
    ("error", pa.string(), "why the file must not be read; null otherwise"),
    ("shard", pa.string(), "the frame shard that holds the clip"),
    _GROUP,
    ("size_bytes", pa.int64(), "size of the video file when it was listed; -1: absent; null: unknown"),
    ("modified_ns", pa.int64(), "its modification time then, nanoseconds since 1970; null: absent or unknown"),
    _LABELS,
    _KIND,
    ("video_hash", pa.string(), "SHA-256 of the video file then; null: not computed (detect_changes: stat) or absent"),
)
SPLITS: tuple[Column, ...] = (
    _CLIP_ID,
    (
        "split",
        pa.string(),
        "train | val | test | novel (classes without training clips) | test_among_all, novel_among_all (the same clips, "
        "scored among all classes) | unseen (classes whose names were not trained on)",
    ),
    ("label", pa.string(), "as in clips; the file's metadata lists the classes of each split in order"),
    _GROUP,
    _LABELS,
    _KIND,
)
FRAMES: tuple[Column, ...] = (
    _CLIP_ID,
    ("status", pa.string(), "ok | short (fewer frames than asked for, repeated) | truncated | damaged | failed"),
    ("error", pa.string(), "why the status is not ok; null otherwise"),
    ("frame_indices", pa.list_(pa.int32()), "index of each frame in presentation order"),
    ("timestamps_s", pa.list_(pa.float64()), "presentation time of each frame, seconds"),
    ("images", pa.list_(pa.binary()), "T encoded images, JPEG or raw RGB bytes; empty if failed"),
    ("width_px", pa.int32(), "width of the frames before they were resized"),
    ("height_px", pa.int32(), "height of the frames before they were resized"),
    ("num_packets", pa.int32(), "video packets counted in the file"),
    ("num_substituted", pa.int32(), "frames replaced by their nearest undamaged neighbour"),
    ("rotation_deg", pa.int32(), "display rotation that was applied, degrees anticlockwise"),
    ("pixel_aspect", pa.float64(), "width of a pixel divided by its height, as the file declares; 1: square"),
    ("vfr", pa.bool_(), "variable frame rate: the steps between frames differ by more than half"),
    ("codec", pa.string(), "video codec"),
    ("stream", pa.int32(), "index of the video stream in the file, from 0"),
    ("content_hash", pa.string(), "hash of the images: equal for equal pictures, whatever the file name"),
    (
        "source",
        pa.string(),
        "hash of the file's path, size and time of change, of the clip's window and of the options",
    ),
)
FEATURES: tuple[Column, ...] = (
    _CLIP_ID,
    (
        "frame_TD",
        pa.list_(pa.list_(pa.float16())),
        "one image feature per frame, not normalised; of a video encoder, one per step of its tokens",
    ),
)
CONFUSABLES: tuple[Column, ...] = (
    ("label", pa.string(), "a class"),
    ("rival", pa.string(), "a class that it is confused with"),
    ("score", pa.float64(), "how easily, higher is easier; comparable within a rule only"),
    (
        "rule",
        pa.string(),
        "features (cross-fitted confusion) | text (cosine of names) | declared (by the data set) | file",
    ),
    ("rank", pa.int32(), "1 is the label's first rival under the rule"),
)
TEXTS: tuple[Column, ...] = (
    ("label", pa.string(), "the class described; the clip_id where clips have captions"),
    ("rival", pa.string(), "the class it is contrasted with; null if none"),
    ("kind", pa.string(), f"name | caption | {' | '.join(DESCRIPTIONS)} (all but motion: controls)"),
    ("position", pa.float64(), "the part of the action: 0 (start) to 1 (end), step i of n at i/(n+1); null: the whole"),
    ("sentence", pa.string(), "the text itself"),
    ("source", pa.string(), "who wrote it"),
    ("prompt_version", pa.string(), "version of the prompt sent to the model; null without a model"),
    ("model", pa.string(), "language model, as the server names it; null without one"),
    ("date", pa.string(), "when it was written, ISO 8601; null if unknown"),
    ("request_hash", pa.string(), "key of the raw reply in the cache; null without a model"),
    ("clips", pa.string(), "ids of the training clips that it was written about, separated by ' | '; null: none"),
    (
        "status",
        pa.string(),
        "ok; cut: used, but longer than the backbone's token limit; or why the sentence is not used",
    ),
)
PREDICTIONS: tuple[Column, ...] = (
    _CLIP_ID,
    _GROUP,
    _KIND,
    *_columns("split", "frame_order"),
    (
        "target",
        pa.int32(),
        "index of the clip's class, or of its first caption, among the split's labels; null with several labels",
    ),
    ("targets", pa.list_(pa.int32()), "indices of all classes of a clip in a multi-label data set; else null"),
    (
        "score_K",
        pa.list_(pa.float32()),
        "score for each label of the split (file metadata `labels`; of captions, the clip of each)",
    ),
    (
        "bank_P",
        pa.list_(pa.float32()),
        "score for each of some captions of training clips, for QB-Norm; null for other frame orders, and for classes",
    ),
    ("note", pa.string(), "why a model behind a server gave no usable answer about the clip; null otherwise"),
)
METRICS: tuple[Column, ...] = (
    *_columns("dataset", "split", "protocol", "backbone", "method", "texts", "seed"),
    (
        "metric",
        pa.string(),
        "name of the metric; after a colon the rule of its confusable classes or, of captions, the changed scores",
    ),
    *_columns("frame_order"),
    ("value", pa.float64(), "value of the metric, in its unit"),
    ("unit", pa.string(), "share (0 to 1) | rank (from 1) | number; null: share"),
    ("higher_is_better", pa.bool_(), "whether a higher value is better; null: yes"),
    ("chance", pa.float64(), "expected value with random scores; null: unknown"),
    ("low", pa.float64(), "lower end of the 95 % confidence interval over groups of clips"),
    ("high", pa.float64(), "upper end of that interval"),
    ("variance", pa.float64(), "variance of the value over groups of clips; null or NaN: unknown"),
    ("freedom", pa.float64(), "degrees of freedom of that variance; infinite if each clip is its own group"),
    ("clips", pa.int32(), "number of clips"),
    ("groups", pa.int32(), "number of groups of clips that count, a clip without a group being its own"),
    (
        "base_correlation",
        pa.float64(),
        "of novel classes: correlation with the value on base classes that is due to groups with clips of both; null: none",
    ),
    *_columns("fingerprint"),
    ("commit", pa.string(), "git commit of the code that measured"),
)
_RUN = _columns("run", *LEVELS)
RUNS: tuple[Column, ...] = (
    *_RUN,
    *_columns("fingerprint"),
    ("commit", pa.string(), "git commit of the code that trained; null where nothing was trained"),
    ("method_module", pa.string(), "module of the method"),
    ("method_options", pa.string(), "options of the method, JSON"),
    ("training", pa.string(), "options of the training, JSON"),
    ("test_clips", pa.int32(), "temporal views of a test clip whose scores are averaged"),
    ("test_crops", pa.int32(), "spatial views (crops) of each"),
    ("test_average", pa.string(), "what is averaged: logits | probabilities"),
    ("temperature", pa.float64(), "temperature of the shares, fitted on validation clips; null: not calibrated"),
    ("calibration", pa.string(), "whether shares are calibrated, and on how many clips, or why not"),
    (
        "class_groups",
        pa.string(),
        "head, middle and tail classes: how many they are, and the training clips of the smallest and the largest, JSON; "
        "null: no groups",
    ),
    ("trials", pa.int32(), "settings that tuning tried before this run; null: not tuned"),
    ("rungs", pa.int32(), "rounds of successive halving, 1 without it; null: not tuned"),
    ("answers", pa.string(), "which model behind a server answered, and how many answers count as wrong; null: none"),
)
TRAINING_COSTS: tuple[Column, ...] = (  # of a run's cost.json
    ("new_parameters", pa.int64(), "parameters that the method adds to the backbone"),
    ("trained_parameters", pa.int64(), "parameters that were trained; 0 where nothing was trained"),
    ("train_seconds", pa.float64(), "wall time of training, seconds, without imports and reading; 0 where nothing was"),
    ("train_clips_seen", pa.int64(), "training clips times epochs"),
    ("processes", pa.int32(), "processes that trained together, one per GPU"),
    ("threads", pa.int32(), "CPU threads of the training"),
    ("device", pa.string(), "where it was trained: cpu, or the GPU's name"),
    (
        "train_peak_mib",
        pa.float64(),
        "peak memory of the training, MiB: on the GPU if there is one, else of the process",
    ),
)
TEST_COSTS: tuple[Column, ...] = (  # of the metadata `cost` of a run's predictions.parquet
    (
        "gflops_per_clip",
        pa.float64(),
        "billions of floating-point operations, two per multiply-add, to score one test clip with all its views; texts "
        "are encoded before",
    ),
    ("predict_peak_mib", pa.float64(), "peak memory of the prediction, MiB, as train_peak_mib"),
    ("requests_per_clip", pa.float64(), "requests to a model behind a server per test clip, cached ones included"),
    (
        "prompt_tokens_per_clip",
        pa.float64(),
        "tokens of these requests per test clip, as the server states or estimated",
    ),
    ("answer_tokens_per_clip", pa.float64(), "tokens of the answers per test clip"),
    ("usd_per_clip", pa.float64(), "price of these tokens per test clip, USD; null: the price is unknown"),
)
MEASURED_RULES = ("train_method", "predict_clips", "measure_run")  # rules of a run that Snakemake's benchmarks measure
COSTS: tuple[Column, ...] = (
    *_RUN,
    *TRAINING_COSTS,
    *TEST_COSTS,
    ("predict_clips_per_s", pa.float64(), "clips per second at prediction, cached features included"),
    *(
        (f"{rule}_{unit}", pa.float64(), f"{what} of the rule {rule} (Snakemake's benchmark)")
        for rule in MEASURED_RULES
        for unit, what in (("s", "wall time, seconds,"), ("mib", "peak resident memory, MiB,"))
    ),
)
COLLECTED_CURVES: tuple[Column, ...] = (
    *_RUN,
    ("epoch", pa.int64(), "passes over the training clips, from 1"),
    (
        "metric",
        pa.string(),
        "train_loss, lr, and where there are validation clips val_loss, val_top1, val_t2v_r1 or val_map, and "
        "val_chance, the expected value of the latter with random scores",
    ),
    ("value", pa.float64(), "its value after that epoch"),
)
RISK_COVERAGE: tuple[Column, ...] = (
    *_columns("dataset", "split", "protocol", "backbone", "method", "texts", "seed"),
    ("coverage", pa.float64(), "share of the clips that are answered: those with the highest confidence, 0 to 1"),
    ("risk", pa.float64(), "share of errors among them, 0 to 1"),
    ("confidence", pa.float64(), "the lowest share of a predicted class among them, calibrated where that is possible"),
)
COLLECTED_TEXTS: tuple[Column, ...] = (*_columns("dataset", "protocol", "backbone", "texts"), *TEXTS)
CONFUSIONS: tuple[Column, ...] = (
    *_columns("dataset", "split", "protocol", "backbone", "method", "texts", "seed"),
    ("label", pa.string(), "class of the clips"),
    (
        "predicted",
        pa.string(),
        "the class that scores highest, frames in order; a tie with the clip's own class counts for the other, as in "
        "top1; null for clips without frames",
    ),
    ("clips", pa.int32(), "number of clips"),
)
HARD_CLIPS: tuple[Column, ...] = (
    *_columns("dataset", "split", "protocol"),
    _CLIP_ID,
    ("label", pa.string(), "class of the clip"),
    ("right", pa.float64(), "share of the runs that predict it right, 0 to 1; the hardest clips of a comparison only"),
    ("runs", pa.int32(), "number of runs"),
    ("predicted", pa.string(), "the other class that most runs predict; null: the clip has no frames"),
    ("predicted_runs", pa.int32(), "number of runs that predict it"),
)
DIFFERENCES: tuple[Column, ...] = (
    ("dataset", pa.string(), 'data set; "mean of N" where N of them are averaged (column pooled)'),
    *_columns("split", "protocol"),
    (
        "metric",
        pa.string(),
        "top1, pair_accuracy:RULE, harmonic_mean and harmonic_mean_among_all of top1, ausuc (classes); t2v_r1, v2t_r1 "
        "(captions)",
    ),
    *_columns("backbone", "method", "texts"),
    ("than_backbone", pa.string(), "image-text model of the row that is subtracted"),
    ("than_method", pa.string(), "method of that row"),
    ("than_texts", pa.string(), "text set of that row"),
    ("value", pa.float64(), "mean over clips of the difference of the two rows, each averaged over its seeds, -1 to 1"),
    ("low", pa.float64(), "lower end of the 95 % paired interval over groups of clips; see methods"),
    ("high", pa.float64(), "upper end of that interval"),
    ("clips", pa.int32(), "clips that both have scored"),
    ("seeds", pa.int32(), "the smaller of the two numbers of seeds; of a mean over draws, those of a draw"),
    ("draws", pa.int32(), "draws of few-shot clips averaged; null: one"),
    ("p", pa.float64(), "two-sided p of the paired permutation test, not corrected for multiple comparisons"),
    ("corrected_p", pa.float64(), "the p corrected for all pairs of rows of the comparison (max-T)"),
    (
        "methods",
        pa.bool_(),
        "whether interval and p are about methods, the variance of training included (three seeds or more of each row); "
        "else about these trained weights",
    ),
    ("seed_range", pa.float64(), "largest difference between two seeds of one row of the comparison; null: one seed"),
    ("pooled", pa.list_(pa.string()), "the data sets averaged, with equal weights; null for a single one"),
    ("sources", pa.list_(pa.string()), "the videos of each: lists of the same videos are one; null for a single one"),
    (
        "overlap_DD",
        pa.list_(pa.float64()),
        "correlation of each two of their means that is due to clips in common, row by row; null for a single one",
    ),
    ("least", pa.float64(), "lowest value of a data set among them; null for a single one"),
    ("most", pa.float64(), "highest value of a data set among them; null for a single one"),
)
CLIP_VARIANCES: tuple[Column, ...] = (
    *_columns("dataset", "split", "protocol", "backbone", "method", "texts"),
    ("metric", pa.string(), "name of the metric, as in the table metrics"),
    *_columns("frame_order"),
    ("variance", pa.float64(), "variance over groups of clips of the mean over seeds"),
    ("freedom", pa.float64(), "degrees of freedom of that variance"),
    ("interaction", pa.float64(), "variance of the mean of one seed that is due to clips and training together"),
    ("groups", pa.int32(), "number of groups of clips that count"),
)
SEEN_UNSEEN: tuple[Column, ...] = (
    *_columns("dataset", "protocol", "backbone", "method", "texts", "seed"),
    ("bias", pa.float64(), "number added to the scores of the novel classes"),
    ("seen", pa.float64(), "accuracy on clips of trained classes among all classes, 0 to 1"),
    ("unseen", pa.float64(), "accuracy on clips of novel classes among all classes, 0 to 1"),
)
TUNING: tuple[Column, ...] = (
    *_columns("dataset", "protocol", "backbone", "method", "texts"),
    ("seed", pa.int32(), "seed of the design"),
    ("trial", pa.int32(), "number of the trial; 0 is the configured setting"),
    (
        "setting",
        pa.string(),
        "options that differ from the configured ones, JSON: training.NAME or options.NAME -> value",
    ),
    ("rung", pa.int32(), "round of successive halving, from 0; the only one without it"),
    ("epochs", pa.int32(), "epochs that the trials of this rung train for"),
    ("status", pa.string(), "ok | not promoted (to this rung) | diverged: why"),
    ("metric", pa.string(), "what judges on the validation clips: val_top1, val_t2v_r1 or val_map; null if not ok"),
    ("score", pa.float64(), "its value, a share from 0 to 1; null if not ok"),
    ("clips", pa.int32(), "validation clips; null if not ok"),
    ("seconds", pa.float64(), "wall time of the training, seconds; null if not ok"),
    ("chosen", pa.bool_(), "whether the final runs train with this setting"),
    *_columns("fingerprint"),
    ("commit", pa.string(), "git commit of the code that chose"),
)
TABLES = {
    "clips": CLIPS,
    "splits": SPLITS,
    "frames": FRAMES,
    "features": FEATURES,
    "confusables": CONFUSABLES,
    "texts": TEXTS,
    "predictions": PREDICTIONS,
    "metrics": METRICS,
    "runs": RUNS,
    "costs": COSTS,
    "collected_curves": COLLECTED_CURVES,
    "collected_texts": COLLECTED_TEXTS,
    "confusions": CONFUSIONS,
    "hard_clips": HARD_CLIPS,
    "differences": DIFFERENCES,
    "risk_coverage": RISK_COVERAGE,
    "clip_variances": CLIP_VARIANCES,
    "seen_unseen": SEEN_UNSEEN,
    "tuning": TUNING,
}
COLLECTED = {  # tables of all runs: the file tables/{name}.parquet -> its schema
    "metrics": "metrics",
    "runs": "runs",
    "texts": "collected_texts",
    "confusions": "confusions",
    "hard_clips": "hard_clips",
    "costs": "costs",
    "curves": "collected_curves",
    "differences": "differences",
    "risk_coverage": "risk_coverage",
    "clip_variances": "clip_variances",
    "seen_unseen": "seen_unseen",
    "tuning": "tuning",
}

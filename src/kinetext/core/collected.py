"""The columns of the tables of all runs, which `collect-metrics` writes into the folder tables/ (report/collect.py)."""

import pyarrow as pa

from kinetext.core.paths import LEVELS
from kinetext.core.schemas import CLIP_ID, TEXTS, Column, shared_columns

_RUN = shared_columns("run", *LEVELS)
RUNS: tuple[Column, ...] = (
    *_RUN,
    *shared_columns("fingerprint"),
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
    ("answers", pa.string(), "which model behind an API answered, and how many answers count as wrong; null: none"),
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
    ("requests_per_clip", pa.float64(), "requests to a model behind an API per test clip, cached ones included"),
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
    *shared_columns("dataset", "split", "protocol", "backbone", "method", "texts", "seed"),
    ("coverage", pa.float64(), "share of the clips that are answered: those with the highest confidence, 0 to 1"),
    ("risk", pa.float64(), "share of errors among them, 0 to 1"),
    ("confidence", pa.float64(), "the lowest share of a predicted class among them, calibrated where that is possible"),
)
COLLECTED_TEXTS: tuple[Column, ...] = (*shared_columns("dataset", "protocol", "backbone", "texts"), *TEXTS)
CONFUSIONS: tuple[Column, ...] = (
    *shared_columns("dataset", "split", "protocol", "backbone", "method", "texts", "seed"),
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
    *shared_columns("dataset", "split", "protocol"),
    CLIP_ID,
    ("label", pa.string(), "class of the clip"),
    ("right", pa.float64(), "share of the runs that predict it right, 0 to 1; the hardest clips of a comparison only"),
    ("runs", pa.int32(), "number of runs"),
    ("predicted", pa.string(), "the other class that most runs predict; null: the clip has no frames"),
    ("predicted_runs", pa.int32(), "number of runs that predict it"),
)
DIFFERENCES: tuple[Column, ...] = (
    ("dataset", pa.string(), 'data set; "mean of N" where N of them are averaged (column pooled)'),
    *shared_columns("split", "protocol"),
    (
        "metric",
        pa.string(),
        "top1, pair_accuracy:RULE, harmonic_mean and harmonic_mean_among_all of top1, ausuc (classes); t2v_r1, v2t_r1 "
        "(captions)",
    ),
    *shared_columns("backbone", "method", "texts"),
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
    *shared_columns("dataset", "split", "protocol", "backbone", "method", "texts"),
    ("metric", pa.string(), "name of the metric, as in the table metrics"),
    *shared_columns("frame_order"),
    ("variance", pa.float64(), "variance over groups of clips of the mean over seeds"),
    ("freedom", pa.float64(), "degrees of freedom of that variance"),
    ("interaction", pa.float64(), "variance of the mean of one seed that is due to clips and training together"),
    ("groups", pa.int32(), "number of groups of clips that count"),
)
SEEN_UNSEEN: tuple[Column, ...] = (
    *shared_columns("dataset", "protocol", "backbone", "method", "texts", "seed"),
    ("bias", pa.float64(), "number added to the scores of the novel classes"),
    ("seen", pa.float64(), "accuracy on clips of trained classes among all classes, 0 to 1"),
    ("unseen", pa.float64(), "accuracy on clips of novel classes among all classes, 0 to 1"),
)
TUNING: tuple[Column, ...] = (
    *shared_columns("dataset", "protocol", "backbone", "method", "texts"),
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
    *shared_columns("fingerprint"),
    ("commit", pa.string(), "git commit of the code that chose"),
)
TABLES = {
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

"""The columns of the tables that the steps write: name, type, and meaning with its unit. collected.py has those of all runs.

Capital letters at the end of a column's name are the axes of a list: score_K has one score per class or caption, bank_P
one score per caption of the bank, frame_TD one vector per frame.
"""

import pyarrow as pa

Column = tuple[str, pa.DataType, str]

DESCRIPTIONS = (
    "motion",
    "appearance",
    "random",
    "repeated_name",
)  # kinds of description; only `motion` says how a class moves
USED = ("ok", "cut")  # statuses of sentences that are used; `cut`: longer than the token limit, so the end is lost
FRAME_ORDERS = ("ordered", "reversed", "shuffled", "repeated")  # orders in which the frames of a test clip are scored

CLIP_ID: Column = ("clip_id", pa.string(), "name of the clip, unique in its data set")
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


def shared_columns(*names: str) -> tuple[Column, ...]:
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
    CLIP_ID,
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
    CLIP_ID,
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
    CLIP_ID,
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
    CLIP_ID,
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
    CLIP_ID,
    _GROUP,
    _KIND,
    *shared_columns("split", "frame_order"),
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
    ("note", pa.string(), "why a model behind an API gave no usable answer about the clip; null otherwise"),
)
METRICS: tuple[Column, ...] = (
    *shared_columns("dataset", "split", "protocol", "backbone", "method", "texts", "seed"),
    (
        "metric",
        pa.string(),
        "name of the metric; after a colon the rule of its confusable classes or, of captions, the changed scores",
    ),
    *shared_columns("frame_order"),
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
    *shared_columns("fingerprint"),
    ("commit", pa.string(), "git commit of the code that measured"),
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
}

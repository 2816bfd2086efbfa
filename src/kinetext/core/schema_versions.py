"""How tables of earlier versions differ from those of core/schemas.py, so that they can still be read (core/tables.py)."""

SCHEMA_VERSION = 7  # increase whenever a column is added (list it in ADDED), renamed (in RENAMED) or removed
ADDED = {  # columns that files of an earlier version lack: read as null
    "clips": ("group", "size_bytes", "modified_ns", "labels", "kind", "video_hash"),
    "frames": ("pixel_aspect", "stream"),
    "splits": ("group", "labels", "kind"),
    "texts": ("clips",),
    "collected_texts": ("clips",),
    "predictions": ("bank_P", "group", "targets", "note", "kind"),
    "runs": (
        *("method_module", "method_options", "training", "test_clips", "test_crops", "test_average"),
        *("temperature", "calibration", "class_groups"),
        *("trials", "rungs"),
        "answers",
    ),
    "metrics": ("unit", "higher_is_better", "variance", "freedom", "groups", "chance", "base_correlation"),
    "costs": (
        *("processes", "train_peak_mib", "gflops_per_clip", "predict_peak_mib"),
        *("requests_per_clip", "prompt_tokens_per_clip", "answer_tokens_per_clip", "usd_per_clip"),
    ),
    "confusions": ("backbone",),
    "differences": (
        "p",
        "pooled",
        "least",
        "most",
        "backbone",
        "than_backbone",
        "corrected_p",
        "methods",
        "seed_range",
        "draws",
        "sources",
        "overlap_DD",
    ),
}
RENAMED = {  # columns that files of an earlier version call otherwise: name then -> name now
    "predictions": {"view": "frame_order"},
    "metrics": {"view": "frame_order"},
    "texts": {"phase": "position"},
    "collected_texts": {"phase": "position"},
}
PHASES: dict[str, float | None] = {"whole": None, "start": 0.0, "end": 1.0}
CONVERTED = {  # columns that had words in earlier versions: word -> value
    "texts": {"position": PHASES},
    "collected_texts": {"position": PHASES},
}

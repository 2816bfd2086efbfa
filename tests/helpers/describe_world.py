"""A small data set to describe, with a table of confusable classes."""

from kinetext.config.texts import TextOptions
from kinetext.core.tables import write_table
from splits import write_splits

LABELS = ["rising", "falling", "growing", "shrinking"]


def write_world(folder, labels=LABELS, test_labels=LABELS, novel=(), **arguments):
    """Two training clips and a test clip per class, a small table of confusables; the arguments of describe_classes."""
    clips = [("train", label) for label in labels * 2] + [("test", label) for label in test_labels]
    rows = [
        {"clip_id": str(n), "split": split, "label": label, "captions": []} for n, (split, label) in enumerate(clips)
    ]
    write_table("clips", rows, folder / "clips.parquet", {"labels": labels, "pairs": []})
    rivals = [
        ("rising", "growing", "features", 2),
        ("rising", "falling", "features", 1),
        ("rising", "shrinking", "text", 1),
        ("falling", "growing", "text", 1),
        ("falling", "rising", "declared", 1),
        ("growing", "shrinking", "declared", 1),
    ]
    table = [dict(zip(("label", "rival", "rule", "rank"), row, strict=True)) | {"score": 1.0} for row in rivals]
    write_table("confusables", table, folder / "confusables.parquet")
    return {
        "clips": folder / "clips.parquet",
        "splits": write_splits(folder / "clips.parquet", novel),
        "confusables": folder / "confusables.parquet",
        "options": TextOptions(),
        "name": "bundled",
        "rule": "features",
        "cache": folder / "cache",
        "output": folder / "texts.parquet",
    } | arguments

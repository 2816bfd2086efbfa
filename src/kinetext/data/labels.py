"""Read the classes of a clip from its row of the table `clips` or `splits`."""

from typing import Any


def row_classes(row: dict[str, Any]) -> list[str]:
    """Return the classes of a clip: [`label`], or `labels` if `label` is None (multi-label data sets)."""
    return (row.get("labels") or []) if row["label"] is None else [row["label"]]

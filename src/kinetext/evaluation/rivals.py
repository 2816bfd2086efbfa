"""Confusable classes of a split, from the table `confusables`."""

from typing import Any

from kinetext.evaluation.metrics.base import Rivals


def split_rivals(confusables: list[dict[str, Any]], rule: str, labels: list[str]) -> Rivals:
    """Return the most confusable rivals of each label under a rule: the first, and those with an equal score.

    Labels of other splits are left out.
    """
    in_split, best = set(labels), dict[str, Any]()
    rivals: Rivals = {}
    for row in sorted((row for row in confusables if row["rule"] == rule), key=lambda row: row["rank"]):
        label, rival, score = row["label"], row["rival"], row["score"]
        if {label, rival} <= in_split and label != rival and best.setdefault(label, score) == score:
            rivals.setdefault(label, []).append(rival)
    return rivals


def top_pairs(confusables: list[dict[str, Any]], rule: str, labels: list[str], limit: int) -> list[tuple[str, str]]:
    """Return up to `limit` pairs of a label and a rival, the most confusable first, without mirrored pairs."""
    rivals = split_rivals(confusables, rule, labels)
    score = {(row["label"], row["rival"]): row["score"] or 0.0 for row in confusables if row["rule"] == rule}
    rank = {(a, b): rank for a, others in rivals.items() for rank, b in enumerate(others)}
    pairs = sorted(rank, key=lambda pair: (-score[pair], rank[pair], pair))
    unique: dict[frozenset[str], tuple[str, str]] = {}
    for pair in pairs:
        unique.setdefault(frozenset(pair), pair)
    return list(unique.values())[:limit]

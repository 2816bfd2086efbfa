"""Confusable classes of a split, from the table `confusables`."""

from typing import Any

from kinetext.evaluation.metrics.base import Rivals


def split_rivals(confusables: list[dict[str, Any]], rule: str, labels: list[str]) -> Rivals:
    """Return the rivals of each label under a rule, the most confusable first. Labels of other splits are left out."""
    in_split = set(labels)
    rivals: Rivals = {}
    for row in sorted((row for row in confusables if row["rule"] == rule), key=lambda row: row["rank"]):
        if row["label"] in in_split and row["rival"] in in_split and row["label"] != row["rival"]:
            rivals.setdefault(row["label"], []).append(row["rival"])
    return rivals


def top_pairs(confusables: list[dict[str, Any]], rule: str, labels: list[str], limit: int) -> list[tuple[str, str]]:
    """Return up to `limit` pairs of a label and its first rival, the most confusable first, without mirrored pairs."""
    rivals = split_rivals(confusables, rule, labels)
    score = {(row["label"], row["rival"]): row["score"] or 0.0 for row in confusables if row["rule"] == rule}
    pairs = sorted(((a, others[0]) for a, others in rivals.items()), key=lambda pair: (-score[pair], pair))
    unique: dict[frozenset[str], tuple[str, str]] = {}
    for pair in pairs:
        unique.setdefault(frozenset(pair), pair)
    return list(unique.values())[:limit]

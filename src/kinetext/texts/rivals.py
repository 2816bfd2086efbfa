"""Choose the rivals of a class, with which its descriptions and a loss among rivals compare it."""

from pathlib import Path

from kinetext.core.tables import read_rows


def confusion_of_pairs(confusables: Path, rule: str) -> dict[tuple[str, str], float]:
    """Return the score of each (class, rival) under the mining rule `rule`; of training clips with `features`."""
    rows = read_rows("confusables", confusables)
    return {(row["label"], row["rival"]): row["score"] for row in rows if row["rule"] == rule}


def choose_rivals(confusables: Path, labels: list[str], rule: str) -> dict[str, list[str]]:
    """Return the rivals of each label, the most easily confused first.

    The rivals are those of the mining rule `rule`; a label that has none gets those of `text`, otherwise of `declared`.
    For instance, the rule `features` has no rivals for a novel class, which has no training clips.
    """
    rows = sorted(read_rows("confusables", confusables), key=lambda row: row["rank"])
    rivals: dict[str, dict[str, list[str]]] = {}
    for row in rows:
        rivals.setdefault(row["label"], {}).setdefault(row["rule"], []).append(row["rival"])
    chosen = {}
    for label in labels:
        by_rule = rivals.get(label, {})
        chosen[label] = by_rule.get(rule) or by_rule.get("text") or by_rule.get("declared") or []
    return chosen

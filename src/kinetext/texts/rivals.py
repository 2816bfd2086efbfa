"""Rivals of a class: those that its descriptions are written against, and that a loss among rivals compares it with."""

from pathlib import Path

from kinetext.core.tables import read_rows


def choose_rivals(confusables: Path, labels: list[str], rule: str) -> dict[str, list[str]]:
    """Return each label's rivals, the most easily confused first: by `rule`, else by `text`, else by `declared`.

    A novel class has no training clips, so the rule `features` has no rivals for it.
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

"""Which clips train, choose and test, and among which classes a clip is scored.

- `supervised`: the data set's own splits.
- `base_to_novel`: the classes named `novel` are taken out of training and validation; their test clips become a split
  of their own, scored among the novel classes only (ViFi-CLIP, CVPR 2023).
"""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Split:
    """Clips with the class names that they are scored among, in order. `rows` are rows of the table `clips`."""

    rows: list[dict[str, Any]]
    labels: list[str]


def protocol_splits(
    clips: list[dict[str, Any]], labels: list[str], protocol: str, novel: list[str]
) -> dict[str, Split]:
    """The splits train, val, test, and novel where there are novel classes.

    Raises ValueError if there is nothing to train on or if a clip stands in training and in a test split.
    """
    held_out = set(novel) if protocol == "base_to_novel" else set()
    base = [label for label in labels if label not in held_out]

    def part(split: str, wanted: list[str]) -> Split:
        keep = set(wanted)
        return Split([row for row in clips if row["split"] == split and row["label"] in keep], wanted)

    splits = {"train": part("train", base), "val": part("val", base), "test": part("test", base)}
    if held_out:
        splits["novel"] = part("test", [label for label in labels if label in held_out])
    train_ids = {row["clip_id"] for row in splits["train"].rows}
    leaked = sorted(train_ids & {row["clip_id"] for name in splits.keys() - {"train"} for row in splits[name].rows})
    if leaked:
        raise ValueError(f"{len(leaked)} clips stand in training and in a later split: {', '.join(leaked[:5])}")
    if not splits["train"].rows:
        raise ValueError(f"protocol {protocol}: no training clips; splits found: {sorted({r['split'] for r in clips})}")
    return splits

"""Two runs on the same clips, in the terminal: `kinetext compare RUN RUN`.

A run is a run folder, or the folder above the folders of its seeds, which are then averaged clip by clip. The tests are
those of the report (paired.py); of the classes, Holm's correction counts all of a split's.

N = 2 runs, B clips.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from kinetext.config.run import RunSpec, read_run
from kinetext.evaluation.measure import main_values
from kinetext.evaluation.predictions import Predictions, read_predictions
from kinetext.report.outcomes import Outcome, value_matrix
from kinetext.report.paired import compare_rows, holm

CLASSES = 5  # shown of those that gain and of those that lose


class Side(NamedTuple):
    """One of the two: what its run.yaml says, and the predictions of each of its seeds by split, frames in order."""

    folder: Path
    spec: RunSpec
    seeds: list[dict[str, Predictions]]


def compare(first: Path, second: Path) -> str:
    """What there is to say of two runs, for each split that both have predicted.

    Raises ValueError if they cannot be compared: other data set, protocol, classes or clips, or the same run twice.
    """
    a, b = _side(first), _side(second)
    for part, words in (("dataset", "data sets"), ("protocol", "protocols")):
        ours, theirs = getattr(a.spec, part), getattr(b.spec, part)
        if ours != theirs:
            raise ValueError(f"{first} and {second}: cannot be compared, their {words} are '{ours}' and '{theirs}'")
    if a.folder.resolve() == b.folder.resolve():
        raise ValueError(f"{first}: is compared with itself; name two runs")
    splits = [split for split in a.seeds[0] if all(split in seed for seed in [*a.seeds, *b.seeds])]
    if not splits:
        has, other = (", ".join(side.seeds[0]) for side in (a, b))
        raise ValueError(f"{first} and {second}: have no split in common; the first has {has}, the second {other}")
    lines = [f"{a.spec.dataset}, {a.spec.protocol}; frames in order", f"  A  {_named(a)}", f"  B  {_named(b)}"]
    for split in splits:
        lines += ["", *_about_split(split, a, b)]
    lines += [
        "",
        "Points; in brackets the 95 % bootstrap interval over clips; p of a two-sided permutation test on the same",
    ]
    return "\n".join([*lines, "clips, for classes corrected by Holm's method for the number of classes."])


def _side(folder: Path) -> Side:
    """Read a run, or all seeds of one."""
    seeds = (
        [folder] if (folder / "run.yaml").is_file() else sorted(path.parent for path in folder.glob("seed*/run.yaml"))
    )
    spec = read_run((seeds[0] if seeds else folder) / "run.yaml")
    found = []
    for seed in seeds:
        if not (seed / "predictions.parquet").is_file():
            raise ValueError(f"{seed}: predictions.parquet is missing; run `kinetext predict-clips` for it first")
        predictions = read_predictions(seed / "predictions.parquet", frame_order="ordered")
        found.append({split: made for (split, _), made in predictions.items()})
    return Side(folder, spec, found)


def _named(side: Side) -> str:
    seeds = f"{len(side.seeds)} seeds" if len(side.seeds) > 1 else f"seed {side.spec.seed}"
    return f"{side.spec.method} with {side.spec.texts}, {side.spec.backbone}, {seeds}"


def _about_split(split: str, a: Side, b: Side) -> Iterator[str]:
    """The lines about one split."""
    made = [[seed[split] for seed in side.seeds] for side in (a, b)]
    whole = made[0][0]
    for other in (one for seeds in made for one in seeds):
        if other.labels != whole.labels:
            raise ValueError(
                f"{a.folder} and {b.folder}: cannot be compared, their {split} clips were scored among other "
                f"{'captions' if whole.captioned else 'classes'} ({len(whole.labels)} and {len(other.labels)})"
            )
    for metric in main_values(whole):
        rows = {
            side: [Outcome(tuple(one.clip_ids or ()), main_values(one)[metric]) for one in seeds]
            for side, seeds in zip("AB", made, strict=True)
        }
        value_BN = value_matrix(rows, ["A", "B"])
        if not len(value_BN):
            raise ValueError(
                f"{a.folder} and {b.folder}: cannot be compared, their {split} clips have no name in common"
            )
        left_out = len({clip for seeds in made for one in seeds for clip in one.clip_ids or ()}) - len(value_BN)
        rest = f" ({left_out} that only one has are left out)" if left_out else ""
        yield f"{split}: {metric} of {len(value_BN):,} clips{rest}"
        yield f"  A {_percent(value_BN[:, 0])}   B {_percent(value_BN[:, 1])}   A - B {_difference(value_BN)}"
        if not whole.captioned:
            yield from _about_classes(value_BN, whole, rows)


def _difference(value_BN: np.ndarray) -> str:
    found = {name: float(values_NN[0, 1]) for name, values_NN in compare_rows([value_BN]).items()}
    return f"{_signed(found['value'])} [{_signed(found['low'])}, {_signed(found['high'])}]   {_p(found['p'])}"


def _about_classes(value_BN: np.ndarray, whole: Predictions, rows: dict[str, list[Outcome]]) -> Iterator[str]:
    """The classes that gain most and those that lose most, nothing of those that stay."""
    common = set.intersection(*(set(seed.clips) for seeds in rows.values() for seed in seeds))
    label = {clip: whole.labels[k] for clip, k in zip(whole.clip_ids or (), whole.target_B, strict=True)}
    label_B = np.array([label[clip] for clip in sorted(common)])  # the order of value_matrix
    of_class = {name: value_BN[label_B == name] for name in whole.labels if (label_B == name).any()}
    p = dict(zip(of_class, holm([float(compare_rows([v])["p"][0, 1]) for v in of_class.values()]), strict=True))
    change = {name: float((v[:, 0] - v[:, 1]).mean()) for name, v in of_class.items()}
    gained = sorted((name for name in change if change[name] > 0), key=lambda name: -change[name])
    lost = sorted((name for name in change if change[name] < 0), key=lambda name: change[name])
    yield f"  {len(gained)} classes higher with A, {len(lost)} with B, {len(change) - len(gained) - len(lost)} alike"
    shown = [*gained[:CLASSES], *reversed(lost[:CLASSES])]
    width = max(map(len, shown), default=0)
    for name in shown:
        value = of_class[name]
        sides = f"A {_percent(value[:, 0])}   B {_percent(value[:, 1])}   A - B {_signed(change[name])}"
        yield f"    {name:{width}}  {len(value):5,} clips   {sides}   {_p(p[name])}"


def _percent(value_B: np.ndarray) -> str:
    return f"{100 * value_B.mean():5.1f}"


def _signed(value: float) -> str:
    return f"{round(100 * value, 1) + 0.0:+.1f}"


def _p(p: float) -> str:
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"

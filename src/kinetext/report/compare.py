"""Compare two runs on the same clips in the terminal: `kinetext compare RUN RUN`.

RUN is a run folder, or the folder above the seeds of a run. In the second case each clip is averaged over the seeds.
The tests are those of the report (evaluation/paired.py). Tests of single classes are about the trained weights, with
Holm's correction for all classes of a split.

B clips, N = 2 runs.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from kinetext.config.run import RunSpec, read_run
from kinetext.evaluation.measure import is_tested, pseudo_values
from kinetext.evaluation.paired import compare_rows, holm
from kinetext.evaluation.paired_rows import PairedRows, about_methods, seed_range
from kinetext.evaluation.predictions import Predictions, read_predictions
from kinetext.report.formats import format_p
from kinetext.report.keys import method_title
from kinetext.report.outcomes import Outcome, paired_rows

NUM_CLASSES = 5  # classes shown of those that are higher with either run


class Side(NamedTuple):
    """One of the two runs: run.yaml, and the predictions of each seed by split, with the frames in order."""

    folder: Path
    spec: RunSpec
    seeds: list[dict[str, Predictions]]

    @property
    def title(self) -> str:
        """The method, texts, backbone and seeds in words."""
        seeds = f"{len(self.seeds)} seeds" if len(self.seeds) > 1 else f"seed {self.spec.seed}"
        return f"{method_title(self.spec.method)} with {self.spec.texts}, {self.spec.backbone}, {seeds}"


def compare(first: Path, second: Path) -> str:
    """Return the comparison of two runs on each split that both have predicted, as text.

    Raises ValueError if the runs have different data sets, protocols, classes or clips, or if they are the same run.
    """
    a, b = _read_side(first), _read_side(second)
    for option, words in (("dataset", "data sets"), ("protocol", "protocols")):
        values = getattr(a.spec, option), getattr(b.spec, option)
        if values[0] != values[1]:
            raise ValueError(
                f"{first} and {second}: cannot be compared, their {words} are '{values[0]}' and '{values[1]}'"
            )
    if a.folder.resolve() == b.folder.resolve():
        raise ValueError(f"{first}: is compared with itself; name two runs")
    splits = [split for split in a.seeds[0] if all(split in seed for seed in [*a.seeds, *b.seeds])]
    if not splits:
        ours, theirs = (", ".join(side.seeds[0]) for side in (a, b))
        raise ValueError(f"{first} and {second}: have no split in common; the first has {ours}, the second {theirs}")
    lines = [f"{a.spec.dataset}, {a.spec.protocol}; frames in order", f"  A  {a.title}", f"  B  {b.title}"]
    for split in splits:
        lines += ["", *_split_lines(split, a, b)]
    lines += [
        "",
        "Numbers are percent, differences points; in brackets the 95 % interval; p of a two-sided",
        "permutation test on the same clips, for classes corrected for the number of classes (Holm).",
    ]
    return "\n".join(lines)


def _read_side(folder: Path) -> Side:
    """Read a run, or all seeds of a run. Raises ValueError if predictions are missing."""
    seeds = (
        [folder] if (folder / "run.yaml").is_file() else sorted(path.parent for path in folder.glob("seed*/run.yaml"))
    )
    spec = read_run((seeds[0] if seeds else folder) / "run.yaml")
    predictions = []
    for seed in seeds:
        path = seed / "predictions.parquet"
        if not path.is_file():
            raise ValueError(f"{seed}: predictions.parquet is missing; run `kinetext predict-clips` for it first")
        predictions.append({split: part for (split, _), part in read_predictions(path, frame_order="ordered").items()})
    return Side(folder, spec, predictions)


def _split_lines(split: str, a: Side, b: Side) -> Iterator[str]:
    """Yield the lines on one split. Raises ValueError if the classes differ or no clip is common."""
    seeds = {name: [seed[split] for seed in side.seeds] for name, side in (("A", a), ("B", b))}
    first = seeds["A"][0]
    for other in (part for parts in seeds.values() for part in parts):
        if other.labels != first.labels:
            raise ValueError(
                f"{a.folder} and {b.folder}: cannot be compared, their {split} clips were scored among other "
                f"{'captions' if first.captioned else 'classes'} ({len(first.labels)} and {len(other.labels)})"
            )
    outcomes = {name: [_outcomes(part) for part in parts] for name, parts in seeds.items()}
    for metric in filter(is_tested, outcomes["A"][0]):
        rows = {name: [of_seed[metric] for of_seed in parts] for name, parts in outcomes.items()}
        compared = paired_rows(rows, ["A", "B"])
        value_BN = compared.value_BN
        if not len(value_BN):
            raise ValueError(
                f"{a.folder} and {b.folder}: cannot be compared, their {split} clips have no name in common"
            )
        clip_ids = {clip_id for parts in seeds.values() for part in parts for clip_id in part.clip_ids or ()}
        num_left_out = len(clip_ids) - len(value_BN)
        rest = f" ({num_left_out} that only one has are left out)" if num_left_out else ""
        yield f"{split}: {metric} of {len(value_BN):,} clips{rest}"
        yield f"  A {_percent(value_BN[:, 0])}   B {_percent(value_BN[:, 1])}   A - B {_difference(compared)}"
        yield f"  {_scope(compared)}"
        if not (first.captioned or first.multi_label):
            yield from _class_lines(compared, first, rows)


def _outcomes(predictions: Predictions) -> dict[str, Outcome]:
    """Return the outcome of a seed for each metric."""
    clip_ids = tuple(predictions.clip_ids or ())
    values = pseudo_values(predictions).items()
    return {
        metric: Outcome(clip_ids, value_B, predictions.group_B, untrained=predictions.untrained)
        for metric, value_B in values
    }


def _scope(rows: PairedRows) -> str:
    """Return whether the test is about methods or about trained weights, and how much two seeds of a run differ."""
    about = "Tested: the methods, training included" if about_methods([rows]) else "Tested: these trained weights"
    apart = seed_range([rows])
    return about + (
        f"; two seeds of one run differ by up to {100 * apart:.1f}" if apart is not None else "; one seed each"
    )


def _difference(rows: PairedRows) -> str:
    """Return A - B with the interval and the p-value as text."""
    numbers = {name: float(values_NN[0, 1]) for name, values_NN in compare_rows([rows]).items()}
    interval = f"[{_signed(numbers['low'])}, {_signed(numbers['high'])}]"
    return f"{_signed(numbers['value'])} {interval}   {format_p(numbers['p'])}"


def _class_lines(compared: PairedRows, predictions: Predictions, rows: dict[str, list[Outcome]]) -> Iterator[str]:
    """Yield the classes on which A is better, the largest difference first, then those on which B is better."""
    common = set.intersection(*(set(seed.clip_ids) for seeds in rows.values() for seed in seeds))
    targets = zip(predictions.clip_ids or (), predictions.target_B, strict=True)
    label_of = {clip_id: predictions.labels[k] for clip_id, k in targets}
    label_B = np.array([label_of[clip_id] for clip_id in sorted(common)])  # the order of value_matrix
    parts = {label: compared.take(label_B == label) for label in predictions.labels if (label_B == label).any()}
    p = dict(zip(parts, holm([float(compare_rows([part])["p"][0, 1]) for part in parts.values()]), strict=True))
    values = {label: part.value_BN for label, part in parts.items()}
    change = {label: float((v[:, 0] - v[:, 1]).mean()) for label, v in values.items()}
    higher = sorted((label for label in change if change[label] > 0), key=lambda label: -change[label])
    lower = sorted((label for label in change if change[label] < 0), key=lambda label: change[label])
    num_equal = len(change) - len(higher) - len(lower)
    yield f"  {len(higher)} classes higher with A, {len(lower)} with B, {num_equal} equal"
    shown = [*higher[:NUM_CLASSES], *reversed(lower[:NUM_CLASSES])]
    width = max(map(len, shown), default=0)
    for label in shown:
        value = values[label]
        sides = f"A {_percent(value[:, 0])}   B {_percent(value[:, 1])}   A - B {_signed(change[label])}"
        yield f"    {label:{width}}  {len(value):5,} clips   {sides}   {format_p(p[label])}"


def _percent(value_B: np.ndarray) -> str:
    return f"{100 * value_B.mean():5.1f}"


def _signed(value: float) -> str:
    return f"{round(100 * value, 1) + 0.0:+.1f}"

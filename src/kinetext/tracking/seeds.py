"""Summarise the seeds of a run: the content of a parent run in MLflow.

A mean has two intervals, which answer different questions:

- over seeds: how much the mean would vary with other seeds. Student's t with n - 1 degrees of freedom, which assumes
  independent normal values; with two or three seeds it is wide.
- over clips: how much the value would vary with other clips of the same kind. The mean of the seeds' bounds
  (evaluation/measure.py).
"""

import hashlib
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from kinetext.tracking.content import LAYOUT, Run, is_logged, is_number, metric_key

NOTE = """Mean over its child runs: {seeds}.

| metric | meaning |
|---|---|
| `split/frame_order/metric` | mean over seeds |
| `….seeds_low`, `….seeds_high` | 95 % t interval of that mean over seeds, with two seeds or more |
| `….low`, `….high` | means of the seeds' 95 % bounds over clips |
"""


@dataclass(frozen=True)
class Parent:
    """Runs that differ only in their seed."""

    runs: Sequence[Run]
    digest: str  # of everything that is logged

    def times_ms(self) -> tuple[int, int]:
        """Return when the first run began and the last one ended."""
        times = [run.times_ms() for run in self.runs]
        return min(began for began, _ in times), max(ended for _, ended in times)

    def tags(self) -> dict[str, str]:
        """Return the tags of its runs except the seed, and a description that MLflow shows."""
        seeds = [str(run.spec["seed"]) for run in self.runs]
        tags = {key: value for key, value in self.runs[0].tags().items() if key not in ("seed", "fingerprint")}
        note = NOTE.format(seeds=f"seed{'s' if len(seeds) > 1 else ''} {', '.join(seeds)}")
        return {**tags, "run": self.runs[0].group, "seeds": str(len(seeds)), "mlflow.note.content": note}

    def params(self) -> dict[str, str]:
        """Return the parameters that all of its runs share."""
        first, *others = (run.params() for run in self.runs)
        return {key: value for key, value in first.items() if all(other.get(key) == value for other in others)}

    def summary(self) -> dict[str, float]:
        """Return the mean of each metric that all runs have, and its intervals."""
        values: dict[str, list[float]] = defaultdict(list)
        for run in self.runs:
            for row in filter(is_logged, run.metrics):
                for end, column in (("", "value"), (".low", "low"), (".high", "high")):
                    if is_number(row[column]):
                        values[metric_key(row) + end].append(row[column])
        means = {key: fmean(numbers) for key, numbers in values.items() if len(numbers) == len(self.runs)}
        for key in [key for key in means if not key.endswith((".low", ".high"))]:
            if len(self.runs) > 1:
                means[f"{key}.seeds_low"], means[f"{key}.seeds_high"] = t_interval(values[key])
        return means


def t_interval(numbers: Sequence[float], level: float = 0.95) -> tuple[float, float]:
    """Return Student's t interval of the mean of at least two numbers, (low, high)."""
    from scipy.special import stdtrit  # quantile of Student's t; scipy.stats takes a second to import

    half = float(stdtrit(len(numbers) - 1, (1 + level) / 2)) * stdev(numbers) / math.sqrt(len(numbers))
    return fmean(numbers) - half, fmean(numbers) + half


def group_runs(runs: Sequence[Run]) -> dict[str, list[list[Run]]]:
    """Group runs by name without seed, then by their other settings, in the order of seeds.

    A name has several groups if the results hold seeds of an earlier configuration. They are not averaged with the others.
    """
    groups_by_name: dict[str, dict[str, list[Run]]] = defaultdict(lambda: defaultdict(list))
    for run in sorted(runs, key=lambda run: int(run.spec["seed"])):
        groups_by_name[run.group][run.settings].append(run)
    return {name: list(groups.values()) for name, groups in groups_by_name.items()}


def make_parent(runs: Sequence[Run], digests: Sequence[str]) -> Parent:
    """Return the parent of runs, given the digest of each."""
    return Parent(runs, hashlib.sha256("\n".join([str(LAYOUT), *digests]).encode()).hexdigest())

"""What the seeds of one method with one kind of texts say together: what a parent run in MLflow shows.

Two intervals, which answer two questions and must not be taken for each other:

- over seeds: how far the mean would move with other seeds. Student's t with one degree of freedom less than there are
  seeds, which takes the seeds' numbers as independent draws of a normal one; with two or three seeds it is wide, rightly.
- over clips: how far the number would move with other clips of the same kind. The mean of the seeds' bootstrap bounds
  (evaluation/measure.py), as the report has it.
"""

import hashlib
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from kinetext.tracking.content import LAYOUT, Run, is_number, metric_key, shown

NOTE = """Mean over the runs below it: {seeds}.

| number | what it is |
|---|---|
| `split/frame_order/metric` | mean over seeds |
| `….seeds_low`, `….seeds_high` | 95 % t interval of that mean over seeds; from two seeds on |
| `….low`, `….high` | means of the seeds' 95 % bootstrap bounds over clips |
"""


@dataclass(frozen=True)
class Parent:
    """Runs that differ in their seed alone."""

    runs: Sequence[Run]
    digest: str  # of what is logged of it

    def times_ms(self) -> tuple[int, int]:
        """When the first began and the last ended."""
        times = [run.times_ms() for run in self.runs]
        return min(began for began, _ in times), max(ended for _, ended in times)

    def tags(self) -> dict[str, str]:
        """What its runs are found by, but for the seed, and a description that MLflow shows."""
        seeds = [str(run.spec["seed"]) for run in self.runs]
        tags = {key: value for key, value in self.runs[0].tags().items() if key not in ("seed", "fingerprint")}
        note = NOTE.format(seeds=f"seed{'s' if len(seeds) > 1 else ''} {', '.join(seeds)}")
        return {**tags, "run": self.runs[0].group, "seeds": str(len(seeds)), "mlflow.note.content": note}

    def params(self) -> dict[str, str]:
        """The parameters that all of its runs have."""
        first, *others = (run.params() for run in self.runs)
        return {key: value for key, value in first.items() if all(other.get(key) == value for other in others)}

    def summary(self) -> dict[str, float]:
        """The mean of each metric that all runs have, and its intervals."""
        values: dict[str, list[float]] = defaultdict(list)
        for run in self.runs:
            for row in filter(shown, run.metrics):
                for end, column in (("", "value"), (".low", "low"), (".high", "high")):
                    if is_number(row[column]):
                        values[metric_key(row) + end].append(row[column])
        found = {key: fmean(numbers) for key, numbers in values.items() if len(numbers) == len(self.runs)}
        for key in [key for key in found if not key.endswith((".low", ".high"))]:
            if len(self.runs) > 1:
                found[f"{key}.seeds_low"], found[f"{key}.seeds_high"] = t_interval(values[key])
        return found


def t_interval(numbers: Sequence[float], level: float = 0.95) -> tuple[float, float]:
    """Student's t interval of the mean of at least two numbers, (low, high)."""
    from scipy.special import stdtrit  # the inverse of t's distribution; scipy.stats takes a second to import

    half = float(stdtrit(len(numbers) - 1, (1 + level) / 2)) * stdev(numbers) / math.sqrt(len(numbers))
    return fmean(numbers) - half, fmean(numbers) + half


def group_runs(runs: Sequence[Run]) -> dict[str, list[list[Run]]]:
    """Runs by their name without seed, then by all else that defines them, then by seed. A name has more than one group
    where seeds of an earlier configuration were left in the results: they are not averaged with the others.
    """
    found: dict[str, dict[str, list[Run]]] = defaultdict(lambda: defaultdict(list))
    for run in sorted(runs, key=lambda run: int(run.spec["seed"])):
        found[run.group][run.settings].append(run)
    return {name: list(groups.values()) for name, groups in found.items()}


def parent_of(runs: Sequence[Run], digests: Sequence[str]) -> Parent:
    """The parent of some seeds, from what is logged of each."""
    return Parent(runs, hashlib.sha256("\n".join([str(LAYOUT), *digests]).encode()).hexdigest())

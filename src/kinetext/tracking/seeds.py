"""Summarise the seeds of a run: the content of a parent run in MLflow.

The intervals are those of evaluation/seed_means.py. With one or two seeds they are about these trained weights; from
three seeds on they are about the expected value over trainings. A parent run is computed from the runs of one method,
and from metrics of runs instead of clips. The variance between seeds is therefore not pooled over methods, and the
intervals are wider than those of the report.
"""

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from kinetext.evaluation.intervals import Estimate
from kinetext.evaluation.seed_means import estimate_of_run, mean_over_seeds, pool_seeds
from kinetext.tracking.content import LAYOUT, Run, is_logged, is_number, metric_key

MEAN_LAYOUT = 2  # version of what is logged of a mean; a new number logs every mean again
NOTE = """Mean over its child runs: {seeds}.

| metric | meaning |
|---|---|
| `split/frame_order/metric` | mean over seeds |
| `….low`, `….high` | its 95 % interval: from three seeds on over clips and trainings, else over clips |
"""


@dataclass(frozen=True)
class Parent:
    """The mean of runs that differ only in their seed, as a parent run in MLflow."""

    runs: Sequence[Run]
    digest: str  # of everything that is logged

    def times_ms(self) -> tuple[int, int]:
        """Return the begin of the first run and the end of the last run, in milliseconds since 1970."""
        times = [run.times_ms() for run in self.runs]
        return min(began for began, _ in times), max(ended for _, ended in times)

    def tags(self) -> dict[str, str]:
        """Return the tags of the first run without its seed and fingerprint, and a description that MLflow shows."""
        seeds = [str(run.spec["seed"]) for run in self.runs]
        tags = {key: value for key, value in self.runs[0].tags().items() if key not in ("seed", "fingerprint")}
        note = NOTE.format(seeds=f"seed{'s' if len(seeds) > 1 else ''} {', '.join(seeds)}")
        return {**tags, "run": self.runs[0].group, "seeds": str(len(seeds)), "mlflow.note.content": note}

    def params(self) -> dict[str, str]:
        """Return the parameters that have the same value in all runs."""
        first, *others = (run.params() for run in self.runs)
        return {key: value for key, value in first.items() if all(other.get(key) == value for other in others)}

    def summary(self) -> dict[str, float]:
        """Return metric -> mean over seeds, with the ends of its interval as METRIC.low and METRIC.high.

        Metrics that some run lacks are left out.
        """
        estimates: dict[str, list[Estimate]] = defaultdict(list)
        for row in (row for run in self.runs for row in run.metrics if is_logged(row) and is_number(row["value"])):
            estimates[metric_key(row)].append(estimate_of_run(row))
        complete = {key: seeds for key, seeds in estimates.items() if len(seeds) == len(self.runs)}
        trained = any(len({seed.value for seed in seeds}) > 1 for seeds in complete.values())
        means: dict[str, float] = {}
        for key, seeds in complete.items():
            mean = mean_over_seeds(seeds, pool_seeds([[seed.value for seed in seeds]]) if trained else None)
            ends = {".low": mean.low, ".high": mean.high}
            means |= {key: mean.value, **{f"{key}{end}": value for end, value in ends.items() if is_number(value)}}
        return means


def group_runs(runs: Sequence[Run]) -> dict[str, list[list[Run]]]:
    """Group runs that differ only in their seed; return name without seed -> groups, each in the order of seeds.

    A name has several groups if the results folder holds seeds of an earlier configuration. Each group has a separate
    mean.
    """
    groups_by_name: dict[str, dict[str, list[Run]]] = defaultdict(lambda: defaultdict(list))
    for run in sorted(runs, key=lambda run: int(run.spec["seed"])):
        groups_by_name[run.group][run.settings].append(run)
    return {name: list(groups.values()) for name, groups in groups_by_name.items()}


def make_parent(runs: Sequence[Run], digests: Sequence[str]) -> Parent:
    """Return the parent of `runs`; `digests` are the digests of the runs' contents."""
    return Parent(runs, hashlib.sha256("\n".join([f"{LAYOUT}.{MEAN_LAYOUT}", *digests]).encode()).hexdigest())

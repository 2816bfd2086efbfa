"""Tuning: the chosen settings, the best score against the number of trials, and comparisons with unequal budgets.

The plot follows Dodge et al., "Show Your Work" (EMNLP 2019): the best score of n trials shows whether the budget
decides which method is ahead. The formula of the paper draws trials with replacement. Here they are drawn without
replacement (Tang et al., ACL 2020), exactly over all orders of the trials.

N trials.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from kinetext.report.figures.bands import trial_plot
from kinetext.report.formats import join_names
from kinetext.report.keys import RowKey, file_name, key_of, row_labels

Rows = list[dict[str, Any]]


def tuning_sections(rows: Rows, chance: Mapping[tuple[str, str], float | None], figures: Path) -> list[dict[str, Any]]:
    """Return the tuning section of the page for each data set and protocol, from the table `tuning`.

    `chance` is the chance level of top-1 accuracy on validation clips, from 0 to 1, by data set and protocol.
    """
    groups: dict[tuple[str, str], dict[RowKey, Rows]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        groups[row["dataset"], row["protocol"]][key_of(row)].append(row)
    sections = []
    for comparison, by_key in sorted(groups.items()):
        labels = row_labels(sorted(by_key))
        best_N = {label: best_of(first_scores(by_key[key])) for key, label in labels.items()}
        metric = next(row["metric"] for trials in by_key.values() for row in trials if row["metric"])
        several = {label: ends for label, ends in best_N.items() if len(ends[0]) > 1}
        name, axis = f"tuning-{file_name(comparison)}", f"best {metric}, percent"
        guessing = chance.get(comparison) if metric == "val_top1" else None
        sections.append(
            {
                "title": ", ".join(comparison),
                "metric": metric,
                "rows": [_summary(key, by_key[key]) for key in labels],
                "plot": trial_plot(name, several, axis, figures, guessing) if several else "",
                "halving": any(row["rung"] for key in by_key for row in by_key[key]),
                "sentences": [leader_sentence({label: ends[0] for label, ends in best_N.items()})],
            }
        )
    return sections


def _summary(key: RowKey, trials: Rows) -> dict[str, Any]:
    """Return a row of the page's table of chosen settings."""
    chosen = next(row for row in trials if row["chosen"])
    last = {row["trial"]: row for row in trials if row["rung"] == chosen["rung"]}
    first = [row for row in trials if row["rung"] == 0]
    return {
        "key": key,
        "budget": budget(len(first), max(row["rung"] for row in trials) + 1),
        "diverged": sum(row["status"].startswith("diverged") for row in trials),
        "configured": last[0]["score"],
        "why_not": last[0]["status"].partition(":")[0],
        "score": chosen["score"],
        "clips": chosen["clips"],
        "setting": json.loads(chosen["setting"]),
    }


def first_scores(trials: Rows) -> np.ndarray:
    """Return the scores [N] at the first rung, which all trials reach. A trial without a score counts as 0."""
    return np.array([row["score"] or 0.0 for row in trials if row["rung"] == 0])


def best_of(score_N: np.ndarray) -> list[np.ndarray]:
    """Return the best score of 1 to N trials: mean, 2.5 % and 97.5 % quantile over all orders of the trials, each [N].

    With probability binomial(i, n) / binomial(N, n), the best of n trials drawn from N without replacement is at most
    the i-th lowest score.
    """
    score_N = np.sort(score_N)
    N = len(score_N)
    rank_N = np.arange(1, N + 1)
    probability_N = np.ones(N)
    curves = []
    for n in range(N):
        probability_N = probability_N * np.maximum(rank_N - n, 0) / (N - n)
        mean = (score_N * np.diff(probability_N, prepend=0.0)).sum()
        quantiles = [score_N[np.argmax(probability_N >= share - 1e-12)] for share in (0.025, 0.975)]
        curves.append([mean, *quantiles])
    return list(np.array(curves).T)


def leader_sentence(best_N: dict[str, np.ndarray]) -> str:
    """Return a sentence on which row leads after how many trials on the validation clips; "" without a comparison."""
    common = min(len(mean_N) for mean_N in best_N.values())
    leaders = [max(best_N, key=lambda label: (best_N[label][n], label)) for n in range(common)]
    final = leaders[-1]
    if len(best_N) == 1 or common == 1:
        return ""
    if set(leaders) == {final}:
        return f"{final} is ahead on the validation clips with any number of trials up to {common}."
    since = max(n for n in range(common) if leaders[n] != final) + 2
    if leaders[0] == final:
        return f"The order on the validation clips changes with the number of trials; {final} is ahead from {since} on."
    return (
        f"The order on the validation clips depends on the number of trials (not tested): with one trial {leaders[0]} is "
        f"ahead, from {since} on {final}."
    )


def unequal_budgets(runs: Iterable[dict[str, Any]], costs: Iterable[dict[str, Any]]) -> str:
    """Return which rows of a comparison had which tuning budget if the budgets differ, else "".

    `runs` are those of the comparison. `costs` are those of all runs, because a comparison may test a method that was
    trained on another data set. Rows that neither train nor were tuned are left out.
    """
    trained = {key_of(cost) for cost in costs if cost["trained_parameters"]}
    budgets: dict[str, set[str]] = defaultdict(set)
    rows = {key_of(run): run for run in runs if run["trials"] or key_of(run) in trained}
    labels = row_labels(rows)
    for key, run in rows.items():
        budgets[budget(run["trials"], run["rungs"])].add(labels[key])
    if len(budgets) < 2:
        return ""
    parts = "; ".join(f"{words}: {join_names(sorted(names))}" for words, names in sorted(budgets.items()))
    return f"{parts}. A method with more trials has had more chances; give all the same `tuning.trials`."


def budget(trials: int | None, rungs: int | None) -> str:
    """Return a tuning budget in words, such as "8 trials in 2 rungs"."""
    if not trials:
        return "not tuned"
    return f"{trials} trial{'s' if trials > 1 else ''}" + (f" in {rungs} rungs" if rungs and rungs > 1 else "")

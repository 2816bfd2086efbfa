"""Coverage of intervals and false claims, by simulation: python benchmarks/coverage.py [--tables 2000] [--only REGEX] [--folder FOLDER]

A cell is a situation. It is simulated in pieces of 250 tables, each with its own random numbers; the line of a piece is
appended to FOLDER/coverage.jsonl when it is done. A stopped run resumes after its last piece, and `--minutes` stops one.
`--summary` compares the finished pieces with the bounds and simulates nothing.

- interval: a row's accuracy p on n clips, groups of 1 or 5 with intraclass correlation `icc`, seeds that share the clips and
  differ by `sd` points. With one or two seeds the target is the accuracy of these weights, from three on the expected one.
  Cells with `others` have three more rows in the table, with that accuracy; the variance between seeds is pooled over all
  four. `scaled`: the seeds of a row differ in proportion to the root of p (1 - p), `sd` points at .5; else all by `sd`.

- claims: how often at least one of all pairs of 2, 8 or 14 equal rows is called different. With `others`, the first two
  rows are equal and the others have that accuracy; a claim is about the equal ones. Tables of a batch share the sign
  patterns of the permutation test, which makes one matrix product of them.

How hard a clip is, is shared by the seeds and rows: half of the variance that a clip does not share with its group.
"""

import argparse
import json
import math
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import ndtr, ndtri
from scipy.stats import binomtest

from kinetext.evaluation.intervals import Estimate, mean_variance, share_interval
from kinetext.evaluation.paired import ALPHA, flipped_means, null_variances, pair_p_values
from kinetext.evaluation.paired_rows import PairedRows, Training
from kinetext.evaluation.seed_means import clip_parts, mean_over_seeds, pool_seeds

SHARED = 0.5
BATCH = 6_000_000  # outcomes simulated at a time
PIECE = 250  # tables
Cell = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", type=int, default=2000, help="simulated tables of each cell")
    parser.add_argument("--only", default="", help="simulate only cells whose JSON matches")
    parser.add_argument("--folder", type=Path, default=Path("results/coverage"))
    parser.add_argument("--minutes", type=float, default=math.inf, help="start no piece after that time")
    parser.add_argument("--summary", action="store_true")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    log = options.folder / "coverage.jsonl"
    done, end = read_done(log), time.monotonic() + 60 * options.minutes
    for cell in () if options.summary else cells():
        name = json.dumps(cell, sort_keys=True)
        for piece in range(math.ceil(options.tables / PIECE)):
            if time.monotonic() < end and re.search(options.only, name) and piece not in done.get(name, {}):
                line = {"cell": cell, "piece": piece, "hits": simulate(cell, piece)}
                done.setdefault(name, {})[piece] = line["hits"]
                with log.open("a") as file:
                    file.write(json.dumps(line) + "\n")
    failed = 0
    for name, hits in done.items():
        words, ok = judge(json.loads(name), sum(hits.values()), PIECE * len(hits))
        failed += not ok
        print(("ok    " if ok else "FAILED"), name, words)
    raise SystemExit(1 if failed else 0)


def read_done(log: Path) -> dict[str, dict[int, int]]:
    """Return {cell as JSON: {piece: hits}} of what was simulated. A line that was cut off is ignored."""
    done: dict[str, dict[int, int]] = {}
    for text in log.read_text().splitlines() if log.is_file() else []:
        try:
            line = json.loads(text)
        except json.JSONDecodeError:
            continue
        done.setdefault(json.dumps(line["cell"], sort_keys=True), {})[line["piece"]] = line["hits"]
    return done


def cells() -> Iterator[Cell]:
    groupings = [(1, 0.0), (5, 0.0), (5, 0.2), (5, 0.4)]
    for n in (50, 180, 2000, 20_000):
        for p in (0.5, 0.9, 0.99, 1.0):
            for group, icc in groupings:
                for seeds, sd in [(1, 0.0), *((seeds, sd) for seeds in (3, 5) for sd in (0.0, 0.4, 0.7))]:
                    yield {"kind": "interval", "p": p, "n": n, "group": group, "icc": icc, "seeds": seeds, "sd": sd}
    for p, others in ((0.9, 0.5), (0.99, 0.5), (0.99, 0.9), (1.0, 0.7), (0.7, 0.99), (0.5, 0.99)):
        for n in (180, 2000):
            for sd, scaled in ((0.0, False), (0.7, False), (2.0, True), (5.0, True)):
                about = {"kind": "interval", "p": p, "n": n, "group": 1, "icc": 0.0, "seeds": 3, "sd": sd}
                yield {**about, "others": others, "scaled": scaled}
    for p, others in ((0.5, 0.99), (0.7, 0.99), (0.99, 0.5), (0.9, 0.5)):
        for rows in (3, 8):
            for sd, scaled in ((0.7, False), (2.0, True), (5.0, True)):
                about = {"kind": "claims", "rows": rows, "p": p, "n": 2000, "group": 1, "icc": 0.0, "seeds": 3}
                yield {**about, "sd": sd, "others": others, "scaled": scaled}
    for rows in (2, 8, 14):
        for group, icc in ((1, 0.0), (5, 0.4)):
            for seeds, sd in [(1, 0.0), (3, 0.0), (3, 0.7), (5, 0.7)]:
                about = {"kind": "claims", "rows": rows, "p": 0.7, "n": 2000, "group": group, "icc": icc}
                yield {**about, "seeds": seeds, "sd": sd}


def simulate(cell: Cell, piece: int) -> int:
    """Return in how many of PIECE tables the interval holds the target, or equal rows are called different."""
    random = np.random.default_rng([*seed_of(cell), piece])
    count = claims if cell["kind"] == "claims" else covers
    rows = cell.get("rows", 4 if "others" in cell else 1)
    size = max(1, min(PIECE, BATCH // (cell["n"] * cell["seeds"] * rows)))
    draw = Outcomes(cell, rows)
    return sum(count(cell, draw(random, min(size, PIECE - first)), random) for first in range(0, PIECE, size))


def claims(cell: Cell, value_TRSB: np.ndarray, random: np.random.Generator) -> int:
    """Return in how many of T tables a pair of rows is called different."""
    group_B = groups_of(cell)
    seed, (tables, rows) = int(random.integers(2**31)), value_TRSB.shape[:2]
    all_rows = PairedRows(value_TRSB.mean(axis=2, dtype=float).reshape(tables * rows, -1).T, group_B)
    flipped_PTR = flipped_means([all_rows], seed, exact=False).reshape(-1, tables, rows)
    equal = slice(0, 2 if "others" in cell else rows)
    return sum(claimed(value_TRSB[t], group_B, flipped_PTR[:, t], seed + t, equal) for t in range(tables))


def claimed(value_RSB: np.ndarray, group_B: np.ndarray | None, flipped_PR: np.ndarray, seed: int, equal: slice) -> bool:
    """Return whether a pair of the equal rows of a table is called different."""
    value_RSB = value_RSB.astype(float)
    trained_N = (value_RSB != value_RSB[:, :1]).any(axis=(1, 2))
    interaction_N = np.array([clip_parts(value_SB, group_B).interaction for value_SB in value_RSB])
    seed_values = value_RSB.mean(axis=2).tolist()
    strata = [PairedRows(value_RSB.mean(axis=1).T, group_B, seed_values, trained_N, interaction_N)]
    mean_R = value_RSB.mean(axis=(1, 2))
    difference_RR = mean_R[:, None] - mean_R
    _, corrected = pair_p_values(difference_RR, null_variances(strata), flipped_PR, Training.of(strata), seed)
    return bool((corrected[equal, equal] <= ALPHA).any())


def seed_of(cell: Cell) -> list[int]:
    return list(json.dumps(cell, sort_keys=True).encode())


def groups_of(cell: Cell) -> np.ndarray | None:
    """Return the number of each clip's group; None where each clip is its own."""
    return None if cell["group"] == 1 else np.arange(cell["n"]) // cell["group"]


class Outcomes:
    """Right or wrong [tables, rows, seeds, n]: a threshold on a normal latent variable of group, clip and training."""

    def __init__(self, cell: Cell, rows: int) -> None:
        self.cell = cell
        equal = 2 if cell["kind"] == "claims" else 1
        self.p_R = np.array([cell["p"]] * equal + [cell.get("others", cell["p"])] * (rows - equal))[:rows]
        self.sd_R = cell["sd"] / 100 * (2 * np.sqrt(self.p_R * (1 - self.p_R)) if cell.get("scaled") else np.ones(rows))
        self.group_B = np.arange(cell["n"]) // cell["group"]
        self.of_group = latent_correlation(cell["p"], cell["icc"]) if cell["icc"] else 0.0

    def __call__(self, random: np.random.Generator, tables: int) -> np.ndarray:
        """Draw some tables."""
        cell, shape = self.cell, (tables, len(self.p_R), self.cell["seeds"])

        def normal(*size: int) -> np.ndarray:
            return random.standard_normal(size, dtype=np.float32)

        room_R1 = np.minimum(self.p_R, 1 - self.p_R)[:, None]  # seeds deviate alike upwards and downwards
        p_TRS = self.p_R[:, None] + np.clip(random.normal(size=shape) * self.sd_R[:, None], -room_R1, room_R1)
        of_clip = (1 - self.of_group) * SHARED
        shared_TB = math.sqrt(of_clip) * normal(tables, cell["n"])
        if self.of_group:
            shared_TB += math.sqrt(self.of_group) * normal(tables, self.group_B[-1] + 1)[:, self.group_B]
        latent = normal(*shape, cell["n"])
        latent *= math.sqrt(1 - self.of_group - of_clip)
        latent += shared_TB[:, None, None]
        return latent < ndtri(p_TRS).astype(np.float32)[..., None]


def latent_correlation(p: float, icc: float) -> float:
    """Return the correlation of normal variables whose thresholded outcomes have the intraclass correlation `icc`."""
    if p in (0.0, 1.0):
        return icc
    x, weight = np.polynomial.hermite_e.hermegauss(80)
    weight = weight / weight.sum()
    low, high = 0.0, 0.999
    for _ in range(40):
        middle = (low + high) / 2
        share = ndtr((ndtri(p) - math.sqrt(middle) * x) / math.sqrt(1 - middle))
        reached = ((weight * share**2).sum() - p * p) / (p * (1 - p))
        low, high = (middle, high) if reached < icc else (low, middle)
    return low


def covers(cell: Cell, value_TRSB: np.ndarray, random: np.random.Generator) -> int:
    """Return how many of T intervals hold the target."""
    group_B, covered = groups_of(cell), 0
    for value_RSB in value_TRSB.astype(float):
        mean = interval(value_RSB, group_B)
        covered += mean.low <= cell["p"] <= mean.high and mean.high > mean.low
    return covered


def interval(value_RSB: np.ndarray, group_B: np.ndarray | None) -> Estimate:
    """Return the estimate of the first row with its interval, as the report does."""
    value_SB, parts_R = value_RSB[0], [clip_parts(value_SB, group_B) for value_SB in value_RSB]
    values_R = [value_SB.mean(axis=1).tolist() for value_SB in value_RSB]
    low, high = share_interval(
        values_R[0][0], *mean_variance(value_SB[0], _numbers(value_SB, group_B)), parts_R[0].groups
    )
    seeds = [
        Estimate(value=value, low=low, high=high, least=value, most=value, seeds=1, clips=value_SB.shape[1])
        for value in values_R[0]
    ]
    trained = (value_RSB != value_RSB[:, :1]).any()
    between = pool_seeds(values_R, [parts.interaction for parts in parts_R]) if trained else None
    return mean_over_seeds(seeds, between, parts_R[0])


def _numbers(value_SB: np.ndarray, group_B: np.ndarray | None) -> np.ndarray:
    return np.arange(value_SB.shape[1]) if group_B is None else group_B


def judge(cell: Cell, hits: int, tables: int) -> tuple[str, bool]:
    """Return the rate with its interval, and whether the rate may be within the bounds."""
    exact = binomtest(hits, tables).proportion_ci(method="exact")
    words = f"{100 * hits / tables:.1f} % [{100 * exact.low:.1f}, {100 * exact.high:.1f}] of {tables}"
    if cell["kind"] == "claims":
        return words, bool(exact.high <= 0.06)
    if cell["n"] // cell["group"] < 20:
        return f"{words} (no bound: fewer than 20 groups)", True
    most = 0.98 if cell["n"] * (1 - cell["p"]) >= 5 else 1.0
    return words, bool(exact.high >= 0.93 and exact.low <= most)


if __name__ == "__main__":
    main()

"""Coverage of intervals and false claims, by simulation: python benchmarks/coverage.py [--tables 400] [--only REGEX] [--folder FOLDER]

A cell is a situation; its line is appended to FOLDER/coverage.jsonl when it is done, and cells that are there with as
many tables are skipped, so that a stopped run goes on. `--summary` prints what is there against the bounds and simulates nothing.

- interval: a row's accuracy p on n clips, groups of 1 or 5 with intraclass correlation `icc`, seeds that share the clips and
  differ by `sd` points. With one or two seeds the target is the accuracy of these weights, from three on the expected one.

- claims: how often at least one of all pairs of 2, 8 or 14 equal rows is called different.

How hard a clip is, is shared by the seeds and rows: half of the variance that a clip does not share with its group.
"""

import argparse
import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import ndtr, ndtri
from scipy.stats import binomtest

from kinetext.evaluation.intervals import Estimate, mean_over_seeds, mean_variance, pool_seeds, share_interval
from kinetext.evaluation.paired import ALPHA, PairedRows, compare_rows

SHARED = 0.5
Cell = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", type=int, default=400, help="simulated tables of each cell")
    parser.add_argument("--only", default="", help="simulate only cells whose JSON matches")
    parser.add_argument("--folder", type=Path, default=Path("results/coverage"))
    parser.add_argument("--summary", action="store_true")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    log = options.folder / "coverage.jsonl"
    done = read_done(log)
    for cell in () if options.summary else cells():
        name = json.dumps(cell, sort_keys=True)
        if re.search(options.only, name) and done.get(name, {}).get("tables", 0) < options.tables:
            hits = simulate(cell, options.tables)
            with log.open("a") as file:
                file.write(json.dumps({"cell": cell, "tables": options.tables, "hits": hits}) + "\n")
    failed = 0
    for line in read_done(log).values():
        words, ok = judge(line["cell"], line["hits"], line["tables"])
        failed += not ok
        print(("ok    " if ok else "FAILED"), json.dumps(line["cell"]), words)
    raise SystemExit(1 if failed else 0)


def read_done(log: Path) -> dict[str, Cell]:
    """Cells that were simulated, the line with the most tables of each; a line that was cut off is ignored."""
    done: dict[str, Cell] = {}
    for text in log.read_text().splitlines() if log.is_file() else []:
        try:
            line = json.loads(text)
        except json.JSONDecodeError:
            continue
        name = json.dumps(line["cell"], sort_keys=True)
        if line["tables"] >= done.get(name, {}).get("tables", 0):
            done[name] = line
    return done


def cells() -> Iterator[Cell]:
    groupings = [(1, 0.0), (5, 0.0), (5, 0.2), (5, 0.4)]
    for n in (50, 180, 2000, 20_000):
        for p in (0.5, 0.9, 0.99, 1.0):
            for group, icc in groupings:
                for seeds, sd in [(1, 0.0), *((seeds, sd) for seeds in (3, 5) for sd in (0.0, 0.4, 0.7))]:
                    yield {"kind": "interval", "p": p, "n": n, "group": group, "icc": icc, "seeds": seeds, "sd": sd}
    for rows in (2, 8, 14):
        for group, icc in ((1, 0.0), (5, 0.4)):
            for seeds, sd in [(1, 0.0), (3, 0.0), (3, 0.7), (5, 0.7)]:
                about = {"kind": "claims", "rows": rows, "p": 0.7, "n": 2000, "group": group, "icc": icc}
                yield {**about, "seeds": seeds, "sd": sd}


def simulate(cell: Cell, tables: int) -> int:
    """Return in how many tables the interval holds the target, or equal rows are called different."""
    random = np.random.default_rng(seed_of(cell))
    hit = claims if cell["kind"] == "claims" else covers
    return sum(hit(cell, random) for _ in range(tables))


def claims(cell: Cell, random: np.random.Generator) -> bool:
    value_RSB = outcomes(cell, cell["rows"], random)
    group_B = None if cell["group"] == 1 else np.arange(cell["n"]) // cell["group"]
    trained_N = (value_RSB != value_RSB[:, :1]).any(axis=(1, 2))
    rows = PairedRows(value_RSB.mean(axis=1).T, group_B, value_RSB.mean(axis=2).tolist(), trained_N)
    return bool((compare_rows([rows], seed=int(random.integers(2**31)))["corrected_p"] <= ALPHA).any())


def seed_of(cell: Cell) -> list[int]:
    return list(json.dumps(cell, sort_keys=True).encode())


def outcomes(cell: Cell, rows: int, random: np.random.Generator) -> np.ndarray:
    """Right or wrong, [rows, seeds, n]: a threshold on a normal latent variable of the group, the clip and the training."""
    n, group_B = cell["n"], np.arange(cell["n"]) // cell["group"]
    room = min(cell["p"], 1 - cell["p"])  # seeds deviate alike upwards and downwards
    p_RS = cell["p"] + np.clip(random.normal(size=(rows, cell["seeds"])) * cell["sd"] / 100, -room, room)
    of_group = latent_correlation(cell["p"], cell["icc"]) if cell["icc"] else 0.0
    of_clip = (1 - of_group) * SHARED
    shared_B = math.sqrt(of_group) * random.normal(size=group_B[-1] + 1)[group_B]
    shared_B = shared_B + math.sqrt(of_clip) * random.normal(size=n)
    latent = shared_B + math.sqrt(1 - of_group - of_clip) * random.normal(size=(rows, cell["seeds"], n))
    return (latent < ndtri(p_RS)[..., None]).astype(float)


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


def covers(cell: Cell, random: np.random.Generator) -> bool:
    group_B = np.arange(cell["n"]) // cell["group"]
    seeds = [estimate(value_B, group_B) for value_B in outcomes(cell, 1, random)[0]]
    between = pool_seeds([[seed.value for seed in seeds]])
    mean = mean_over_seeds(seeds, between if len({seed.value for seed in seeds}) > 1 else None)
    return mean.low <= cell["p"] <= mean.high and mean.high > mean.low


def estimate(value_B: np.ndarray, group_B: np.ndarray) -> Estimate:
    value, (variance, freedom), groups = float(value_B.mean()), mean_variance(value_B, group_B), int(group_B[-1]) + 1
    low, high = share_interval(value, variance, freedom, groups)
    ends = {"low": low, "high": high, "least": value, "most": value}
    return Estimate(value=value, **ends, seeds=1, clips=len(value_B), variance=variance, freedom=freedom, groups=groups)


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

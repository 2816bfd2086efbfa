"""What share of the workflow's wall time is not the commands' own work: starting Snakemake and its jobs, importing
packages, and MLflow.

    python benchmarks/overhead.py [--configfile config.yaml] [--cores 1]

It runs the whole workflow into a fresh folder. On one core (the default) jobs follow each other, so the parts add up to
the wall time:

    Snakemake   wall time of the call less the wall time of its jobs (results/benchmarks/*/*.tsv)
    start       a job's wall time less what its process did itself: shell, interpreter, tidying up
    imports     import statements, also those inside the commands (benchmarks/hook/sitecustomize.py)
    MLflow      what log_run does once everything is imported
    own work    everything else that the commands do; where workers of theirs used more CPU time than that, theirs

On more cores the share is of cores x wall time, so a core that waits counts as overhead.
"""

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Measured:
    """Seconds of cores by rule, and the wall time of the whole call."""

    wall_s: float
    cores: int
    jobs: Counter
    job_s: Counter
    imports_s: Counter
    work_s: Counter

    def parts(self) -> dict[str, float]:
        """Where the time of all cores went, in seconds; they sum to cores x wall time."""
        total = self.wall_s * self.cores
        in_jobs, imports, work = self.job_s.total(), self.imports_s.total(), self.work_s.total()
        tracking = self.work_s["log_run"]
        return {
            "Snakemake" if self.cores == 1 else "Snakemake and waiting cores": total - in_jobs,
            "start of jobs": in_jobs - imports - work,
            "imports": imports,
            "MLflow": tracking,
            "own work": work - tracking,
        }


def run_workflow(configfile: Path, cores: int, folder: Path) -> float:
    """Run the whole workflow with one call of Snakemake; return the wall seconds."""
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT / "benchmarks/hook"),
        "KINETEXT_TIMES": str(folder / "times.jsonl"),
        "OMP_NUM_THREADS": "1",
    }
    call = [
        "snakemake",
        "--cores",
        str(cores),
        "--configfile",
        str(configfile),
        "--config",
        f"results={folder}/results",
    ]
    started = time.perf_counter()
    with (folder / "snakemake.log").open("w") as log:
        done = subprocess.run(call, cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT)
    if done.returncode:
        sys.exit(f"the workflow failed; see {folder}/snakemake.log")
    return time.perf_counter() - started


def read_times(folder: Path, wall_s: float, cores: int) -> Measured:
    """Snakemake's benchmark files and the commands' own lines. A job without a line is an error, not a zero."""
    measured = Measured(wall_s, cores, Counter(), Counter(), Counter(), Counter())
    written: Counter = Counter()
    benchmarks = folder / "results/benchmarks"
    for file in benchmarks.rglob("*.tsv"):
        rule = file.relative_to(benchmarks).parts[0].removesuffix(".tsv")
        with file.open() as rows:
            (row,) = csv.DictReader(rows, delimiter="\t")
        measured.jobs[rule] += 1
        measured.job_s[rule] += float(row["s"])
    for line in (folder / "times.jsonl").read_text().splitlines():
        values = json.loads(line)
        rule = values["command"].replace("-", "_")
        written[rule] += 1
        beside_s = max(0.0, values["children_s"] - values["work_s"])  # of workers on further cores
        measured.imports_s[rule] += values["imports_s"]
        measured.work_s[rule] += values["work_s"] + beside_s
        measured.job_s[rule] += beside_s
    if written != measured.jobs:
        sys.exit(f"{folder}: jobs {dict(measured.jobs)} but times of {dict(written)}")
    return measured


def describe(measured: Measured) -> str:
    """Format a table by rule, the parts, and the share."""
    lines = [f"{'rule':18}{'jobs':>6}{'core s':>9}{'imports s':>11}{'rest s':>9}"]
    for rule, seconds in measured.job_s.most_common():
        lines.append(
            f"{rule:18}{measured.jobs[rule]:6}{seconds:9.1f}{measured.imports_s[rule]:11.1f}{measured.work_s[rule]:9.1f}"
        )
    total = measured.wall_s * measured.cores
    lines += ["", f"{measured.jobs.total()} jobs, {measured.cores} cores, {measured.wall_s:.1f} s"]
    parts = measured.parts()
    lines += [f"{name:28}{seconds:9.1f} s{seconds / total:8.1%}" for name, seconds in parts.items()]
    lines += [
        f"{'overhead: all but own work':28}{total - parts['own work']:9.1f} s{1 - parts['own work'] / total:8.1%}"
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--configfile", type=Path, default=ROOT / "config.yaml")
    parser.add_argument("--cores", type=int, default=1)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="overhead-"))
    wall_s = run_workflow(options.configfile.resolve(), options.cores, folder)
    print(describe(read_times(folder, wall_s, options.cores)))
    print(f"everything is in {folder}")


if __name__ == "__main__":
    main()

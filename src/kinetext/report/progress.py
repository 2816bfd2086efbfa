"""Which runs are finished, and why the others are not, according to the results folder and the logs of the jobs."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from kinetext.report.jobs import Job, Planned, final_jobs, jobs_of_run
from kinetext.report.keys import Comparison, RowKey
from kinetext.report.logs import last_line, read_error, read_warnings

Names = tuple[str, ...]  # of a run: run, dataset, protocol, backbone, texts
TRAINED = ("checkpoint.safetensors", "curves.parquet", "cost.json")


class Unfinished(NamedTuple):
    """Runs of one row that are unfinished for the same reason."""

    comparison: Comparison  # of its test clips
    key: RowKey
    seeds: tuple[int, ...]
    failed: bool  # else not started, or not finished yet
    reason: str  # the job and its error
    log: Path | None

    @property
    def state(self) -> str:
        """The state of the runs, as shown in a table."""
        return "failed" if self.failed else "not finished"


class Progress(NamedTuple):
    """The state of all planned runs, with the errors and warnings of the jobs."""

    finished: list[Path]  # run folders
    unfinished: list[Unfinished]
    errors: dict[str, Path]  # error -> its log, each once, of all jobs
    warnings: dict[str, int]  # warning -> number of jobs that gave it


def read_progress(results: Path, planned: Mapping[str, Planned], ended: bool, since_s: float = 0.0) -> Progress:
    """Return the progress of the planned runs.

    `ended` states that no job is running any more, so that a job with a log and without outputs was killed. Errors in
    logs older than `since_s` (seconds since 1970) belong to an earlier call and are ignored.
    """
    explain = _Explanations(ended, since_s, read_error(results / "logs" / "preflight.log"))
    finished: list[Path] = []
    rows: dict[Any, list[int]] = {}
    errors: dict[str, Path] = {}
    for name, run in planned.items():
        folder = results / "runs" / name
        if is_finished(folder, run, results):
            finished.append(folder)
            continue
        failed, reason, log = explain.run(list(jobs_of_run(results, name, planned)))
        spec = run.spec
        key = RowKey(spec.backbone, spec.method, spec.texts)
        comparison = Comparison(spec.dataset, spec.protocol, "test")
        rows.setdefault((comparison, key, failed, reason, log), []).append(spec.seed)
        if failed and log is not None:
            errors.setdefault(reason, log)
    for job in final_jobs(results, sorted({run.spec.dataset for run in planned.values()})):
        failed, reason, log = explain.job(job)
        if failed and log is not None and not all(map(Path.exists, job.outputs)):
            errors.setdefault(reason, log)
    unfinished = [
        Unfinished(comparison, key, tuple(seeds), failed, reason, log)
        for (comparison, key, failed, reason, log), seeds in rows.items()
    ]
    specs = [run.spec for run in planned.values()]
    names = [(spec.run, spec.dataset, spec.protocol, spec.backbone, spec.texts) for spec in specs]
    return Progress(finished, unfinished, errors, count_warnings(results / "logs", names))


def is_finished(folder: Path, run: Planned, results: Path) -> bool:
    """Return whether a run folder has all files of the planned run, each written after the files that it depends on."""
    trained = results / "runs" / (run.spec.trained_on or run.spec.run) / TRAINED[0]
    files = [folder / name for name in ("run.yaml", *(TRAINED if run.trains else ()))]
    chain = [*([trained] if trained.is_file() else []), folder / "predictions.parquet", folder / "metrics.parquet"]
    if not all(path.is_file() for path in (*files, *chain)):
        return False
    times = [path.stat().st_mtime_ns for path in chain]
    return times == sorted(times) and run.spec.fingerprint in (folder / "run.yaml").read_text()  # a tuned one has both


class _Explanations:
    """Reasons why jobs have no outputs. Each job is examined once, although many runs may need it."""

    def __init__(self, ended: bool, since_s: float, stopped: str | None) -> None:
        self.ended, self.since_s = ended, since_s
        self.stopped = stopped  # why the last call ran nothing
        self.job = cache(self._job)

    def run(self, jobs: Iterable[Job]) -> tuple[bool, str, Path | None]:
        """Return whether a run failed, the reason and the log, from the first failed job, else the first missing."""
        missing = [job for job in jobs if not all(map(Path.exists, job.outputs))]
        if not missing:
            return False, "out of date: its options or inputs changed; run `snakemake` again", None
        states = [self.job(job) for job in missing]
        return next((state for state in states if state[0]), states[0])

    def _job(self, job: Job) -> tuple[bool, str, Path | None]:
        has_log = job.log.is_file() and job.log.stat().st_mtime >= self.since_s
        if not has_log:
            return False, f"not started: {self.stopped or f'next is {job.rule}'}", None
        if error := read_error(job.log):
            return True, f"{job.rule}: {error}", job.log
        if not self.ended:
            return False, f"{job.rule} has begun", job.log
        line = last_line(job.log)
        end = f"the last line of its log: {line}" if line else "its log is empty"
        return True, f"{job.rule}: ended without an error message, as a killed job does; {end}", job.log


def count_warnings(logs: Path, runs: Iterable[Names]) -> dict[str, int]:
    """Return the warnings of all jobs of the runs, with the number of jobs that gave each."""
    return dict(Counter(line for log in _warning_logs(logs, list(runs)) for line in read_warnings(log)))


def _warning_logs(logs: Path, runs: list[Names]) -> Iterator[Path]:
    """Yield the logs of jobs that may warn, except those of frame shards, whose warnings check_frames counts."""
    for dataset in dict.fromkeys(run[1] for run in runs):
        yield logs / "index_clips" / f"{dataset}.log"
        yield from sorted((logs / "check_frames" / dataset).glob("*.log"))
        yield logs / "log_run" / f"{dataset}.log"
    yield from (logs / "split_clips" / d / f"{p}.log" for d, p in dict.fromkeys((d, p) for _, d, p, _, _ in runs))
    yield from (logs / "prepare_backbone" / f"{b}.log" for b in dict.fromkeys(run[3] for run in runs))
    for dataset, protocol, backbone, texts in dict.fromkeys(run[1:] for run in runs):
        yield logs / "describe_classes" / dataset / protocol / backbone / f"{texts}.log"
    for rule in ("train_method", "predict_clips", "measure_run"):
        yield from (logs / rule / f"{run}.log" for run, *_ in runs)

"""MLflow, a view of what lies in the run folders: parameters, curves, metrics, files. Only this file knows it.

Logging is idempotent, by content: a run is tagged with the sha256 of what is logged of it; the same content is left
alone, new content is logged whole as a new run before the older runs of its name are deleted (MLflow has no
get-or-create, its issue 11783). A tracking server that is down or slow costs one warning and never a result.
Importing mlflow takes seconds, hence one process for many runs and the imports inside the functions.
"""

import fcntl
import hashlib
import json
import logging
import math
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import pyarrow.parquet as pq
import yaml

logger = logging.getLogger(__name__)

LOGGED = ("run.yaml", "metrics.parquet", "curves.parquet", "cost.json")
LARGEST_ARTIFACT_BYTES = 2 << 20  # predictions.parquet goes along up to this size; larger ones stay in the run folder
BATCH = {"metrics": 1000, "params": 100}  # most that one call of log_batch may carry


class Options(Protocol):
    """What is read of config.TrackingOptions (this file stands beside config.py and imports nothing of kinetext)."""

    @property
    def enabled(self) -> bool:
        """Whether to track at all."""

    @property
    def uri(self) -> str | None:
        """Where to, or None."""


def tracking_uri(options: Options, results: Path) -> str:
    """Where runs are tracked: MLFLOW_TRACKING_URI, else `options.uri`, else sqlite in the results folder; "" if off.

    Always absolute: MLflow's own default is a file in whatever folder the job happens to stand in.
    """
    if not options.enabled:
        return ""
    return os.environ.get("MLFLOW_TRACKING_URI") or options.uri or f"sqlite:///{results.resolve()}/mlflow.db"


def experiment_name(spec: dict[str, Any]) -> str:
    """The MLflow experiment of a run: "{protocol}/{dataset}". Runs are compared within one protocol on one data set."""
    return f"{spec['protocol']}/{spec['dataset']}"


def code_commit() -> str | None:
    """The git commit of the code, short; None where the package does not lie in its own git checkout."""

    def git(*words: str) -> str | None:
        done = subprocess.run(["git", "-C", str(here.parent), *words], capture_output=True, text=True, check=False)
        return done.stdout.strip() if done.returncode == 0 else None

    here = Path(__file__)
    try:
        # an installed copy may lie inside someone else's repository, whose commit says nothing about us
        return git("rev-parse", "--short", "HEAD") if git("ls-files", "--error-unmatch", here.name) else None
    except OSError:  # no git here
        return None


def init_tracking(uri: str, experiments: list[str]) -> None:
    """Create the database and its experiments once, before many jobs log at the same time.

    On an empty database eight first writers at once left seven with "table runs already exists". An empty uri does
    nothing; a dead server costs a warning.
    """
    if not uri:
        return
    try:
        client = _client(uri)
        with _alone(uri):
            for name in experiments:
                _experiment_id(client, name, uri)
    except Exception as error:  # whatever a tracking server may do, the results do not depend on it
        logger.warning("%s: MLflow failed (%s); the runs go on without it", public(uri), _first_line(error))


def log_runs(runs: list[Path], uri: str, output: Path) -> None:
    """Log every run folder as one MLflow run; write to `output` a JSON with the MLflow run id or the error of each.

    With an empty uri (tracking is off) nothing is imported. After the first failure the other runs are not tried, for
    each would wait for the same time-out. Raises ValueError if a run folder lacks run.yaml or metrics.parquet.
    """
    for run in runs:
        for name in LOGGED[:2]:
            if not (run / name).is_file():
                raise ValueError(f"{run}: {name} is missing; measure the run before it is logged")
    logged: dict[str, dict[str, str | None]] = {}
    problem = None if uri else "tracking is off"
    client: Any = None
    for run in runs:
        run_id = None
        if problem is None:
            try:
                client = client or _client(uri)
                run_id = _log_run(client, run, uri)
            except Exception as error:  # as above
                problem = _first_line(error)
                logger.warning(
                    "%s: MLflow failed (%s); the results are safe, log them later with `snakemake --forcerun log_run`",
                    public(uri),
                    problem,
                )
        logged[_read_spec(run)["run"]] = {"mlflow_run_id": run_id, "error": None if run_id else problem}
    output.parent.mkdir(parents=True, exist_ok=True)
    part = output.with_name(f".{output.name}.{os.getpid()}.tmp")
    part.write_text(json.dumps({"uri": public(uri), "runs": logged}, indent=1) + "\n")
    part.replace(output)


def _log_run(client: Any, run: Path, uri: str) -> str:
    """Log one run folder; the id of the one MLflow run that then stands for it."""
    from mlflow.entities import Metric, Param

    spec, content = _read_spec(run), _content(run)
    with _alone(uri):
        experiment = _experiment_id(client, experiment_name(spec), uri)
    older = client.search_runs([experiment], filter_string=f"tags.run = '{spec['run']}'")
    same = [r for r in older if r.data.tags.get("content") == content and r.info.status == "FINISHED"]
    if same:
        kept = same[0].info.run_id
    else:
        rows = pq.read_table(run / "metrics.parquet").to_pylist()
        cost = _read_cost(run)
        tags = {key: str(spec[key]) for key in ("run", "dataset", "method", "texts", "protocol", "seed", "backbone")}
        tags |= {"fingerprint": spec["fingerprint"], "content": content}
        tags |= {"commit": str(cost.get("commit") or (rows[0]["commit"] if rows else None))}
        kept = client.create_run(experiment, run_name=spec["run"], tags=tags).info.run_id
        params = [Param(key, str(value)[:6000]) for key, value in _flat({**spec, "cost": cost}).items()]
        points = [Metric(key, value, 0, step) for key, value, step in _points(run, rows)]
        for first in range(0, len(params), BATCH["params"]):
            client.log_batch(kept, params=params[first : first + BATCH["params"]])
        for first in range(0, len(points), BATCH["metrics"]):
            client.log_batch(kept, metrics=points[first : first + BATCH["metrics"]])
        for name in (*LOGGED, "predictions.parquet"):
            if (run / name).is_file() and (run / name).stat().st_size <= LARGEST_ARTIFACT_BYTES:
                client.log_artifact(kept, str(run / name))
        client.set_terminated(kept)
    for other in older:
        if other.info.run_id != kept:
            client.delete_run(other.info.run_id)
    return kept


def _points(run: Path, rows: list[dict[str, Any]]) -> Iterator[tuple[str, float, int]]:
    """Every number to log, as (name, value, step): metrics with both ends of their interval, and the curves."""
    for row in rows:
        if row["metric"].count(":") > 1:  # single pairs of classes: they would bury the rest
            continue
        name = f"{row['split']}/{row['view']}/{row['metric']}"
        yield from ((f"{name}{end}", row[key], 0) for key, end in (("value", ""), ("low", ".low"), ("high", ".high")))
    if (run / "curves.parquet").is_file():
        for row in pq.read_table(run / "curves.parquet").to_pylist():
            if row["value"] is not None and math.isfinite(row["value"]):  # a diverged loss is not a number to MLflow
                yield f"train/{row['metric']}", row["value"], row["epoch"]


def _content(run: Path) -> str:
    """sha256 of the files that are logged, their names included."""
    digest = hashlib.sha256()
    for name in LOGGED:
        if (run / name).is_file():
            digest.update(name.encode() + b"\0" + hashlib.sha256((run / name).read_bytes()).digest())
    return digest.hexdigest()


def _flat(values: dict[str, Any], above: str = "") -> dict[str, Any]:
    """Nested mappings as dotted keys, as MLflow's parameters are flat."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        found |= _flat(value, f"{above}{key}.") if isinstance(value, dict) else {f"{above}{key}": value}
    return found


def _client(uri: str) -> Any:
    """An MLflow client with short time-outs: MLflow's own defaults wait many minutes for a dead server."""
    defaults = {
        "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",  # seconds
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "GIT_PYTHON_REFRESH": "quiet",
    }
    for key, value in defaults.items():
        os.environ.setdefault(key, value)  # read at import, hence before it
    from mlflow import MlflowClient

    for name in ("mlflow", "alembic", "urllib3.connectionpool"):  # schema migrations, retries: not the reader's concern
        logging.getLogger(name).setLevel(logging.ERROR)
    with _alone(uri):
        return MlflowClient(tracking_uri=uri)  # the constructor makes the schema of an empty database


def _experiment_id(client: Any, name: str, uri: str) -> str:
    """The experiment of this name, made if there is none."""
    found = client.get_experiment_by_name(name)
    if found is not None:
        return found.experiment_id
    # files of a sqlite store would go to the current folder; keep them beside the database
    folder = _sqlite_file(uri)
    try:
        return client.create_experiment(name, (folder.parent / "mlartifacts").as_uri() if folder else None)
    except Exception:
        found = client.get_experiment_by_name(name)  # someone else made it in between
        if found is None:
            raise
        return found.experiment_id


@contextmanager
def _alone(uri: str) -> Iterator[None]:
    """Hold a lock beside a sqlite database: its first use, by several at once, fails. A server does this itself."""
    file = _sqlite_file(uri)
    if file is None:
        yield
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.with_name(f".{file.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _sqlite_file(uri: str) -> Path | None:
    """The database file of a sqlite uri, absolute; None for any other uri."""
    return Path(uri.removeprefix("sqlite:///")).resolve() if uri.startswith("sqlite:///") else None


def _read_spec(run: Path) -> dict[str, Any]:
    return yaml.safe_load((run / "run.yaml").read_text())


def _read_cost(run: Path) -> dict[str, Any]:
    path = run / "cost.json"
    return json.loads(path.read_text()) if path.is_file() else {}


def _first_line(error: Exception) -> str:
    """What went wrong, short enough for one line of the log."""
    return public((str(error).strip().splitlines() or [type(error).__name__])[0][:200])


def public(text: str) -> str:
    """The text without the user and password that a uri may carry: it goes to logs and files."""
    return re.sub(r"//[^/@\s]+@", "//", text)

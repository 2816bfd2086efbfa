"""Where runs are tracked, and how a process gets in: one machine has a SQLite file, a cluster an `mlflow server` or
PostgreSQL.

What goes wrong there, measured with MLflow 3.17: of eight processes that use an empty database at the same time seven
fail ("table runs already exists", "UniqueViolation"), so whoever opens a database holds a lock; a server does so itself
before it starts. A connection that is cut, as by PostgreSQL being restarted, raises: what is asked for is asked again for
a while (tenacity). Steady writing by sixteen processes lost nothing, given log_batch.
"""

import fcntl
import logging
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from kinetext.config.report import TrackingOptions

logger = logging.getLogger(__name__)

PATIENCE_S = 30.0  # for how long something that fails is tried again; PostgreSQL is back after a crash in a few seconds
LOCK = 0x6B696E65  # the number of the advisory lock in PostgreSQL ("kine")
QUIET = {  # read when mlflow is imported
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",  # seconds; MLflow's own defaults wait many minutes for a dead server
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_UV_AUTO_DETECT": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # two lines a run, where there is a server
    "GIT_PYTHON_REFRESH": "quiet",
}
T = TypeVar("T")


class StoreError(Exception):
    """The store failed, and went on failing."""


@dataclass(frozen=True)
class Store:
    """A tracking store; `uri` is "" where tracking is off. `artifacts`: where files go, None where a server minds them."""

    uri: str
    artifacts: Path | None = None

    @property
    def local(self) -> bool:
        """Whether it is a file of this machine."""
        return self.uri.startswith("sqlite")

    def __str__(self) -> str:
        return public(self.uri)


def find_store(options: TrackingOptions, results: Path) -> Store:
    """Where the runs of a results folder are tracked: MLFLOW_TRACKING_URI, else `options.uri`, else SQLite in the folder.

    Always absolute: MLflow's own default is a file in whatever folder the job happens to stand in.
    """
    if not options.enabled:
        return Store("")
    results = results.resolve()
    uri = os.environ.get("MLFLOW_TRACKING_URI") or options.uri or f"sqlite:///{results}/mlflow.db"
    # SQLAlchemy takes this for psycopg2; the driver here is psycopg 3
    uri = re.sub(r"^postgres(ql)?://", "postgresql+psycopg://", uri)
    if uri.startswith("sqlite:///"):
        uri = f"sqlite:///{Path(uri.removeprefix('sqlite:///')).resolve()}"
        return Store(uri, Path(uri.removeprefix("sqlite:///")).parent / "mlartifacts")  # beside the database
    return Store(uri, None if uri.startswith("http") else results / "mlartifacts")


def import_mlflow() -> None:
    """Import mlflow with short timeouts and without its messages. Takes about 4 s."""
    for key, value in QUIET.items():
        os.environ.setdefault(key, value)
    import mlflow  # noqa: F401

    for name in ("mlflow", "alembic", "urllib3.connectionpool", "sqlalchemy.pool"):  # migrations, retries
        logging.getLogger(name).setLevel(logging.CRITICAL)


def open_client(store: Store) -> Any:
    """An MLflow client of the store, whose database is made if it is empty."""
    import_mlflow()
    from mlflow import MlflowClient

    with _alone(store):
        return MlflowClient(tracking_uri=store.uri)  # the constructor makes the schema


def experiment_id(client: Any, name: str, store: Store) -> str:
    """The experiment of this name, made if there is none."""
    found = client.get_experiment_by_name(name)
    if found is not None:
        return found.experiment_id
    try:
        return client.create_experiment(name, store.artifacts.as_uri() if store.artifacts else None)
    except Exception:
        found = client.get_experiment_by_name(name)  # someone else made it in between
        if found is None:
            raise
        return found.experiment_id


def patiently(do: Callable[[], T], store: Store) -> T:
    """What `do` returns. When it raises, it is done again for PATIENCE_S; then StoreError is raised, which says why."""
    import tenacity

    def told(state: tenacity.RetryCallState) -> None:
        assert state.outcome is not None
        logger.info("%s: %s; trying again", store, first_line(state.outcome.exception()))

    again = tenacity.Retrying(
        stop=tenacity.stop_after_delay(PATIENCE_S),
        wait=tenacity.wait_random_exponential(multiplier=0.5, max=5.0),
        retry=tenacity.retry_if_not_exception_type(ImportError),  # a driver that is not installed
        before_sleep=told,
        reraise=True,
    )
    try:
        return again(do)
    except Exception as error:
        raise StoreError(first_line(error)) from error


@contextmanager
def _alone(store: Store) -> Iterator[None]:
    """Hold a lock of the store while its schema may be made: beside a SQLite file, or in PostgreSQL."""
    if store.uri.startswith("sqlite:///"):
        file = Path(store.uri.removeprefix("sqlite:///"))
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.with_name(f".{file.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
    elif store.uri.startswith("postgresql+psycopg:"):
        import psycopg

        # of the connection, so whoever dies lets go of it
        with psycopg.connect(store.uri.replace("+psycopg", "", 1), connect_timeout=10, autocommit=True) as connection:
            connection.execute("select pg_advisory_lock(%s)", [LOCK])
            yield
    else:
        yield


def first_line(error: BaseException | None) -> str:
    """What went wrong, short enough for one line of the log."""
    return public((str(error).strip().splitlines() or [type(error).__name__])[0][:200])


def public(text: str) -> str:
    """The text without the user and password that a uri may carry: it goes to logs and files."""
    return re.sub(r"//[^/@\s]+@", "//", text)

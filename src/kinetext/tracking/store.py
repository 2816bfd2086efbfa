"""Find the tracking store and open a client: a SQLite file on one machine, or an `mlflow server` or PostgreSQL on a
cluster.

Measured with MLflow 3.17: if eight processes open an empty database at the same time, seven fail ("table runs already
exists", "UniqueViolation"). A process therefore holds a lock while it opens a database; a server opens its database
before it starts. Calls are retried for a while, because a lost connection, for instance when PostgreSQL restarts,
raises an error. Sixteen processes that wrote steadily with log_batch lost no data.
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

RETRY_FOR_S = 30.0  # PostgreSQL is back a few seconds after a crash
LOCK = 0x6B696E65  # number of the advisory lock in PostgreSQL ("kine")
ENVIRONMENT = {  # read when mlflow is imported
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",  # seconds; with the defaults, MLflow waits many minutes for a dead server
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_UV_AUTO_DETECT": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # two lines per run with a server
    "GIT_PYTHON_REFRESH": "quiet",
}
T = TypeVar("T")


class StoreError(Exception):
    """The store still failed after RETRY_FOR_S seconds of retries."""


@dataclass(frozen=True)
class Store:
    """A tracking store.

    `uri` is empty if tracking is off. `artifacts` is the folder of logged files, or None if a server stores them.
    """

    uri: str
    artifacts: Path | None = None

    @property
    def local(self) -> bool:
        """Whether the store is a SQLite file."""
        return self.uri.startswith("sqlite")

    def __str__(self) -> str:
        return hide_password(self.uri)


def find_store(options: TrackingOptions, results: Path) -> Store:
    """Return the store of a results folder.

    The address is MLFLOW_TRACKING_URI if set, otherwise `options.uri`, otherwise a SQLite file in the results folder.
    Paths are made absolute, so that they do not depend on the working directory.
    """
    if not options.enabled:
        return Store("")
    results = results.resolve()
    uri = os.environ.get("MLFLOW_TRACKING_URI") or options.uri or f"sqlite:///{results}/mlflow.db"
    # SQLAlchemy would choose psycopg2; the installed driver is psycopg 3
    uri = re.sub(r"^postgres(ql)?://", "postgresql+psycopg://", uri)
    if uri.startswith("sqlite:///"):
        uri = f"sqlite:///{Path(uri.removeprefix('sqlite:///')).resolve()}"
        return Store(uri, Path(uri.removeprefix("sqlite:///")).parent / "mlartifacts")  # beside the database
    return Store(uri, None if uri.startswith("http") else results / "mlartifacts")


def import_mlflow() -> None:
    """Import mlflow with short time-outs and without its log messages. This takes about 4 s."""
    for key, value in ENVIRONMENT.items():
        os.environ.setdefault(key, value)
    import mlflow  # noqa: F401

    for name in ("mlflow", "alembic", "urllib3.connectionpool", "sqlalchemy.pool"):  # migrations, retries
        logging.getLogger(name).setLevel(logging.CRITICAL)


def open_client(store: Store) -> Any:
    """Return an MLflow client of the store. In an empty database this creates the schema."""
    import_mlflow()
    from mlflow import MlflowClient

    with schema_lock(store):
        return MlflowClient(tracking_uri=store.uri)  # the constructor creates the schema


def experiment_id(client: Any, name: str, store: Store) -> str:
    """Return the id of the experiment with this name. The experiment is created if necessary."""
    experiment = client.get_experiment_by_name(name)
    if experiment is not None:
        return experiment.experiment_id
    try:
        return client.create_experiment(name, store.artifacts.as_uri() if store.artifacts else None)
    except Exception:
        experiment = client.get_experiment_by_name(name)  # another process created it in the meantime
        if experiment is None:
            raise
        return experiment.experiment_id


def retry(call: Callable[[], T], store: Store) -> T:
    """Return the result of `call()`; repeat the call for up to RETRY_FOR_S seconds while it raises.

    Raises StoreError with the last error.
    """
    import tenacity

    def log_failure(state: tenacity.RetryCallState) -> None:
        assert state.outcome is not None
        logger.info("%s: %s; trying again", store, first_line(state.outcome.exception()))

    retrying = tenacity.Retrying(
        stop=tenacity.stop_after_delay(RETRY_FOR_S),
        wait=tenacity.wait_random_exponential(multiplier=0.5, max=5.0),
        retry=tenacity.retry_if_not_exception_type(ImportError),  # a driver that is not installed
        before_sleep=log_failure,
        reraise=True,
    )
    try:
        return retrying(call)
    except Exception as error:
        raise StoreError(first_line(error)) from error


@contextmanager
def schema_lock(store: Store) -> Iterator[None]:
    """Hold a lock of the store while its schema may be created.

    The lock is a file beside a SQLite database, or an advisory lock in PostgreSQL. A server needs none.
    """
    if store.uri.startswith("sqlite:///"):
        file = Path(store.uri.removeprefix("sqlite:///"))
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.with_name(f".{file.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
    elif store.uri.startswith("postgresql+psycopg:"):
        import psycopg

        # the lock belongs to the connection: it is released if this process is killed
        with psycopg.connect(store.uri.replace("+psycopg", "", 1), connect_timeout=10, autocommit=True) as connection:
            connection.execute("select pg_advisory_lock(%s)", [LOCK])
            yield
    else:
        yield


def first_line(error: BaseException | None) -> str:
    """Return the first line of an error's message, at most 200 characters, without passwords."""
    return hide_password((str(error).strip().splitlines() or [type(error).__name__])[0][:200])


def hide_password(text: str) -> str:
    """Return a text for logs and files in which addresses have no user, password or query."""
    text = re.sub(r"//[^/\s]*@", "//", text)
    return re.sub(r"(://[^\s?]*)\?[^\s)'\"]*", r"\1", text)

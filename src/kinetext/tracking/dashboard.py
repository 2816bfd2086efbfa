"""Serve a study's MLflow store on this machine, and print the addresses of its runs (kinetext dashboard).

MLflow 3 opens with an overview for language models, which is empty here. The runs of an experiment are shown at
`#/experiments/ID/runs`.
"""

import os
import socket
import sys
import sysconfig
from pathlib import Path
from urllib.parse import urlsplit

from kinetext.config.report import TrackingOptions
from kinetext.tracking.store import ENVIRONMENT, Store, find_store, open_client


def dashboard(options: TrackingOptions, results: Path, port: int) -> None:
    """Print the address of the runs of each data set, and replace this process by an MLflow server.

    If the store is itself a server, only the addresses are printed. Raises ValueError if tracking is off, nothing is
    logged, or the port is in use.
    """
    store = find_store(options, results)
    if not store.uri:
        raise ValueError("tracking.enabled is false: no run is logged; set it to true, then `kinetext sync-tracking`")
    if store.local and not Path(store.uri.removeprefix("sqlite:///")).is_file():
        raise ValueError(f"{store}: does not exist yet; it is written when the first runs are measured")
    is_server = store.uri.startswith("http")
    base = _origin(store.uri) if is_server else f"http://127.0.0.1:{port}"
    if not is_server:
        check_port(port)  # the printed address would lead to the runs of another study
    for line in addresses(store, base):
        print(line, flush=True)
    if is_server:
        return
    os.environ.update({"PATH": os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", os.defpath)])})
    for key, value in ENVIRONMENT.items():
        os.environ.setdefault(key, value)
    words = ["server", "--backend-store-uri", store.uri, "--host", "127.0.0.1", "--port", str(port)]
    words += ["--workers", "1"]  # for one reader; each of the usual four takes seconds to start
    os.execv(sys.executable, [sys.executable, "-m", "mlflow", *words])


def check_port(port: int) -> None:
    """Raise ValueError if another program of this machine listens on the port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port that was just given back is free
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise ValueError(
                f"port {port}: cannot be used ({error.strerror}), perhaps because a dashboard is open already; choose "
                "another one with `kinetext dashboard --port`"
            ) from None


def addresses(store: Store, base: str) -> list[str]:
    """Return one line per experiment with the address of its runs. Raises ValueError if there is no experiment."""
    experiments = [e for e in open_client(store).search_experiments() if e.name != "Default"]
    if not experiments:
        raise ValueError(f"{store}: holds no runs yet; they are logged when they are measured")
    return [f"{e.name}: {base}/#/experiments/{e.experiment_id}/runs" for e in sorted(experiments, key=lambda e: e.name)]


def _origin(uri: str) -> str:
    parts = urlsplit(uri)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path.rstrip('/')}"

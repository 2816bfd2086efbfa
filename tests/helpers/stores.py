"""Start real stores: a temporary PostgreSQL cluster and `mlflow server`, both without a network."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pytest

BIN = next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)), None)
needs_postgres = pytest.mark.skipif(
    BIN is None or not (BIN / "initdb").exists(),
    reason="PostgreSQL: no server in /usr/lib/postgresql; on Debian: apt-get install postgresql",
)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Postgres:
    """A PostgreSQL cluster in its own folder. It refuses to run as root, so root starts it as nobody."""

    def __init__(self, folder):
        self.folder, self.port = folder, free_port()
        self.user = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"] if os.geteuid() == 0 else []
        if self.user:
            shutil.chown(folder, "nobody")
        self._call("initdb", "-A", "trust", "-U", "kinetext", "--no-sync")
        # fsync protects against crashes of the machine only
        settings = f"-p {self.port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off -c max_connections=200"
        self._call("pg_ctl", "-w", "-t", "120", "-l", folder / "log", "-o", settings, "start")

    def _call(self, program, *words):
        command = [*self.user, BIN / program, "-D", self.folder / "data", *words]
        with open(self.folder / "output", "w") as output:  # no pipe: the server would keep it open
            done = subprocess.run([str(w) for w in command], stdout=output, stderr=output, timeout=150, cwd="/")
        assert done.returncode == 0, (self.folder / "output").read_text()

    def database(self, name):
        """Create an empty database and return its uri."""
        import psycopg

        with psycopg.connect(f"postgresql://kinetext@127.0.0.1:{self.port}/postgres", autocommit=True) as connection:
            connection.execute(f"create database {name}")
        return f"postgresql://kinetext@127.0.0.1:{self.port}/{name}"

    def restart(self):
        """Restart as after a crash: connections are cut without notice, and the log is replayed."""
        self._call("pg_ctl", "-w", "-t", "120", "-l", self.folder / "log", "-m", "immediate", "restart")

    def stop(self):
        self._call("pg_ctl", "-w", "-m", "immediate", "stop")


@contextmanager
def postgres():
    folder = Path(tempfile.mkdtemp(prefix="kinetext-postgres-"))
    try:
        server = Postgres(folder)
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def mlflow_server(backend, folder, workers=1):
    """Run an `mlflow server` over a database and yield its address."""
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--backend-store-uri", backend, "--artifacts-destination", str(folder / "files")]
    environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"}
    with open(folder / "server.log", "w") as log:
        process = subprocess.Popen(
            [*command, "--workers", str(workers)],
            cwd=folder,
            env=environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        address, deadline = f"http://127.0.0.1:{port}", time.monotonic() + 180  # a busy machine took 34 s
        while True:
            try:
                urllib.request.urlopen(f"{address}/health", timeout=5)
                break
            except OSError:
                assert process.poll() is None, (folder / "server.log").read_text()
                assert time.monotonic() < deadline, (folder / "server.log").read_text()
                time.sleep(0.3)
        yield address
    finally:
        os.killpg(process.pid, 15)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            process.wait()

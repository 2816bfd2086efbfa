"""Start the processes of one command on this node, pass signals on to them, and end all when one fails.

Restarting is Snakemake's decision (--retries), so torch's elastic launcher is not needed. That launcher would listen on
all network interfaces and unpickle data that others can write into its store. Here the processes of a single node meet
in a file of a private folder and communicate over the loopback interface. With several nodes the first node opens one
port, on the address of its host name (distributed.py).
"""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

STORE = "KINETEXT_STORE"  # environment variable: where the processes meet, file:///... or tcp://host:port
LAUNCHER = "KINETEXT_LAUNCHER"  # environment variable: the process that started them and ends them
SHUTDOWN_S = 120  # a process that receives SIGTERM may finish its step and save; SLURM itself allows 30 s (KillWait)
POLL_S = 0.05


def start_processes(
    command: Sequence[str], per_node: int, node: int = 0, nodes: int = 1, rendezvous: str | None = None
) -> None:
    """Run `command` in `per_node` processes on this node and wait. `node` is the index of this node among `nodes`.

    `rendezvous` is host:port of the first node if there are several. SIGINT and SIGTERM reach every process as SIGTERM.
    Raises SystemExit with the exit status of the first process that failed, or with 128 + the number of a signal that
    this command received or that ended the process.
    """
    received: list[int] = []
    before = {
        number: signal.signal(number, lambda number, _: received.append(number))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        with tempfile.TemporaryDirectory(prefix="kinetext-") as private:  # nobody else may read or write it
            shared = _variables(per_node, nodes, rendezvous, Path(private))
            processes = []
            for local in range(per_node):
                ranks = {"RANK": str(node * per_node + local), "LOCAL_RANK": str(local)}
                # in a session of its own Ctrl-C does not reach it: it is asked to save instead
                started = subprocess.Popen(command, env={**os.environ, **shared, **ranks}, start_new_session=True)
                processes.append(started)
            failed = _wait(processes, received)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if received:
        sys.exit(128 + received[0])
    if failed is not None:
        status = processes[failed].returncode
        if status < 0:  # ended by a signal, so it printed no error
            name = signal.Signals(-status).name
            print(
                f"kinetext: process {node * per_node + failed} of {per_node * nodes} was ended by {name}",
                file=sys.stderr,
            )
        sys.exit(status if status > 0 else 128 - status)


def _variables(per_node: int, nodes: int, rendezvous: str | None, private: Path) -> dict[str, str]:
    """Return the environment variables that all processes of a node share, named as by torchrun where possible."""
    variables = {
        "WORLD_SIZE": str(per_node * nodes),
        "LOCAL_WORLD_SIZE": str(per_node),
        LAUNCHER: str(os.getpid()),
        STORE: f"tcp://{rendezvous}" if nodes > 1 else (private / "store").as_uri(),
    }
    if nodes == 1:
        loopback = next(name for _, name in socket.if_nameindex() if name.startswith("lo"))
        variables |= {"GLOO_SOCKET_IFNAME": loopback, "NCCL_SOCKET_IFNAME": loopback}
    return variables


def _wait(processes: list[subprocess.Popen], received: list[int]) -> int | None:
    """Wait until all processes have ended; return the index of the first one that failed, or None.

    When a process fails, or `received` has a signal, the others get SIGTERM, and SIGKILL after SHUTDOWN_S seconds.
    """
    failed, kill_s = None, None
    while running := [process for process in processes if process.poll() is None]:
        if failed is None:
            failed = _first_failure(processes)
        if kill_s is None and (received or failed is not None):
            kill_s = time.monotonic() + SHUTDOWN_S
            for process in running:
                process.terminate()
        if kill_s is not None and time.monotonic() > kill_s:
            for process in running:
                process.kill()
        time.sleep(POLL_S)
    return _first_failure(processes) if failed is None else failed


def _first_failure(processes: list[subprocess.Popen]) -> int | None:
    return next((index for index, process in enumerate(processes) if process.returncode), None)

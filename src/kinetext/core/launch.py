"""A command as several processes: one a GPU, on one machine or several, by torchrun, which is part of torch. And which of a
machine's GPUs a command takes, so that two jobs of Snakemake do not share one while another is idle.

On several nodes the command runs once on each, started by SLURM's srun; the nodes meet at the first (c10d rendezvous).
Nothing here imports torch unless there are several processes to start.
"""

import logging
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from filelock import FileLock, Timeout

log = logging.getLogger(__name__)
MEET = "KINETEXT_MEET"  # in the environment of what srun starts: host:port of the first node
GRACE_S = 120  # a process told to stop may finish its step and save for so long; SLURM itself grants 30 s (KillWait)

_taken: list[FileLock] = []  # held as long as this process lives


def launch(gpus: int, nodes: int) -> bool:
    """Run this command again as gpus x nodes processes, one a GPU, and wait for their end; False if it is to be run right
    here: as one process, or as one of those.

    Takes the GPUs. Without a GPU in the machine there are as many processes on the CPU; with `gpus` 0 there is one, and GPUs
    are left alone. Raises ValueError where that cannot be, SystemExit with the exit status of a process that failed.
    """
    if "TORCHELASTIC_RUN_ID" in os.environ:  # torchrun started it
        return False
    if nodes > 1 and MEET not in os.environ:
        start_on_nodes(nodes)
    take_gpus(gpus)
    if gpus * nodes <= 1:
        return False
    start_processes(max(1, gpus), nodes, os.environ.get(MEET))
    return True


def start_on_nodes(nodes: int) -> None:
    """Become the srun that runs this command once on each node of a SLURM job."""
    if "SLURM_JOB_ID" not in os.environ or not shutil.which("srun"):
        raise ValueError(
            f"--nodes {nodes}: this is no SLURM job; elsewhere run on every node: torchrun --nnodes {nodes} "
            "--nproc-per-node GPUS --rdzv-backend c10d --rdzv-endpoint FIRST_NODE:29400 -m -- kinetext "
            f"{shlex.join(sys.argv[1:])}"
        )
    with socket.socket() as free:
        free.bind(("", 0))
        os.environ[MEET] = f"{socket.gethostname()}:{free.getsockname()[1]}"
    many = ["--nodes", str(nodes), "--ntasks", str(nodes), "--ntasks-per-node", "1"]
    if "SLURM_CPUS_PER_TASK" in os.environ:  # srun does not take it over from sbatch (since 22.05)
        many += ["--cpus-per-task", os.environ["SLURM_CPUS_PER_TASK"]]
    os.execvp("srun", ["srun", "--overlap", "--kill-on-bad-exit=1", *many, *_again()])


def start_processes(each: int, nodes: int, meet: str | None) -> None:
    """Run this command `each` times on this node, joined with those of the other nodes."""
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)  # what failed speaks for itself
    config = LaunchConfig(
        min_nodes=nodes,
        max_nodes=nodes,
        nproc_per_node=each,
        run_id=meet or f"kinetext-{os.getpid()}",
        rdzv_backend="c10d",
        rdzv_endpoint=meet or "localhost:0",
        local_addr=None if meet else "localhost",
        max_restarts=0,  # Snakemake's to decide (--retries)
        shutdown_timeout=GRACE_S,
    )
    program, *arguments = _again()
    try:
        elastic_launch(config, program)(*arguments)
    except ChildFailedError as error:
        first, failure = error.get_first_failure()
        if failure.exitcode < 0:  # it could not say why itself
            name = signal.Signals(-failure.exitcode).name
            print(f"kinetext: process {first} of {each * nodes} was ended by {name}", file=sys.stderr)
        sys.exit(failure.exitcode if failure.exitcode > 0 else 128 - failure.exitcode)
    except SignalException as told:
        sys.exit(128 + told.sigval)


def _again() -> list[str]:
    return [sys.executable, "-m", "kinetext", *sys.argv[1:]]


def take_gpus(count: int, wait_s: float = 1.0) -> None:
    """Leave this process, and those that it starts, `count` GPUs that no other kinetext process of yours has, waiting for
    them if need be. What CUDA_VISIBLE_DEVICES leaves out, as a scheduler sets it, is left alone.
    """
    setting = os.environ.get("CUDA_VISIBLE_DEVICES")
    gpus = visible(installed(), setting)
    if count == 0:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    if not gpus or count == 0:
        return
    if count > len(gpus):
        raise ValueError(
            f"--gpus {count}: this machine has {len(gpus)} (CUDA_VISIBLE_DEVICES is {setting}); ask for fewer"
        )
    folder = Path(tempfile.gettempdir())
    locks = free(gpus, count, folder)
    if not locks:
        log.warning("other jobs have taken so many of the %d GPUs that no %d are free; waiting", len(gpus), count)
    while not locks:
        time.sleep(wait_s)
        locks = free(gpus, count, folder)
    _taken[:] = locks.values()
    os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(locks)


def free(gpus: list[str], count: int, folder: Path) -> dict[str, FileLock]:
    """Locks of the first `count` GPUs that are free, by the GPUs' names; none if there are not so many. The system lets go
    of them when the process ends, whatever ends it.
    """
    locks: dict[str, FileLock] = {}
    for gpu in gpus:
        lock = FileLock(folder / f"kinetext-{os.getuid()}-{gpu}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            continue
        locks[gpu] = lock
        if len(locks) == count:
            return locks
    for lock in locks.values():
        lock.release()
    return {}


def visible(gpus: list[str], setting: str | None) -> list[str]:
    """The GPUs that CUDA_VISIBLE_DEVICES names, by number or by name, of all that there are."""
    if setting is None:
        return gpus
    names = [name.strip() for name in setting.split(",") if name.strip()]
    return [gpus[int(name)] if name.isdecimal() and int(name) < len(gpus) else name for name in names]


def installed() -> list[str]:
    """The names of this machine's NVIDIA GPUs, which stay the same whatever part of them a job may see."""
    if not shutil.which("nvidia-smi"):
        return []
    query = ["nvidia-smi", "--query-gpu=uuid", "--format=csv,noheader"]
    said = subprocess.run(query, capture_output=True, text=True, check=False)
    return [line.strip() for line in said.stdout.splitlines() if line.startswith("GPU-")]

"""Start a command as several processes, one per GPU, on one machine or several; reserve the GPUs that a command uses.

torchrun, a part of torch, starts the processes of a machine. On several nodes SLURM's srun runs the command once per node, and
the nodes find each other at the first one (c10d rendezvous). torch is imported only if there are several processes to start.
"""

import logging
import os
import shlex
import shutil
import signal
import socket
import sys
import tempfile
import time
from pathlib import Path

from filelock import FileLock, Timeout

log = logging.getLogger(__name__)
RENDEZVOUS = "KINETEXT_RENDEZVOUS"  # environment variable that srun passes on: host:port of the first node
SHUTDOWN_S = 120  # a process that receives SIGTERM may finish its step and save; SLURM itself allows 30 s (KillWait)

_gpu_locks: list[FileLock] = []  # held as long as this process lives


def launch(gpus: int, nodes: int) -> bool:
    """Run this command as gpus x nodes processes, one per GPU, and wait for them.

    Return False if the caller is to run the command itself: as the only process, or as one that torchrun started. Reserves the
    GPUs. A machine without GPUs runs as many processes on the CPU; with `gpus` 0 there is one process, and it uses no GPU.
    Raises ValueError if there are not so many GPUs or nodes, SystemExit with the exit status of a process that failed.
    """
    if "TORCHELASTIC_RUN_ID" in os.environ:  # started by torchrun
        return False
    if nodes > 1 and RENDEZVOUS not in os.environ:
        exec_srun(nodes)
    reserve_gpus(gpus)
    if gpus * nodes <= 1:
        return False
    start_processes(max(1, gpus), nodes, os.environ.get(RENDEZVOUS))
    return True


def exec_srun(nodes: int) -> None:
    """Replace this process by an srun that runs this command once on each node of a SLURM job.

    Raises ValueError outside a SLURM job.
    """
    if "SLURM_JOB_ID" not in os.environ or not shutil.which("srun"):
        raise ValueError(
            f"--nodes {nodes}: not inside a SLURM job. Without SLURM run on every node: torchrun --nnodes {nodes} "
            "--nproc-per-node GPUS --rdzv-backend c10d --rdzv-endpoint FIRST_NODE:29400 -m -- kinetext "
            f"{shlex.join(sys.argv[1:])}"
        )
    with socket.socket() as unused:
        unused.bind(("", 0))
        os.environ[RENDEZVOUS] = f"{socket.gethostname()}:{unused.getsockname()[1]}"
    options = ["--nodes", str(nodes), "--ntasks", str(nodes), "--ntasks-per-node", "1"]
    if "SLURM_CPUS_PER_TASK" in os.environ:  # since SLURM 22.05 srun does not inherit it from sbatch
        options += ["--cpus-per-task", os.environ["SLURM_CPUS_PER_TASK"]]
    os.execvp("srun", ["srun", "--overlap", "--kill-on-bad-exit=1", *options, *_this_command()])


def start_processes(per_node: int, nodes: int, rendezvous: str | None) -> None:
    """Run this command `per_node` times on this node, connected with the processes of the other nodes.

    Raises SystemExit with the exit status of a process that failed, or 128 + the number of the signal that ended it.
    """
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)  # the failed process prints its own error
    config = LaunchConfig(
        min_nodes=nodes,
        max_nodes=nodes,
        nproc_per_node=per_node,
        run_id=rendezvous or f"kinetext-{os.getpid()}",
        rdzv_backend="c10d",
        rdzv_endpoint=rendezvous or "localhost:0",
        local_addr=None if rendezvous else "localhost",
        max_restarts=0,  # restarting is Snakemake's decision (--retries)
        shutdown_timeout=SHUTDOWN_S,
    )
    program, *arguments = _this_command()
    try:
        elastic_launch(config, program)(*arguments)
    except ChildFailedError as error:
        process, failure = error.get_first_failure()
        if failure.exitcode < 0:  # ended by a signal, so it printed no error
            name = signal.Signals(-failure.exitcode).name
            print(f"kinetext: process {process} of {per_node * nodes} was ended by {name}", file=sys.stderr)
        sys.exit(failure.exitcode if failure.exitcode > 0 else 128 - failure.exitcode)
    except SignalException as error:
        sys.exit(128 + error.sigval)


def _this_command() -> list[str]:
    return [sys.executable, "-m", "kinetext", *sys.argv[1:]]


def reserve_gpus(count: int, poll_s: float = 1.0) -> None:
    """Restrict this process and its children to `count` GPUs that no other kinetext process of this user holds.

    Waits until enough are free. GPUs that CUDA_VISIBLE_DEVICES excludes, as set by a scheduler, are never used. Raises
    ValueError if the machine has fewer than `count`.
    """
    setting = os.environ.get("CUDA_VISIBLE_DEVICES")
    gpus = visible_gpus(installed_gpus(), setting)
    if count == 0:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    if not gpus or count == 0:
        return
    if count > len(gpus):
        raise ValueError(
            f"--gpus {count}: this machine has {len(gpus)} (CUDA_VISIBLE_DEVICES is {setting}); ask for fewer"
        )
    folder = Path(tempfile.gettempdir())
    locks = lock_gpus(gpus, count, folder)
    if not locks:
        log.warning("fewer than %d of the %d GPUs are free; waiting for other kinetext jobs", count, len(gpus))
    while not locks:
        time.sleep(poll_s)
        locks = lock_gpus(gpus, count, folder)
    _gpu_locks[:] = locks.values()
    os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(locks)


def lock_gpus(gpus: list[str], count: int, folder: Path) -> dict[str, FileLock]:
    """Return locks of the first `count` free GPUs by their UUIDs, or none if fewer are free.

    The operating system releases a lock when its process ends, however it ends.
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


def visible_gpus(gpus: list[str], setting: str | None) -> list[str]:
    """Return the GPUs that CUDA_VISIBLE_DEVICES names, by number or UUID; all of them if it is not set."""
    if setting is None:
        return gpus
    names = [name.strip() for name in setting.split(",") if name.strip()]
    return [gpus[int(name)] if name.isdecimal() and int(name) < len(gpus) else name for name in names]


def installed_gpus() -> list[str]:
    """Return the UUIDs of this machine's NVIDIA GPUs, whatever CUDA_VISIBLE_DEVICES says; none without a driver."""
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:  # no driver, or no GPU
        return []
    try:
        handles = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
        return [pynvml.nvmlDeviceGetUUID(handle) for handle in handles]
    finally:
        pynvml.nvmlShutdown()

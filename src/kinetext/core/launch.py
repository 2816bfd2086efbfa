"""Start a command as several processes, one per GPU, on one machine or several; reserve the GPUs that a command uses.

With several nodes, SLURM's srun runs the command once per node. Each node starts its processes (processes.py), and all
processes connect to the first node. A command that torchrun started runs unchanged.
"""

import logging
import os
import shlex
import shutil
import socket
import sys
import tempfile
import time
from pathlib import Path

from filelock import FileLock, Timeout

from kinetext.core.processes import STORE, start_processes

log = logging.getLogger(__name__)
RENDEZVOUS = "KINETEXT_RENDEZVOUS"  # environment variable that srun passes on: host:port of the first node

_gpu_locks: list[FileLock] = []  # held as long as this process lives


def launch(gpus: int, nodes: int) -> bool:
    """Run this command as gpus x nodes processes, one per GPU, and wait for them. Reserve the GPUs.

    Return False if the caller must run the command itself, because it is the only process or one of those already
    started. On a machine without GPUs the same number of processes runs on the CPU. With `gpus` 0 one process runs,
    without a GPU. Raises ValueError if there are fewer GPUs than requested, or if `nodes` > 1 outside a SLURM job.
    Raises SystemExit with the exit status of a process that failed.
    """
    if STORE in os.environ or "TORCHELASTIC_RUN_ID" in os.environ:  # started by this function or by torchrun
        return False
    if nodes > 1 and RENDEZVOUS not in os.environ:
        exec_srun(nodes)
    reserve_gpus(gpus)
    if gpus * nodes <= 1:
        return False
    node = int(os.environ["SLURM_NODEID"]) if nodes > 1 else 0
    start_processes(_this_command(), max(1, gpus), node, nodes, os.environ.get(RENDEZVOUS))
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


def _this_command() -> list[str]:
    return [sys.executable, "-m", "kinetext", *sys.argv[1:]]


def reserve_gpus(count: int, poll_s: float = 1.0) -> None:
    """Restrict this process and its children to `count` GPUs that no other kinetext process of this user has reserved.

    Waits until enough GPUs are free. GPUs that CUDA_VISIBLE_DEVICES excludes, for instance on a cluster, are never
    used. On a machine without GPUs nothing is reserved. Raises ValueError if there are GPUs, but fewer than `count`.
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
    """Lock the first `count` free GPUs; return UUID -> lock, or an empty dictionary if fewer are free.

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
    """Return the GPUs that `setting` (CUDA_VISIBLE_DEVICES) names by number or UUID; all `gpus` if it is None."""
    if setting is None:
        return gpus
    names = [name.strip() for name in setting.split(",") if name.strip()]
    return [gpus[int(name)] if name.isdecimal() and int(name) < len(gpus) else name for name in names]


def installed_gpus() -> list[str]:
    """Return the UUIDs of all NVIDIA GPUs of this machine, without regard to CUDA_VISIBLE_DEVICES."""
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

"""A real SLURM of a few nodes on this machine, for as long as a `with` lasts: munge, slurmctld and one slurmd a node.

It needs root and Debian's packages slurmctld, slurmd, slurm-client and munge; no systemd, no cgroups, no accounting
database. GPUs are null devices that SLURM counts and hands out. All lies in one folder, but for the link
/etc/slurm/slurm.conf: the Snakemake plugin clears SLURM_CONF inside a job, and the srun that it starts there looks at the
built-in place. By hand: `python tests/helpers/slurm_machine.py` keeps one up until Ctrl-C.
"""

import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

LINK = Path("/etc/slurm/slurm.conf")
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch")

# EnforcePartLimits: what can never fit is refused at once instead of waiting for ever. MinJobAge: squeue remembers ended
# jobs. cred_expire: a job of a lost node starts again after so many seconds, 121 by default.
CONF = """\
ClusterName=local
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.sock,cred_expire=5
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
SlurmctldPort=16817
SlurmctldTimeout=10
SlurmdTimeout=10
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_min_interval=0,bf_interval=1
MpiDefault=none
ReturnToService=2
MinJobAge=43200
KillWait=5
EnforcePartLimits=ALL
SlurmdParameters=config_overrides
GresTypes=gpu
{nodes}
PartitionName=cpu Nodes=ALL Default=YES MaxTime=2-0 State=UP
PartitionName=gpu Nodes=ALL MaxTime=2-0 State=UP
"""


def missing() -> str | None:
    """Why there can be no SLURM here, or None."""
    absent = [program for program in PROGRAMS if shutil.which(program) is None]
    if absent:
        return f"no {', '.join(absent)}: apt-get install slurmctld slurmd slurm-client munge"
    if os.geteuid() != 0:
        return "SLURM's daemons need root"
    if LINK.exists() or LINK.is_symlink():
        return f"{LINK} exists: this machine is part of a cluster, another test runs, or one was killed and left it"
    return None


@dataclass
class Slurm:
    """The cluster that is up; `daemons` are the processes that were started for it."""

    folder: Path
    nodes: list[str]
    daemons: dict[str, psutil.Process] = field(default_factory=dict)

    def start(self, name: str, *command: str | Path) -> None:
        """Start a daemon that dies with this process, even if that is killed."""
        bound = ["setpriv", "--pdeathsig", "KILL", *(str(part) for part in command)]
        with open(self.folder / f"{name}.out", "a") as log:
            started = subprocess.Popen(bound, stdout=log, stderr=log, start_new_session=True, cwd=self.folder)
        self.daemons[name] = psutil.Process(started.pid)

    def start_node(self, node: str) -> None:
        """Start a node's slurmd."""
        self.start(node, "slurmd", "-D", "-N", node, "-f", self.folder / "slurm.conf")

    def lose_node(self, node: str) -> None:
        """End a node and all that runs on it without a word, as a power cut does."""
        daemon = self.daemons.pop(node)
        running = [process for process in psutil.process_iter() if _runs_on(process, node)]
        steps = {above for process in running for above in process.parents() if "slurmstepd" in above.name()}
        for process in [daemon, *steps, *running]:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        daemon.wait(10)

    def jobs(self) -> list[dict[str, str]]:
        """Every job that was ever submitted, in that order: number, state, node, partition, GPUs, what it is (the comment)."""
        keys = ("JobID", "State", "NodeList", "Partition", "tres-per-job", "Comment")
        asked = ",".join(f"{key}:|" for key in keys)
        lines = say("squeue", "--states=all", "--noheader", "--sort=i", f"--Format={asked}").splitlines()
        return [dict(zip(keys, (part.strip() for part in line.split("|")), strict=False)) for line in lines]


def _runs_on(process: psutil.Process, node: str) -> bool:
    with suppress(psutil.Error):
        return process.environ().get("SLURMD_NODENAME") == node
    return False


def say(*command: str) -> str:
    """What a command of SLURM prints."""
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout


@contextmanager
def slurm(folder: Path, nodes: int = 2, cpus: int = 8, memory_mb: int = 64_000, gpus: int = 1) -> Iterator[Slurm]:
    """A cluster of nodes n1, n2, ... that say they have so much each. RuntimeError if it does not come up."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o755)  # munged insists on it
    names = [f"n{number + 1}" for number in range(nodes)]
    write_configuration(folder, names, cpus, memory_mb, gpus)
    LINK.parent.mkdir(exist_ok=True)
    LINK.symlink_to(folder / "slurm.conf")
    up = Slurm(folder, names)
    try:
        munge = {"key-file": "munge.key", "socket": "munge.sock", "pid-file": "munged.pid", "seed-file": "munge.seed"}
        up.start("munged", "munged", "-F", "--force", *(f"--{key}={folder / file}" for key, file in munge.items()))
        wait_for(lambda: (folder / "munge.sock").exists(), "munged", folder)
        up.start("slurmctld", "slurmctld", "-D", "-c", "-f", folder / "slurm.conf")
        for name in names:
            up.start_node(name)
        wait_for(lambda: set(say("sinfo", "-h", "-N", "-o", "%t").split()) == {"idle"}, "slurmd", folder)
        yield up
    finally:
        with suppress(subprocess.SubprocessError):
            say("scancel", "--user=root")
            wait_for(lambda: not say("squeue", "-h"), "scancel", folder, seconds=10)
        for daemon in reversed(up.daemons.values()):
            with suppress(psutil.NoSuchProcess):
                daemon.kill()
        LINK.unlink(missing_ok=True)


def write_configuration(folder: Path, nodes: list[str], cpus: int, memory_mb: int, gpus: int) -> None:
    """slurm.conf, gres.conf, the GPUs and the key that the daemons know each other by."""
    host = socket.gethostname().split(".")[0]
    lines, gres = [], []
    for number, node in enumerate(nodes):
        port = f"NodeHostname={host} NodeAddr=127.0.0.1 Port={16818 + number}"
        lines.append(f"NodeName={node} {port} CPUs={cpus} RealMemory={memory_mb} Gres=gpu:{gpus} State=UNKNOWN")
        for gpu in range(gpus):  # a GPU without a file drains its node
            os.mknod(folder / f"{node}-gpu{gpu}", 0o020666, os.makedev(1, 3))
            gres.append(f"NodeName={node} Name=gpu File={folder / f'{node}-gpu{gpu}'}")
    (folder / "slurm.conf").write_text(CONF.format(host=host, folder=folder, nodes="\n".join(lines)))
    (folder / "gres.conf").write_text("\n".join(gres) + "\n")
    (folder / "munge.key").touch(mode=0o600)
    (folder / "munge.key").write_bytes(secrets.token_bytes(1024))


def wait_for(condition, what: str, folder: Path, seconds: float = 60) -> None:
    """Wait until the condition holds. RuntimeError with the ends of the logs when it does not."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with suppress(subprocess.SubprocessError):
            if condition():
                return
        time.sleep(0.2)
    logs = "\n".join(f"{log.name}: {log.read_text()[-1000:]}" for log in sorted(folder.glob("*.log")))
    raise RuntimeError(f"{what} does not come up\n{logs}")


if __name__ == "__main__":
    reason = missing()
    if reason:
        sys.exit(reason)
    import tempfile

    with tempfile.TemporaryDirectory() as folder, slurm(Path(folder)):
        print(say("sinfo"), "Ctrl-C ends it", sep="\n")
        with suppress(KeyboardInterrupt):
            while True:
                time.sleep(1)

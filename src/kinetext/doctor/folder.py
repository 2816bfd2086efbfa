"""A results folder as a place to write to: room, locks, clocks, what was left behind by what was killed, MLflow's database."""

import fcntl
import re
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import quote

import psutil

from kinetext.config.report import TrackingOptions
from kinetext.core.files import ADVICE
from kinetext.doctor.files import Said, first_line
from kinetext.tracking.store import find_store

ROOM_GIB = 1.0  # less free disk than this is a finding
AHEAD_S = 10.0  # the clocks of a file server and of this machine may differ by so much
NAMED = 3  # of many files so many are named


def check_disk(results: Path) -> Iterator[Said]:
    """Free space, whether the folder can be written to, and whether it has file locks."""
    free_gib = shutil.disk_usage(results).free / 2**30
    if free_gib < ROOM_GIB:
        yield Said(results, f"{free_gib:.2f} GiB of its disk are free, less than {ROOM_GIB:g}", "free space there")
    try:
        with tempfile.TemporaryFile(dir=results) as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                todo = "set `results`, or `uri` of `tracking`, to a disk that has them"
                yield Said(results, f"has no file locks ({error.strerror}), which MLflow's database needs", todo)
    except OSError as error:
        yield Said(results, f"cannot be written to ({error.strerror})", ADVICE.get(error.errno or 0, "make it yours"))


def check_clock(results: Path, files: Sequence[Path]) -> Iterator[Said]:
    """Files that are dated in the future: Snakemake takes what is made of them for older, and makes it again."""
    now_s = time.time()
    ahead = [path for path in files if _changed_s(path) > now_s + AHEAD_S]
    if ahead:
        named = ", ".join(map(str, ahead[:NAMED])) + (", ..." if len(ahead) > NAMED else "")
        yield Said(
            results,
            f"{len(ahead)} files are dated in the future, as after a clock that was wrong: {named}",
            f"`find {results} -newermt now -exec touch {{}} +`, and after it, not before, `snakemake --touch`: it dates anew "
            "what was made of them, and deletes it where they are still ahead",
        )


def check_left(files: Sequence[Path]) -> Iterator[Said]:
    """Temporary files (disk.py) of processes that are gone."""
    for path in files:
        named = re.fullmatch(r"\..+\.(\d+)\.tmp", path.name)
        if named and not psutil.pid_exists(int(named[1])):
            yield Said(path, "was left half written by a process that is gone from this machine", "delete it")


def check_locks(results: Path) -> Iterator[Said]:
    """Snakemake's locks on this folder, taken from where the folder lies or from where we are. One that runs here holds them
    by right.
    """
    for place in sorted({results.resolve().parent, Path.cwd()}):
        locks = sorted((place / ".snakemake/locks").glob("*"))
        locked = {place / line for lock in locks for line in lock.read_text(errors="replace").splitlines()}
        if any(path.is_relative_to(results.resolve()) for path in locked) and not _snakemake_runs(place):
            todo = "if none runs on another machine either, `snakemake --unlock`"
            yield Said(place / ".snakemake/locks", "a Snakemake that was killed has left its locks", todo)


def check_database(results: Path, tracking: TrackingOptions) -> Iterator[Said]:
    """MLflow's database, where it is a file."""
    store = find_store(tracking, results)
    path = Path(store.uri.removeprefix("sqlite:///"))
    if not store.local or not path.exists():
        return
    try:
        database = sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True)
        try:
            said = [row[0] for row in database.execute("pragma quick_check(1)")]
        finally:
            database.close()
    except sqlite3.Error as error:
        said = [first_line(error)]
    if said != ["ok"]:
        todo = f"delete it, then `kinetext sync-tracking {results}` makes it again"
        yield Said(path, f"is not whole ({said[0]})", todo)


def _changed_s(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:  # removed in between
        return 0.0


def _snakemake_runs(place: Path) -> bool:
    for process in psutil.process_iter():
        try:
            if Path(process.cwd()) == place and any(Path(word).name == "snakemake" for word in process.cmdline()[:3]):
                return True
        except (psutil.Error, OSError):  # ended, or another user's
            continue
    return False

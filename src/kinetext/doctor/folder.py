"""Check a results folder: space and write permission, locks, dates in the future, leftover files, and MLflow's
database.
"""

import fcntl
import shlex
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import quote

import psutil

from kinetext.config.report import TrackingOptions
from kinetext.core.files import ADVICE, is_left_behind
from kinetext.doctor.files import Finding, first_line
from kinetext.tracking.store import find_store

MIN_FREE_GIB = 1.0
CLOCK_TOLERANCE_S = 10.0  # the clocks of a file server and of this machine may differ by this much
MAX_NAMED = 3  # of many files this many are named


def check_disk(results: Path) -> Iterator[Finding]:
    """Yield findings about too little free space, missing write permission and missing file locks."""
    free_gib = shutil.disk_usage(results).free / 2**30
    if free_gib < MIN_FREE_GIB:
        yield Finding(results, f"its disk has {free_gib:.2f} GiB free, less than {MIN_FREE_GIB:g}", "free space there")
    try:
        with tempfile.TemporaryFile(dir=results) as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                repair = "set `results`, or `tracking.uri`, to a disk with file locks"
                yield Finding(results, f"has no file locks ({error.strerror}), which MLflow's database needs", repair)
    except OSError as error:
        repair = ADVICE.get(error.errno or 0, "change its owner or mode")
        yield Finding(results, f"cannot be written to ({error.strerror})", repair)


def check_clock(results: Path, files: Sequence[Path]) -> Iterator[Finding]:
    """Report files dated in the future: Snakemake considers files made from them outdated and creates them again."""
    now_s = time.time()
    ahead = [path for path in files if _modified_s(path) > now_s + CLOCK_TOLERANCE_S]
    if ahead:
        examples = ", ".join(map(str, ahead[:MAX_NAMED])) + (", ..." if len(ahead) > MAX_NAMED else "")
        yield Finding(
            results,
            f"{len(ahead)} files are dated in the future, perhaps by a wrong clock: {examples}",
            f"`find {shlex.quote(str(results))} -newermt now -exec touch {{}} +`, and only then `snakemake --touch`, which updates the dates "
            "of the files made from them, and deletes those that are still ahead",
        )


def check_leftovers(files: Sequence[Path]) -> Iterator[Finding]:
    """Report temporary files (core/files.py) left by processes that no longer exist."""
    for path in files:
        if is_left_behind(path.name):
            yield Finding(path, "is a partial file of a process that no longer exists on this machine", "delete it")


def check_locks(results: Path) -> Iterator[Finding]:
    """Report locks that a killed Snakemake left on this folder.

    Locks are looked for beside the folder and in the current folder. They are not reported while a Snakemake runs
    there.
    """
    for folder in sorted({results.resolve().parent, Path.cwd()}):
        locks = sorted((folder / ".snakemake/locks").glob("*"))
        locked = {folder / line for lock in locks for line in lock.read_text(errors="replace").splitlines()}
        if any(path.is_relative_to(results.resolve()) for path in locked) and not _snakemake_runs(folder):
            repair = "if none runs on another machine either, `snakemake --unlock`"
            yield Finding(folder / ".snakemake/locks", "a killed Snakemake left its locks", repair)


def check_database(results: Path, tracking: TrackingOptions) -> Iterator[Finding]:
    """Report damage in MLflow's database if it is a SQLite file."""
    store = find_store(tracking, results)
    path = Path(store.uri.removeprefix("sqlite:///"))
    if not store.local or not path.exists():
        return
    try:
        database = sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True)
        try:
            messages = [row[0] for row in database.execute("pragma quick_check(1)")]
        finally:
            database.close()
    except sqlite3.Error as error:
        messages = [first_line(error)]
    if messages != ["ok"]:
        repair = f"delete it, then `kinetext sync-tracking {shlex.quote(str(results))}` rebuilds it"
        yield Finding(path, f"is damaged ({messages[0]})", repair)


def _modified_s(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:  # deleted in the meantime
        return 0.0


def _snakemake_runs(folder: Path) -> bool:
    for process in psutil.process_iter():
        try:
            if Path(process.cwd()) == folder and any(Path(word).name == "snakemake" for word in process.cmdline()[:3]):
                return True
        except (psutil.Error, OSError):  # ended in the meantime, or another user's
            continue
    return False

"""Write files atomically, and report in one sentence why a disk refuses a file, for instance because it is full.

Existing files are not changed, so the same command can resume once the disk accepts files again.
"""

import errno
import glob
import os
import platform
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HOST = re.sub(r"[^A-Za-z0-9]", "", platform.node())[:32]  # its processes are those whose numbers we know
TEMPORARY = re.compile(r"\..+\.(?P<host>[A-Za-z0-9]*)-(?P<pid>\d+)-\d+\.tmp")

ADVICE = {
    errno.ENOSPC: "free space there",
    errno.EDQUOT: "free some of your quota there",
    errno.EFBIG: "raise the limit on the size of files (ulimit -f)",
    errno.EROFS: "mount it writable, or set `results` to another folder",
    errno.EACCES: "change its owner or mode, or set `results` to another folder",
    errno.EPERM: "change its owner or mode, or set `results` to another folder",
    errno.EIO: "the disk or its network fails; see dmesg",
}


class DiskError(OSError, ValueError):
    """The error for a file that could not be written.

    It is an OSError, so that code that does not need the file can ignore it, and a ValueError, so that the command line
    prints it without a traceback.
    """


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it to `path` if the block succeeds, and delete it if not.

    Temporary files for `path` that a killed process of this machine left behind are deleted first. Raises DiskError if
    the disk refuses the file. Other errors of the block are passed on.
    """
    part = path.with_name(f".{path.name}.{HOST}-{os.getpid()}-{threading.get_native_id()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for left in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
            if is_left_behind(left.name):
                left.unlink(missing_ok=True)
        yield part
        os.replace(part, path)
    except Exception as error:
        number = disk_errno(error)
        if number is None:
            raise
        advice = ADVICE[number]
        raise DiskError(f"{path}: cannot be written ({os.strerror(number)}); {advice} and run it again") from error
    finally:
        if os.path.lexists(part):
            part.unlink(missing_ok=True)


def is_left_behind(name: str) -> bool:
    """Return whether `name` is the name of a temporary file that an ended process of this machine left behind."""
    match = TEMPORARY.fullmatch(name)
    return match is not None and match["host"] == HOST and not _is_running(int(match["pid"]))


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # another user's
        return True
    return True


def disk_errno(error: BaseException) -> int | None:
    """Return the errno of a failed disk write, or None if the error has another cause or is not in ADVICE.

    safetensors states the errno only in its message. torch.save raises its own error, with the disk's error as context.
    """
    number = error.errno if isinstance(error, OSError) else None
    if number is None and (match := re.search(r"\(os error (\d+)\)", str(error))):
        number = int(match[1])
    if number is None and error.__context__ is not None:
        return disk_errno(error.__context__)
    return number if number in ADVICE else None

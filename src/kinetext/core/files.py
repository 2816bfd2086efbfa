"""Write files atomically, and report in one message why a disk refuses a file: it is full, read-only or over quota.

Files that exist stay as they are; the same command resumes when the disk accepts files again.
"""

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

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
    """A file that could not be written. As an OSError, it can be ignored by code that does not need the file; as a
    ValueError, the command line prints it without a traceback.
    """


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it to `path` if the block succeeds, delete it if not.

    Raises DiskError if the disk refuses the file. Other errors of the block are passed on.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
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


def disk_errno(error: BaseException) -> int | None:
    """Return the errno with which a disk refused to write, or None if the error has another cause.

    safetensors has the number in its message only; torch.save raises an error of its own in place of the file's.
    """
    number = error.errno if isinstance(error, OSError) else None
    if number is None and (match := re.search(r"\(os error (\d+)\)", str(error))):
        number = int(match[1])
    if number is None and error.__context__ is not None:
        return disk_errno(error.__context__)
    return number if number in ADVICE else None

"""Files that are written whole or not at all, and one sentence where the disk refuses: a full one, a quota, a folder that may
not be written to. What is finished stays as it is; the same command goes on when the disk takes files again.
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
    errno.EACCES: "make it yours, or set `results` to another folder",
    errno.EPERM: "make it yours, or set `results` to another folder",
    errno.EIO: "the disk or its network fails; look at dmesg",
}


class DiskError(OSError, ValueError):
    """A file that could not be written: an OSError to whoever goes on without the file, and, as a ValueError, said in one
    sentence like a user's mistake.
    """


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`; renamed to `path` when the block ends well, removed when it does not.

    Raises DiskError where the disk does not take the file; what else the block raises goes through.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield part
        os.replace(part, path)
    except Exception as error:
        number = refusal(error)
        if number is None:
            raise
        advice = ADVICE[number]
        raise DiskError(f"{path}: cannot be written ({os.strerror(number)}); {advice} and run it again") from error
    finally:
        if os.path.lexists(part):
            part.unlink(missing_ok=True)


def refusal(error: BaseException) -> int | None:
    """The errno with which a disk refused to write, if that is what the error is, or what it came from: safetensors, in
    Rust, puts it into words, and torch.save raises an error of its own over that of its file.
    """
    number = error.errno if isinstance(error, OSError) else None
    if number is None and (said := re.search(r"\(os error (\d+)\)", str(error))):
        number = int(said[1])
    if number is None and error.__context__ is not None:
        return refusal(error.__context__)
    return number if number in ADVICE else None

"""Unpack an archive that is not trusted: only plain files, only below the folder, and only up to a plausible size.

zip and tar are read by the standard library, member by member. rar needs a program: bsdtar (Debian, Ubuntu:
libarchive-tools) or unrar. The names are checked before the program runs, and links are removed afterwards.
"""

import bz2
import gzip
import lzma
import os
import shutil
import subprocess
import tarfile
import time
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath
from tempfile import TemporaryFile
from typing import Any, BinaryIO, cast

from kinetext.core.files import disk_errno
from kinetext.data.lists import printable

MAX_RATIO = 20  # unpacked bytes per byte of the archive; lists have 8 to 18, videos 1
MIN_BYTES = 64 * 2**20  # that any archive may unpack to
MAX_MEMBERS = 1_000_000
MAX_READ = 2**24  # bytes at once; a header that asks for more is a trap
CHUNK = 2**20
RAR_TOOLS = {  # arguments that list names and that unpack into the current folder
    "bsdtar": (["-tf"], ["-xf"]),
    "unrar": (["lb", "-p-"], ["x", "-o-", "-y", "-p-"]),
}
COMPRESSION = {b"\x1f\x8b": gzip.open, b"BZ": bz2.open, b"\xfd7": lzma.open}
DAMAGE = (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, RuntimeError, NotImplementedError)


class Budget:
    """The number of bytes and files that an archive may still unpack to. Archives inside it share the budget."""

    def __init__(self, archive: Path) -> None:
        self.archive = archive
        self.bytes = MAX_RATIO * archive.stat().st_size + MIN_BYTES
        self.members = MAX_MEMBERS

    def spend(self, number: int, members: int = 0) -> None:
        """Subtract `number` bytes and `members` files. Raises ValueError if the budget is exceeded."""
        self.bytes -= number
        self.members -= members
        if self.bytes < 0 or self.members < 0:
            raise ValueError(
                f"{self.archive}: unpacks to more than {MAX_RATIO} times its size or {MAX_MEMBERS} files, which videos and "
                "lists do not; it was not unpacked"
            )


def is_archive(path: Path) -> bool:
    """Return whether the content of a file is a zip, tar or rar archive."""
    return zipfile.is_zipfile(path) or _is_rar(path) or tarfile.is_tarfile(path)


def unpack(archive: Path, folder: Path, budget: Budget | None = None) -> list[str]:
    """Unpack an archive into a new or empty folder. Return the names of links and devices, which are left out.

    Hidden files are left out, too. Raises ValueError if a name leads out of the folder, if the archive is damaged,
    encrypted or unpacks to more than the budget, or if it is a rar and no program can read it. After an error the
    folder is incomplete.
    """
    budget = budget or Budget(archive)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        if _is_rar(archive):
            return _unpack_rar(archive, folder, budget)
        members = _zip_members if zipfile.is_zipfile(archive) else _tar_members
        left_out = []
        for name, content in members(archive, budget):
            path = safe_path(folder, name, archive)
            if content is None:
                left_out.append(name)
            elif path is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
                with content, path.open("xb") as output:
                    _copy(content, output, budget)
        return left_out
    except DAMAGE as error:
        raise ValueError(f"{archive}: cannot be unpacked ({error}); delete it and fetch it again") from None
    except OSError as error:
        if disk_errno(error) is not None:
            raise
        raise ValueError(f"{archive}: cannot be unpacked ({error}); is a name there twice?") from None


def safe_path(folder: Path, name: str, archive: Path) -> Path | None:
    """Return the path of a member below the folder; None if it is hidden.

    Raises ValueError if the name leads out of the folder.
    """
    plain = name.replace("\\", "/")
    parts = PurePosixPath(plain).parts
    if (
        not parts
        or plain.startswith("/")
        or ".." in parts
        or "\0" in name
        or (len(parts[0]) == 2 and parts[0][1] == ":")
    ):
        raise ValueError(f"{archive}: has '{printable(name)}', which leads out of the folder; it was not unpacked")
    if any(part.startswith(".") or part == "__MACOSX" for part in parts):
        return None
    return folder.joinpath(*parts)


def _copy(content: BinaryIO, output: BinaryIO, budget: Budget) -> None:
    """Copy a member. The bytes are counted as they are read, because the size in a header may be wrong."""
    while chunk := content.read(CHUNK):
        budget.spend(len(chunk))
        output.write(chunk)


def _zip_members(archive: Path, budget: Budget) -> Iterator[tuple[str, BinaryIO | None]]:
    """Yield (name, content) of each file in the archive. The content is None for a link."""
    with zipfile.ZipFile(archive) as file:
        for member in file.infolist():
            budget.spend(0, members=1)
            name = member.filename
            if not member.flag_bits & 0x800:  # no mark of UTF-8: the bytes as they are, as other programs unpack them
                with suppress(UnicodeEncodeError):
                    name = os.fsdecode(name.encode("cp437"))
            kind = member.external_attr >> 28  # of Unix's mode; 0 if another system wrote the archive
            if member.is_dir():
                safe_path(archive.parent, name, archive)
            else:
                yield name, cast(BinaryIO, file.open(member)) if kind in (0, 8) else None


def _tar_members(archive: Path, budget: Budget) -> Iterator[tuple[str, BinaryIO | None]]:
    """Yield (name, content) of each file in the archive. The content is None for a link or a device."""
    with archive.open("rb") as raw:
        start = raw.read(2)
    with (
        cast(Any, COMPRESSION.get(start, open))(archive, "rb") as plain,
        tarfile.open(fileobj=cast(Any, _ShortReads(plain)), mode="r:") as file,
    ):
        for member in file:
            budget.spend(0, members=1)
            if member.isdir():
                if member.name not in (".", "./"):
                    safe_path(archive.parent, member.name, archive)
            else:
                yield member.name, cast(BinaryIO, file.extractfile(member)) if member.isreg() else None
            file.members = []  # type: ignore[attr-defined]  # else a list of all members stays in memory


class _ShortReads:
    """A file that refuses to read more than MAX_READ bytes at once, because a tar header can ask for any number."""

    def __init__(self, file: Any) -> None:
        self.seek, self.tell, self._read = file.seek, file.tell, file.read

    def read(self, number: int) -> Any:
        if number > MAX_READ:
            raise tarfile.ReadError(f"a header of {number} bytes")
        return self._read(number)


def _is_rar(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(6) == b"Rar!\x1a\x07"


def _unpack_rar(archive: Path, folder: Path, budget: Budget) -> list[str]:
    """Unpack a rar with an external program, which is stopped if it writes too much. Return the names of links.

    Raises ValueError if no program is installed or if the program fails.
    """
    tool = next(filter(shutil.which, RAR_TOOLS), None)
    if tool is None:
        raise ValueError(
            f"{archive}: is a rar archive, and neither {' nor '.join(RAR_TOOLS)} is installed; install one (Debian, Ubuntu: "
            "apt install libarchive-tools) and run again, nothing is downloaded twice"
        )
    listing, unpacking = RAR_TOOLS[tool]
    archive = archive.absolute()
    names = subprocess.run([tool, *listing, archive], capture_output=True, stdin=subprocess.DEVNULL, check=False)
    if names.returncode:
        raise ValueError(f"{archive}: {tool} cannot read it: {_last_line(names.stderr)}")
    for name in os.fsdecode(names.stdout).splitlines():
        budget.spend(0, members=1)
        safe_path(folder, name, archive)
    with (
        TemporaryFile() as messages,
        subprocess.Popen(
            [tool, *unpacking, archive],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=messages,  # a pipe that is not read would stop a program with many warnings
        ) as process,
    ):
        try:
            while process.poll() is None:
                if _folder_bytes(folder) > budget.bytes:
                    budget.spend(budget.bytes + 1)
                time.sleep(0.05)
        except BaseException:
            process.kill()
            raise
        if process.returncode:
            messages.seek(0)
            raise ValueError(f"{archive}: {tool} cannot unpack it: {_last_line(messages.read())}")
    budget.spend(_folder_bytes(folder))
    return _remove_links(folder)


def _remove_links(folder: Path) -> list[str]:
    """Delete links and hidden files below a folder; return the names of the links."""
    links = []
    for path in sorted(folder.rglob("*")):
        if path.is_symlink():
            links.append(str(path.relative_to(folder)))
            path.unlink()
        elif path.is_file() and path.name.startswith("."):
            path.unlink()
    return links


def _folder_bytes(folder: Path) -> int:
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(parent, name)).st_size
            except FileNotFoundError:  # a temporary file of the program
                continue
    return total


def _last_line(output: bytes) -> str:
    lines = output.decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else "no reason given"

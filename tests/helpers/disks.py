"""Disks that refuse to be written to: a small one in memory that can be full or read-only, and a limit on files' sizes."""

import os
import resource
import subprocess
from contextlib import contextmanager


def no_mounts():
    """Why this process cannot mount anything, or None."""
    if os.geteuid() != 0:
        return "only root can mount a small disk"
    done = subprocess.run(["unshare", "--mount", "true"], capture_output=True, text=True, check=False)
    return f"mounting is not allowed here: {done.stderr.strip()}" if done.returncode else None


@contextmanager
def small_disk(folder, size_kib):
    """A disk of so many KiB at `folder`."""
    folder.mkdir(exist_ok=True)
    mount("-t", "tmpfs", "-o", f"size={size_kib}k", "tmpfs", folder)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def mount(*arguments):
    subprocess.run(["mount", *arguments], check=True)


def fill(folder):
    """The file that takes all room there is."""
    space = os.statvfs(folder)
    filler = folder / "filler"
    with filler.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, space.f_bavail * space.f_frsize)
    return filler


@contextmanager
def files_up_to(size_bytes):
    """No file of this process may become larger: writing fails where a disk would be full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

"""The version of the code that draws the clips of `shapes`, which an audit of these clips depends on."""

import hashlib
from pathlib import Path
from typing import Any

from kinetext.data import motion, scenes


def drawing_hash() -> Any:
    """Return the SHA-256 hash object of all files that draw clips. More can be added to it."""
    files = [*sorted(Path(motion.__path__[0]).glob("*.py")), Path(str(scenes.__file__))]
    return hashlib.sha256(b"".join(path.read_bytes() for path in files))


def drawing_version() -> str:
    """Return the version as 16 hexadecimal digits. It changes with every change of these files, also of a comment."""
    return str(drawing_hash().hexdigest()[:16])

"""The version of the code that draws the clips of `shapes`, which an audit of these clips depends on."""

import ast
import hashlib

from kinetext.core.digests import closure, remove_docstrings

DRAWS = "kinetext.data.motion.kinds"


def drawing_version() -> str:
    """Return a digest of the code that draws clips, with all that it imports: 16 hexadecimal digits.

    Comments, docstrings and layout do not change it, nor does the version of Python.
    """
    digest = hashlib.sha256()
    for name, file in closure([DRAWS]).items():
        tree = ast.parse(file.read_bytes())
        remove_docstrings(tree)
        digest.update(f"{name}\0{ast.unparse(tree)}\0".encode())
    return digest.hexdigest()[:16]

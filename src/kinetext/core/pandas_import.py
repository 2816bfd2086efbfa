"""Keep pyarrow from importing pandas in processes of kinetext: half a second for each."""

import sys
from typing import Any

import pyarrow


def block_pandas_import() -> None:
    """Make pyarrow treat pandas as not installed in this process.

    Without this, pyarrow imports pandas, which takes a second, only to check whether a list is a pandas object. Other
    code can still import pandas.
    """
    sys.meta_path.insert(0, _NoPandas)  # type: ignore[arg-type]
    pyarrow.array([])  # pyarrow tries the import once
    sys.meta_path.remove(_NoPandas)  # type: ignore[arg-type]


class _NoPandas:
    @staticmethod
    def find_spec(name: str, path: Any = None, target: Any = None) -> None:
        if name == "pandas":
            raise ImportError("blocked by kinetext: pyarrow only checks for pandas objects")

"""Find the workflow, run folders, and the input files of a run."""

import difflib
import os
from pathlib import Path
from typing import NamedTuple

LEVELS = ("dataset", "protocol", "backbone", "method", "texts", "seed")  # of a run's name
PACKAGE = Path(__file__).parents[1]


def workflow_folder() -> Path:
    """Return the folder of the Snakefile: the checkout of this package, or the copy inside the installed package.

    Raises ValueError if there is neither.
    """
    for folder in (PACKAGE.parents[1], PACKAGE / "_workflow"):
        if (folder / "Snakefile").is_file() and (folder / "workflow/rules").is_dir():
            return folder
    raise ValueError(f"{PACKAGE}: the workflow is missing; install kinetext from its wheel or its repository")


def suggest_run(folder: Path) -> str:
    """Return "did you mean RUN?" with an existing run folder that resembles `folder`, or "" if there is none.

    Each part of the path that does not exist is replaced by the most similar existing name.
    """
    parts = folder.absolute().parts
    existing = folder.absolute()
    while not existing.is_dir():
        existing = existing.parent
    for name in parts[len(existing.parts) :]:  # a wrong name, and what follows it
        names = [path.name for path in existing.iterdir() if path.is_dir()]
        close = difflib.get_close_matches(name, names, n=1)
        existing = existing / name if name in names else existing / close[0] if close else existing
    runs = existing / "runs"
    if "runs" not in existing.parts and not runs.is_dir():
        return ""  # elsewhere a search may take for ever
    start = runs if runs.is_dir() else existing
    for depth in range(len(LEVELS) + 1):
        run = min(start.glob("/".join(["*"] * depth + ["run.yaml"])), default=None)
        if run is not None:
            return f"did you mean {os.path.relpath(run.parent)}?"
    return ""


class RunPaths(NamedTuple):
    """Paths of the input files of a run. The files may be missing."""

    results: Path
    splits: Path
    frames: Path  # folder of the frame sets, each a folder of shards
    texts: Path
    confusables: Path
    weights: Path  # of the backbone, in its folder


def find_run_paths(folder: Path, run: str) -> RunPaths | None:
    """Return the paths of the input files of a run; `folder` is the run folder.

    `run` is the run's name, {dataset}/{protocol}/{backbone}/{method}/{texts}/seed{n}. Returns None if the folder is
    outside a results folder, or if the run is of an earlier version, in which names had no backbone.
    """
    if len(Path(run).parts) != len(LEVELS):
        return None
    results = folder.resolve()
    for part in reversed(["runs", *Path(run).parts]):
        if results.name != part:
            return None
        results = results.parent
    dataset, protocol, backbone, _, texts, _ = Path(run).parts
    data = results / "data" / dataset
    class_tables = data / protocol / backbone
    return RunPaths(
        results,
        data / protocol / "splits.parquet",
        data / "frames",
        class_tables / "texts" / f"{texts}.parquet",
        class_tables / "confusables.parquet",
        results / "backbones" / backbone / "weights.safetensors",
    )


def run_paths(folder: Path, run: str) -> RunPaths:
    """Return the paths of the input files of a run, like `find_run_paths`.

    Raises ValueError where `find_run_paths` returns None.
    """
    paths = find_run_paths(folder, run)
    if paths is None:
        raise ValueError(
            f"{folder}: not the folder runs/{run} of a results folder, which also holds its frames, texts and backbone; "
            "move it back"
        )
    return paths

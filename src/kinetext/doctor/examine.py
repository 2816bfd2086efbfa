"""kinetext doctor: everything that is looked at, and what it says."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import yaml
from tqdm import tqdm

from kinetext.config.report import TrackingOptions
from kinetext.doctor.environment import check_environment
from kinetext.doctor.files import Said, first_line, kind, look
from kinetext.doctor.folder import check_clock, check_database, check_disk, check_left, check_locks

REPLIES = "replies/.json"
# below a results folder: of a cache all but replies is not used when broken, MLflow's files are copies, the others are for people
UNSEEN = ("cache", "mlartifacts", "logs", "benchmarks", "figures")
KINDS = {
    ".parquet": "tables",
    ".arrow": "shards",
    ".safetensors": "files of weights",
    "run.yaml": "runs",
    REPLIES: "cached replies",
}


def examine(results: Path | None, config: Path) -> int:
    """Look at the environment and at a results folder, `results` of the configuration unless one is named; print a line for
    whatever is wrong, and what was looked at. How many things there are to do.
    """
    found = Counter[str]()
    todo = 0
    for said in _all(results, config, found):
        print(said, flush=True)
        todo += bool(said.todo)
    looked = ", ".join(f"{found[name]} {words}" for name, words in KINDS.items()) + f", {found.total()} files in all"
    print(f"looked at {looked}; {todo or 'nothing'} to do")
    return todo


def _all(results: Path | None, config: Path, found: Counter[str]) -> Iterator[Said]:
    yield from check_environment()
    tracking = TrackingOptions()
    try:
        settings = yaml.safe_load(config.read_text()) if config.is_file() else {}
        results = results or Path(settings.get("results", "results"))
        tracking = TrackingOptions(**settings.get("tracking", {}))
    except Exception as error:
        yield Said(config, f"cannot be read ({first_line(error)})", f"`kinetext check-config {config}` says more")
    results = results or Path("results")
    if not results.is_dir():
        yield Said(results, "there is no such folder yet")
        return
    yield from check_disk(results)
    yield from check_locks(results)
    yield from check_database(results, tracking)
    files = sorted(path for path in results.rglob("*") if not path.is_dir())
    yield from check_left(files)
    yield from check_clock(results, files)
    looked_at = [path for path in files if kind(path) == REPLIES or (kind(path) and not _unseen(path, results))]
    for path in tqdm(looked_at, "looking", unit="file", disable=None, leave=False):
        found[kind(path) or ""] += 1
        yield from look(path)


def _unseen(path: Path, results: Path) -> bool:
    return path.relative_to(results).parts[0] in UNSEEN

"""kinetext doctor: check the installation and a results folder, and print every finding."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from shlex import quote

from tqdm import tqdm

from kinetext.config.report import TrackingOptions
from kinetext.core.collected import COLLECTED
from kinetext.core.documents import load_yaml
from kinetext.core.escape import for_terminal
from kinetext.data.lists import printable
from kinetext.doctor.environment import check_environment
from kinetext.doctor.files import Finding, check_file, file_kind, first_line, missing
from kinetext.doctor.folder import check_clock, check_database, check_disk, check_leftovers, check_locks

REPLIES = "replies/.json"
# folders of a results folder that are skipped: a run replaces broken cache files itself, except replies; mlartifacts has
# copies; the others are for people
SKIPPED = ("cache", "mlartifacts", "logs", "benchmarks", "figures", "unfinished")
KINDS = {
    ".parquet": "tables",
    ".arrow": "shards",
    ".safetensors": "weight files",
    "run.yaml": "runs",
    REPLIES: "cached replies",
}


def doctor(results: Path | None, config: Path) -> int:
    """Check the environment and the results folder; print each finding and the number of checked files.

    If `results` is None, the folder in the configuration `config` is checked. Return the number of findings that need
    action.
    """
    checked = Counter[str]()
    num_repairs = 0
    for finding in _findings(results, config, checked):
        print(for_terminal(printable(str(_typed(finding, results, config)))), flush=True)
        num_repairs += bool(finding.repair)
    counts = ", ".join(f"{checked[name]} {words}" for name, words in KINDS.items())
    print(f"checked {counts}, {checked.total()} files in all; {num_repairs or 'nothing'} to repair")
    return num_repairs


def _findings(results: Path | None, config: Path, checked: Counter[str]) -> Iterator[Finding]:
    yield from check_environment()
    tracking = TrackingOptions()
    try:
        settings = load_yaml(config) if config.is_file() else {}
        results = results or Path(settings.get("results", "results"))
        tracking = TrackingOptions(**settings.get("tracking", {}))
    except Exception as error:
        yield Finding(config, f"cannot be read ({first_line(error)})", f"see `kinetext check-config {config}`")
    results = results or Path("results")
    if not results.is_dir():
        yield Finding(results, "does not exist yet")
        return
    yield from check_disk(results)
    yield from check_locks(results)
    yield from check_database(results, tracking)
    files = sorted(path for path in results.rglob("*") if not path.is_dir())
    yield from check_leftovers(files)
    yield from check_clock(results, files)
    selected = [path for path in files if _is_selected(path, results)]
    for path in tqdm(selected, "checking", unit="file", disable=None, leave=False):
        checked[".parquet" if path.suffix == ".parquet" else file_kind(path) or ""] += 1
        yield from check_file(path)
    if (results / "tables").is_dir():  # last: they are made from the others, whose advice comes first
        tables = [results / "tables" / f"{name}.parquet" for name in COLLECTED]
        yield from (missing(path) for path in tables if not path.is_file())


def _typed(finding: Finding, results: Path | None, config: Path) -> Finding:
    """Return the finding with a repair command that works as typed in this folder.

    A file of the workflow is created by the configuration that declares it, so the command names that configuration and
    the path as written there. If no such configuration is known, the repair is described in words.
    """
    if "`snakemake" not in finding.repair:
        return finding
    try:
        declared = str(load_yaml(config).get("results", "results"))
    except Exception:
        declared = ""
    checked = str(results or declared)
    if not declared or Path(checked).resolve() != Path(declared).resolve():
        if "`snakemake -" in finding.repair:  # of no file
            return finding
        first = "delete it, then " if finding.repair.startswith("delete it") else ""
        return finding._replace(
            repair=f"{first}run the configuration that wrote it again (--config names it to `kinetext doctor`)"
        )
    repair = finding.repair.replace(f"{checked.rstrip('/')}/", f"{declared.rstrip('/')}/")
    return finding._replace(repair=repair.replace("`snakemake", f"`kinetext run {quote(str(config))} --"))


def _is_selected(path: Path, results: Path) -> bool:
    kind = file_kind(path)
    return kind == REPLIES or (kind is not None and path.relative_to(results).parts[0] not in SKIPPED)

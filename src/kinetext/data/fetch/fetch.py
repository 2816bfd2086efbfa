"""fetch: show a data set with its licence, ask for agreement, download, unpack, and describe the data set.

`source.json` in the folder of the data set records what the user agreed to, the address of each file, and its checksum.
If the table has no checksum for a file, later fetches must match this record of the first fetch.
"""

import json
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from kinetext.config.data import DatasetOptions
from kinetext.core.escape import for_terminal
from kinetext.core.files import atomic_write
from kinetext.data.fetch.download import PATIENCE, Patience, download
from kinetext.data.fetch.hub import list_files, newest_commit
from kinetext.data.fetch.layout import arrange
from kinetext.data.fetch.sources import File, Source, find_source, size
from kinetext.data.inspect import inspect
from kinetext.data.lists import printable

RECORD = "source.json"


def fetch(
    name: str,
    folder: Path,
    yes: bool = False,
    answer: Callable[[str], str] = input,
    patience: Patience = PATIENCE,
) -> None:
    """Fetch a data set into a folder and inspect it. If it was fetched before, it is only inspected.

    The entry for config.yaml is printed and also written to `folder`/dataset.yaml. Raises ValueError if the user does
    not agree, if a server refuses, or if a file does not match its checksum.
    """
    source = find_source(name)
    folder = folder.expanduser().absolute()
    record = _read_record(folder, name)
    if not record.get("complete"):
        print(terms(name, source, folder))
        if "accepted" not in record:
            record["accepted"] = ask(name, source, yes, answer)
            _write_record(record, folder)
        files = _pinned(name, source, record, folder)
        _check_space(files, source, folder)
        paths = [(file, folder / "downloads" / file.name) for file in files]
        for file, path in paths:
            digest = download(file, path, patience)
            record["files"][file.url] = {"sha256": digest, "bytes": path.stat().st_size}
            _write_record(record, folder)
        for link in arrange(source, paths, folder):
            print(f"left out: {for_terminal(printable(link))} (a link or a device)")
        record["complete"] = datetime.now(UTC).isoformat(timespec="seconds")
        _write_record(record, folder)
        shutil.rmtree(folder / "downloads")
    options = dataset_options(source, folder)
    entry = yaml.safe_dump({"datasets": {name: options}}, sort_keys=False, allow_unicode=True)
    (folder / "dataset.yaml").write_text(entry, "utf-8")
    inspect(name, DatasetOptions(**options), folder / "media", folder / "inspect")
    print(f"for your configuration ({folder / 'dataset.yaml'}):\n{entry}", end="")


def terms(name: str, source: Source, folder: Path) -> str:
    """Return a text of what a user should know before agreeing: title, licence, addresses, size and folder."""
    lines = [f"{name}: {source.title}", f"page: {source.page}", f"licence: {source.licence or 'not stated'}"]
    if source.note:
        lines.append(f"note: {source.note.strip()}")
    addresses = [file.url for file in source.files] or [source.repository.address if source.repository else ""]
    lines += [f"from: {address}" for address in addresses]
    return "\n".join([*lines, f"download: {size(source.bytes)}", f"to: {folder}"])


def ask(name: str, source: Source, yes: bool, answer: Callable[[str], str]) -> str:
    """Return the text that the user agreed with. Raises ValueError if the user does not agree.

    If no licence is stated, nothing permits the use by itself, so the user must type that they may use the data.
    `--yes` is not enough then.
    """
    if source.licence is not None and yes:
        return "--yes"
    sentence = f"I may use {name}" if source.licence is None else "yes"
    question = (
        f"No licence is stated; whether you may use it is for you to find out. Type '{sentence}' to download: "
        if source.licence is None
        else f"Type '{sentence}' to accept the licence and download: "
    )
    try:
        typed = answer(question)
    except EOFError:
        typed = ""
    if typed.strip().casefold() not in {sentence.casefold(), *(["y"] if source.licence else [])}:
        also = " (--yes is no answer where no licence is stated)" if yes else ""
        raise ValueError(f"{name}: not downloaded; the answer must be '{sentence}'{also}")
    return typed.strip()


def dataset_options(source: Source, folder: Path) -> dict[str, Any]:
    """Return the data set's entry for config.yaml: its module, and its options with the folders of videos and lists."""
    folders = {"root": str(folder / "videos")}
    if source.find:
        folders["annotations"] = str(folder / "annotations")
    return {"module": source.dataset["module"], "options": {**folders, **source.dataset.get("options", {})}}


def _pinned(name: str, source: Source, record: dict[str, Any], folder: Path) -> list[File]:
    """Return the files, each with its checksum if it is known from the table, the server's list or the first fetch."""
    files = list(source.files)
    if source.repository:
        commit = source.repository.commit or record.get("commit") or newest_commit(source.repository)
        record["commit"] = commit
        files += list_files(source.repository, commit)
        print(f"{name}: {len(files)} files at commit {commit}")
    pins = record["files"]
    return [
        file if file.sha256 or file.url not in pins else file.model_copy(update={"sha256": pins[file.url]["sha256"]})
        for file in files
    ]


def _check_space(files: list[File], source: Source, folder: Path) -> None:
    """Raise ValueError if the disk has too little space for the archives and their contents."""
    needed = 2 * max(source.bytes, sum(file.bytes or 0 for file in files))
    existing = next(parent for parent in (folder, *folder.parents) if parent.is_dir())
    present = sum(path.stat().st_size for path in (folder / "downloads").rglob("*") if path.is_file())
    free = shutil.disk_usage(existing).free
    if free + present < needed:
        raise ValueError(f"{folder}: needs {size(needed)}, and {size(free)} are free; choose another folder (--output)")


def _read_record(folder: Path, name: str) -> dict[str, Any]:
    """Return the record of an earlier fetch, or an empty one for a new folder.

    Raises ValueError if the folder has other content, if the record cannot be read, or if it is of another data set.
    """
    path = folder / RECORD
    if not path.exists():
        others = [entry.name for entry in folder.iterdir() if entry.name != "downloads"] if folder.is_dir() else []
        if others:
            raise ValueError(f"{folder}: has {sorted(others)[0]} in it; fetch into a new folder (--output)")
        return {"name": name, "files": {}}
    try:
        record = json.loads(path.read_text("utf-8"))
        recorded = record["name"]
        record["files"].items()
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ValueError(f"{path}: is not a record of a fetch; remove the folder and fetch again") from None
    if recorded != name:
        raise ValueError(f"{folder}: holds '{recorded}', not '{name}'; fetch into a new folder (--output)")
    return record


def _write_record(record: dict[str, Any], folder: Path) -> None:
    with atomic_write(folder / RECORD) as part:
        part.write_text(json.dumps(record, indent=1) + "\n", "utf-8")

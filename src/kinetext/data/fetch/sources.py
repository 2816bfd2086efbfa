"""Read sources.yaml, the table of the data sets that `kinetext fetch` knows, with addresses, checksums and licences."""

from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any, Literal
from urllib.parse import unquote, urlsplit

import yaml
from pydantic import Field

from kinetext.core.plugins import Options, nearest

Into = Literal["videos", "annotations"]


class File(Options):
    """A file at an address, with what is known about it before the download."""

    url: str = Field(description="address")
    into: Into = Field(description="folder that the loader reads")
    sha256: str | None = Field(None, pattern="^[0-9a-f]{64}$", description="checksum")
    git_sha1: str | None = Field(None, pattern="^[0-9a-f]{40}$", description="name of the file's content in git")
    bytes: int | None = Field(None, ge=1, description="size")
    path: str | None = Field(None, description="path below the folder; absent: the last part of the address")

    @property
    def name(self) -> str:
        """Return the path of the file below the folder of downloads."""
        return self.path or unquote(PurePosixPath(urlsplit(self.url).path).name)


class Repository(Options):
    """A data set on Hugging Face, and the patterns of the files to fetch."""

    address: str = Field(description="https://huggingface.co/datasets/OWNER/NAME")
    commit: str | None = Field(None, pattern="^[0-9a-f]{40}$", description="null: the newest, recorded")
    files: tuple[str, ...] = Field(description="patterns of paths")


class Source(Options):
    """A data set that can be fetched, or whose owner must be asked for it."""

    title: str = Field(description="what it is")
    page: str = Field(description="page of the authors or of the copy")
    licence: str | None = Field(description="as stated; null: none is stated")
    note: str = Field("", description="what a user should know before agreeing")
    bytes: int = Field(0, description="size of the download, about")
    files: tuple[File, ...] = ()
    repository: Repository | None = None
    find: str | None = Field(None, description="pattern of a file in the folder of the lists")
    rename: dict[str, str] = Field(default_factory=dict, description="folder of a split -> its name for the loader")
    words: bool = Field(False, description="whether class folders in camel case become words")
    dataset: dict[str, Any] = Field(default_factory=dict, description="module and options in config.yaml")
    ask: str | None = Field(None, description="where to ask for a data set that is never fetched")


@cache
def read_sources() -> dict[str, Source]:
    """Return the data sets of sources.yaml by name."""
    table = yaml.safe_load(Path(__file__).with_name("sources.yaml").read_text("utf-8"))
    return {name: Source(**values) for name, values in table.items()}


def find_source(name: str) -> Source:
    """Return the data set `name`. Raises ValueError if it does not exist, or if its owner must be asked for it."""
    sources = read_sources()
    if name not in sources:
        raise ValueError(f"fetch: there is no data set '{name}'{nearest(name, list(sources))}")
    source = sources[name]
    if source.ask:
        raise ValueError(f"{name}: is not fetched. {source.ask.strip()} Ask at {source.page}")
    return source


def list_sources() -> str:
    """Return a line for each data set: its name, size, licence and title."""
    rows = [
        (
            name,
            "ask the owner" if source.ask else size(source.bytes),
            source.licence or "licence not stated",
            source.title,
        )
        for name, source in read_sources().items()
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return "\n".join("  ".join([*map(str.ljust, row[:3], widths), row[3]]) for row in rows)


def size(number: int) -> str:
    """Return a number of bytes as a text with a unit: 6960514058 is 7.0 GB."""
    for factor, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if number >= factor:
            return f"{number / factor:.1f} {unit}"
    return f"{number} B"

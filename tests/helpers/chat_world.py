"""A running chat server and a data set to describe, for the tests of the provider chat_api."""

from contextlib import contextmanager
from pathlib import Path
from threading import Thread

from chat_server import Server
from kinetext.config.texts import TextOptions
from kinetext.core.tables import read_rows, write_table
from kinetext.texts.describe import describe_classes
from kinetext.texts.providers.chat_api import ChatApi
from splits import write_splits

KEY = "sk-secret-0123456789"


@contextmanager
def serving(monkeypatch):
    """Run the server, with the key in the environment."""
    monkeypatch.setenv("TEST_KEY", KEY)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    server = Server()
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def options(server, **others):
    """Return options that reach the server."""
    return {
        "model": "m",
        "base_url": server.url,
        "api_key_env": "TEST_KEY",
        "retries": 2,
        "max_repairs": 0,
        "steps": 0,
    } | others


def chat_api(server, **others) -> ChatApi:
    """Return a provider that reaches the server."""
    return ChatApi(ChatApi.Config(**options(server, **others)))


def write_classes(folder: Path, labels: list[str]) -> Path:
    """Write the inputs of describe_classes: one training clip per class, no rivals."""
    clips = [{"clip_id": label, "split": "train", "label": label, "captions": []} for label in labels]
    write_table("clips", clips, folder / "clips.parquet", {"labels": labels, "pairs": []})
    write_table("confusables", [], folder / "confusables.parquet")
    write_splits(folder / "clips.parquet")
    return folder


def describe_table(
    folder: Path, options: dict, cache: str = "cache", table: str = "texts", module: str = "chat_api"
) -> list[dict]:
    """Run describe_classes on the files of write_classes; return the rows that are not names."""
    clips, output = folder / "clips.parquet", folder / f"{table}.parquet"
    text_options = TextOptions(module=module, options=options)
    describe_classes(
        clips,
        folder / "splits.parquet",
        folder / "confusables.parquet",
        text_options,
        "gpt",
        "features",
        folder / cache,
        output,
    )
    return [row for row in read_rows("texts", output) if row["kind"] != "name"]

"""The key of chat_api is only in the header of requests: everything that a run writes is searched for it."""

import base64
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from chat_server import about_the_class, completion, error, label_of
from chat_world import KEY, options, serving, write_classes

# All ways to a reply, with debug logs: single requests, corrections, a batch, and Ctrl-C in between.
RUN = """
import json, logging, sys
from pathlib import Path
logging.basicConfig(level=logging.DEBUG)
from chat_world import describe_table
from kinetext.texts import prompts
from kinetext.texts.providers.base import Context
from kinetext.texts.providers.chat_api import ChatApi
folder, options = Path(sys.argv[1]), json.loads(sys.argv[2])
describe_table(folder, options)
provider, context = ChatApi(ChatApi.Config(**options)), Context([], folder / "cache")
texts = provider.describe("growing", [], context)
print(provider.repair("growing", [], texts, context))
in_batch = options | {"batch": True, "batch_poll_s": 0.01, "model": "n"}
describe_table(folder, in_batch, table="batch")
try:
    describe_table(folder, in_batch | {"model": "late", "batch_wait_s": 0}, table="late")
except ValueError as error:
    print(error)
import openai
def interrupt(*arguments, **others):
    raise KeyboardInterrupt
openai.OpenAI._sleep_for_retry = interrupt
print(provider.config, options)
ChatApi(provider.config.model_copy(update={"model": "new"})).describe("limited", [], context)
"""


@pytest.fixture
def server(monkeypatch):
    with serving(monkeypatch) as server:
        yield server


def faulty(asked):
    """A server that repeats the key wherever it can."""
    replies = {
        "falling": completion(f"You sent {KEY}"),
        "growing": completion(None, refusal=f"not to {KEY}"),
        "limited": error(429, f"quota of {KEY} is used up"),
        "wrong": error(400, f"{KEY} asked for nonsense"),
    }
    reply = replies.get(label_of(asked)) or about_the_class(asked)
    return (*reply[:2], {"X_Echo": KEY, **dict(reply[2:] and reply[2])})


def test_key_is_in_nothing_that_a_run_writes(server, tmp_path):
    server.script = faulty
    folder = write_classes(tmp_path / "run", ["rising", "falling", "growing", "limited", "wrong"])
    late = server.finish
    server.finish = lambda batch: None if len(server.batches) == 2 else late(batch)  # the second is never done
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(folder), json.dumps(options(server, retries=1))],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        timeout=300,
    )
    output = done.stdout + done.stderr
    assert "KeyboardInterrupt" in output, output[-2000:]
    for trace in ("Traceback", "POST", "quota of ***", "batch-1 is in_progress", "replies took"):
        assert trace in output, trace  # all ways were taken, and the log was on
    assert {authorization for _, authorization, _ in server.requests} - {""} == {f"Bearer {KEY}"}
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert len(list(folder.glob("cache/replies/*.json"))) >= 7
    assert len(list(folder.glob("cache/batches/*.json"))) == 2
    assert "You sent ***" in "".join(path.read_text() for path in folder.glob("cache/replies/*.json"))
    assert_absent(output.encode(), "the output")
    for path in files:
        assert_absent(path.read_bytes(), path)


def test_key_is_not_in_mlflow(tmp_path, server, monkeypatch):
    from kinetext.config.report import TrackingOptions
    from kinetext.tracking.log import log_run
    from tracked import make_run

    run = make_run(tmp_path, 0)
    spec = yaml.safe_load((run / "run.yaml").read_text())
    (run / "run.yaml").write_text(yaml.safe_dump(spec | {"text_options": options(server)}))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    log_run([run], tmp_path, TrackingOptions(), tmp_path / "logged.json")
    written = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert any(b"TEST_KEY" in content for content in written.values())  # its name is there
    for path, content in written.items():
        assert_absent(content, path)


def assert_absent(content: bytes, where: str | Path) -> None:
    """Neither plain nor in the form that a header of basic authorization has, nor the most of it."""
    for form in (KEY.encode(), KEY[:12].encode(), base64.b64encode(KEY.encode()).rstrip(b"=")[:16]):
        assert form not in content, where

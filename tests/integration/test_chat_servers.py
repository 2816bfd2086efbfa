"""`chat_api` with real servers: llama-cpp-python and transformers serve, each with random weights that a test writes.

Random weights answer nonsense. What is tested is the conversation: that the server accepts a form of the requests, that
its replies are understood and stored, and that each class gets the reason why it has no description. CONTRIBUTING.md
says how the servers are installed, outside this environment.
"""

import json
import socket
import subprocess
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import pytest

from chat_world import describe_table, write_classes
from kinetext.texts.chat.completion import read_completion
from repository import ROOT
from skips import SERVERS, has_server, server_program

LABELS = ["rising", "falling"]


@dataclass(frozen=True)
class Known:
    """How a server is started, how its model is written, and which form of answer it accepts."""

    program: str
    arguments: tuple[str, ...]
    writer: str
    model: str
    mode: str


KNOWN = {
    "llama": Known(
        "python",
        ("-m", "llama_cpp.server", "--model", "{model}", "--n_ctx", "4096", "--host", "127.0.0.1", "--port", "{port}"),
        "random_gguf.py",
        "model.gguf",
        "json_object",  # json_schema is answered with status 500
    ),
    "transformers": Known(
        "transformers",
        ("serve", "{model}", "--host", "127.0.0.1", "--port", "{port}", "--device", "cpu"),
        "random_llama.py",
        "model",
        "json_schema",  # any response_format is accepted and ignored
    ),
}


@pytest.fixture(params=SERVERS)
def served(request, tmp_path, monkeypatch):
    """The form that a running server accepts, its address, its model's name, and the function that stops it."""
    known = KNOWN[request.param]
    if not has_server(request.param):
        pytest.skip(f"{SERVERS[request.param]}: not installed (CONTRIBUTING.md)")
    for variable in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    model, script = tmp_path / known.model, ROOT / "tests/helpers" / known.writer
    subprocess.run([server_program(request.param), script, model], check=True, cwd=tmp_path)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    arguments = [part.format(model=model, port=port) for part in known.arguments]
    program = server_program(request.param, known.program)
    with (tmp_path / "server.log").open("w") as log:
        process = subprocess.Popen([program, *arguments], cwd=tmp_path, stdout=log, stderr=log)
    try:
        wait_for(f"http://127.0.0.1:{port}", process, tmp_path / "server.log")
        yield known.mode, f"http://127.0.0.1:{port}/v1", str(model), process.kill
    finally:
        process.kill()
        process.wait()


def wait_for(address: str, process: subprocess.Popen, log: Path) -> None:
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        try:
            urllib.request.urlopen(f"{address}/v1/models", timeout=5).close()
            return
        except OSError:
            assert process.poll() is None, log.read_text()[-2000:]
            time.sleep(0.2)
    raise AssertionError(log.read_text()[-2000:])


def test_a_real_server_is_understood_and_asked_once(served, tmp_path, capfd):
    mode, base_url, model, stop = served
    options = {"model": model, "base_url": base_url, "sentences": 1, "retries": 1, "max_repairs": 0, "timeout_s": 300.0}
    folder = write_classes(tmp_path, LABELS)
    with pytest.raises(ValueError, match="no class has a usable description") as first:
        describe_table(folder, options)
    records = [json.loads(path.read_text()) for path in folder.rglob("replies/*.json")]
    assert len(records) == len(LABELS)
    for record in records:
        completion = read_completion(record["reply"])  # with choices
        assert completion.tokens.prompt > 100  # the prompt arrived, byte by byte
        if mode == "json_object":
            assert isinstance(json.loads(completion.answer()), dict)  # the server held the model to it
    printed = capfd.readouterr().err
    assert {record["mode"] for record in records} == {mode}
    assert (f"accepts for {model}: {mode} instead of json_schema" in printed) == (mode != "json_schema")
    stop()
    with pytest.raises(ValueError, match="no class has a usable description") as cached:  # from the stored replies
        describe_table(folder, options)
    assert str(cached.value) == str(first.value)

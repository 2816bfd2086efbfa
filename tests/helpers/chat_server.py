"""A local chat-completions server, with files and batches, whose answers a test or a benchmark chooses.

python tests/helpers/chat_server.py --delay_s 0.1    serves until it is killed; prints its address
"""

import argparse
import email
import json
import re
import time
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock
from typing import Any
from urllib.parse import urlsplit

ANSWER = json.dumps({"start": "low", "end": "high", "whole": ["it goes up", "it climbs"]})
USAGE = {"prompt_tokens": 400, "completion_tokens": 100, "total_tokens": 500}
CUT = "cut"  # an answer: half of it, then nothing
ENDLESS = "endless"  # a body that never ends


def completion(content=ANSWER, **message):
    message = {"role": "assistant", "content": content} | message
    finish = message.pop("finish_reason", "stop")
    choice = {"index": 0, "finish_reason": finish, "message": message}
    body = {"id": "1", "object": "chat.completion", "created": 1, "model": "m-2024-05", "choices": [choice]}
    return 200, body | {"usage": USAGE}


def error(status, message="no", **headers):
    return status, {"error": {"message": message}}, headers


def label_of(asked: dict[str, Any]) -> str:
    """Return the class of a request."""
    return json.loads(re.search(r"^Class: (.*)$", asked["messages"][0]["content"], re.M)[1])


def about_the_class(asked: dict[str, Any], note: str = "") -> tuple:
    """Return a usable answer: at least three sentences about this class only."""
    label = label_of(asked)
    whole = [f"a {label} in manner {n}{note}" for n in range(asked["messages"][0]["content"].count('"...",') - 1)]
    return completion(json.dumps({"start": f"before {label}", "end": f"after {label}", "whole": whole}))


class Server(ThreadingHTTPServer):
    """Answers requests from `script`, a list of answers (the last one for ever) or a function of the request.

    A batch is done after `polls` questions; `batch_end` is how. `cut_create` loses the answer to the next new batch.
    """

    request_queue_size = 128

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.script: list | Callable = [completion()]
        self.requests: list[tuple[str, str, dict]] = []  # path, authorization, body
        self.lock = Lock()
        self.url = f"http://127.0.0.1:{self.server_port}/v1"
        self.files: dict[str, str] = {}
        self.batches: dict[str, dict] = {}
        self.polls, self.batch_end, self.cut_create = 0, "completed", False

    def handle_error(self, request, client_address):  # clients are killed on purpose
        pass

    def answer(self, asked: dict, path: str = "", authorization: str = "") -> Any:
        with self.lock:
            self.requests.append((path, authorization, asked))
            script = (
                self.script if callable(self.script) else self.script[min(len(self.requests), len(self.script)) - 1]
            )
        return script(asked) if callable(script) else script

    def finish(self, batch: dict) -> None:
        """Answer a batch's requests; an expired one's only by half."""
        lines = [json.loads(line) for line in self.files[batch["input_file_id"]].splitlines()]
        batch["status"] = self.batch_end
        if self.batch_end == "failed":
            batch["errors"] = {"object": "list", "data": [{"code": "model_not_found", "message": "no such model"}]}
            return
        results, errors = [], []
        for number, line in enumerate(lines):
            answered = {"custom_id": line["custom_id"], "response": None, "error": None}
            if self.batch_end == "expired" and number >= len(lines) / 2:
                errors.append(answered | {"error": {"code": "batch_expired", "message": "not in time"}})
                continue
            status, body = self.answer(line["body"], "batch")[:2]
            (results if status == 200 else errors).append(
                answered | {"response": {"status_code": status, "body": body}}
            )
        for kind, lines_of_file in (("output", results), ("error", errors)):
            if lines_of_file:
                batch[f"{kind}_file_id"] = f"{batch['id']}-{kind}"
                text = "\n".join(json.dumps(line, ensure_ascii=False) for line in lines_of_file[::-1])  # in any order
                self.files[f"{batch['id']}-{kind}"] = text + "\n"


class Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one packet
    timeout = 60

    def do_POST(self):
        sent = self.rfile.read(int(self.headers["Content-Length"]))
        server = self.server
        if self.path == "/v1/files":
            head = f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode()
            parts = {
                part.get_param("name", header="content-disposition"): part.get_payload(decode=True).decode()
                for part in email.message_from_bytes(head + sent).get_payload()
            }
            assert parts["purpose"] == "batch"
            file = f"file-{len(server.files)}"
            server.files[file] = parts["file"]
            return self._send(
                200,
                {
                    "id": file,
                    "object": "file",
                    "bytes": 1,
                    "created_at": 1,
                    "filename": "f",
                    "purpose": "batch",
                    "status": "processed",
                },
            )
        if self.path == "/v1/batches":
            asked, name = json.loads(sent), f"batch-{len(server.batches)}"
            batch = asked | {"id": name, "object": "batch", "created_at": int(time.time()), "status": "in_progress"}
            server.batches[name] = batch | {"polls": server.polls}
            if server.cut_create:
                server.cut_create = False
                return self._send(200, batch, cut=True)
            return self._send(200, batch)
        answer = server.answer(json.loads(sent), self.path, self.headers["Authorization"])
        if answer == CUT:
            return self._send(*completion(), cut=True)
        status, body, headers = (*answer, {})[:3]
        self._send(status, body, headers)

    def do_GET(self):
        server, path = self.server, urlsplit(self.path).path.removeprefix("/v1/").split("/")
        if path == ["batches"]:
            newest = list(server.batches.values())[::-1]
            self._send(200, {"object": "list", "data": newest, "has_more": False})
        elif path[0] == "batches" and path[1] in server.batches:
            batch = server.batches[path[1]]
            if batch["status"] == "in_progress" and batch["polls"] <= 0:
                server.finish(batch)
            batch["polls"] -= 1
            self._send(200, batch)
        elif path[0] == "files" and path[1] in server.files:
            self._send(200, server.files[path[1]])
        else:
            self._send(*error(404, "no such thing"))

    def _send(self, status, body, headers=(), cut=False):
        if body == ENDLESS:
            return self._send_endlessly()
        raw = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(raw)))
        for name, value in dict(headers).items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(raw[: len(raw) // 2] if cut else raw)
        self.close_connection = self.close_connection or cut

    def _send_endlessly(self):
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.close_connection = True
        with suppress(OSError):  # the client has gone
            while True:
                self.wfile.write(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")

    def log_message(self, *arguments):
        pass


def main() -> None:
    """Serve from a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--delay_s", type=float, default=0.0)
    delay_s = parser.parse_args().delay_s
    server = Server()
    server.script = lambda asked: time.sleep(delay_s) or about_the_class(asked)
    print(server.url, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()

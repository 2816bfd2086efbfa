"""A local server of files with ranges, entity tags and a Hugging Face API, which cuts, refuses and lies as told."""

import hashlib
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import unquote

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class FileServer(ThreadingHTTPServer):
    """Serves `files` (path -> bytes). Use as a context manager."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.requests: list[tuple[str, str | None]] = []  # path, Range
        self.cuts: list[int] = []  # bytes after which the next replies are cut
        self.errors: list[int] = []  # statuses of the next replies
        self.ranges, self.tags, self.content_type = True, True, "application/octet-stream"
        self.large: set[str] = set()  # paths that the API lists as LFS files
        self.page = 1000  # entries in a page of the API's list
        self.url = f"http://127.0.0.1:{self.server_port}"

    def __enter__(self):
        Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_):
        self.shutdown()
        self.server_close()

    def handle_error(self, request, client_address):
        pass


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        server, wanted = self.server, self.headers.get("Range")
        server.requests.append((self.path, wanted))
        if server.errors:
            return self.reply(server.errors.pop(0), b"")
        if self.path.startswith("/api/datasets/"):
            return self.api()
        content = server.files.get(unquote(self.path))
        if content is None:
            return self.reply(404, b"")
        tag = f'"{hashlib.md5(content).hexdigest()}"'
        headers = {"ETag": tag} if server.tags else {}
        condition = self.headers.get("If-Range")
        if wanted and server.ranges and condition in (None, tag):
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if start >= len(content):
                return self.reply(416, b"", {"Content-Range": f"bytes */{len(content)}"})
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
            return self.reply(206, content[start:], headers)
        return self.reply(200, content, headers)

    def reply(self, status, content, headers=None):
        self.send_response(status)
        self.send_header("Content-Type", self.server.content_type)
        self.send_header("Content-Length", str(len(content)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        if status < 300 and self.server.cuts:
            self.wfile.write(content[: self.server.cuts.pop(0)])
            self.close_connection = True
        else:
            self.wfile.write(content)

    def api(self):
        """Answer /api/datasets/OWNER/NAME/revision/main and .../tree/COMMIT."""
        repository, _, rest = self.path.removeprefix("/api").partition("/revision/")
        if rest:
            return self.reply(200, json.dumps({"sha": COMMIT}).encode())
        repository, _, rest = self.path.removeprefix("/api").partition("/tree/")
        commit, _, query = rest.partition("?")
        prefix = f"{repository}/resolve/{commit}/"
        start = int(query.partition("cursor=")[2] or 0)
        paths = sorted(path for path in self.server.files if path.startswith(prefix))
        entries = [self.entry(path, path.removeprefix(prefix)) for path in paths[start : start + self.server.page]]
        following = start + self.server.page
        link = f'<{self.server.url}/api{repository}/tree/{commit}?recursive=true&cursor={following}>; rel="next"'
        return self.reply(200, json.dumps(entries).encode(), {"Link": link} if following < len(paths) else {})

    def entry(self, path, name):
        content = self.server.files[path]
        entry = {"type": "file", "path": name, "size": len(content)}
        if path in self.server.large:
            return entry | {"oid": "f" * 40, "lfs": {"oid": hashlib.sha256(content).hexdigest(), "size": len(content)}}
        blob = hashlib.sha1(b"blob %d\0" % len(content) + content)
        return entry | {"oid": blob.hexdigest()}

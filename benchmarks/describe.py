"""How close describe_classes with the provider chat_api comes to what a server can answer, and how long it plans.

    python benchmarks/describe.py [--classes 700] [--rivals 3] [--in_flight 16] [--delay_s 0.1]

The server (tests/helpers/chat_server.py, a process of its own) answers each request after `delay_s`, so that it can answer
in_flight / delay_s requests a second. `bare` is what 16 threads reach that send the same bodies over open connections and
do nothing with the answers. Imports are not counted: one class is described before.
"""

import argparse
import http.client
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

from kinetext.config.data import ProtocolOptions
from kinetext.config.texts import TextOptions
from kinetext.core.tables import read_rows, write_table
from kinetext.data.splits import split_clips
from kinetext.texts.chat.negotiation import Form, request_body
from kinetext.texts.describe import describe_classes
from kinetext.texts.providers.base import Context
from kinetext.texts.providers.chat_api import ChatApi
from kinetext.texts.questions import class_question

ROOT = Path(__file__).parents[1]


def write_classes(folder: Path, labels: list[str], rivals: int) -> None:
    """Write the tables that describe_classes reads."""
    folder.mkdir()
    clips = [{"clip_id": label, "split": "train", "label": label, "captions": []} for label in labels]
    write_table("clips", clips, folder / "clips.parquet", {"labels": labels, "pairs": []})
    split_clips("benchmark", folder / "clips.parquet", [], "supervised", ProtocolOptions(), folder / "splits.parquet")
    rows = [
        {"label": label, "rival": labels[(n + rank) % len(labels)], "score": 1 / rank, "rule": "text", "rank": rank}
        for n, label in enumerate(labels)
        for rank in range(1, min(rivals, len(labels) - 1) + 1)
    ]
    write_table("confusables", rows, folder / "confusables.parquet")


def describe(folder: Path, options: dict) -> float:
    """Seconds of describe_classes with an empty cache."""
    tables = [folder / f"{name}.parquet" for name in ("clips", "splits", "confusables")]
    start = time.perf_counter()
    describe_classes(
        *tables,
        TextOptions(module="chat_api", options=options),
        "benchmark",
        "text",
        folder / "cache",
        folder / "texts.parquet",
    )
    seconds = time.perf_counter() - start
    failed = [row["status"] for row in read_rows("texts", folder / "texts.parquet") if row["status"] != "ok"]
    if failed:
        raise SystemExit(f"{len(failed)} sentences are not ok: {failed[0]}")
    return seconds


def bare(bodies: list[str], url: str, in_flight: int) -> float:
    """Seconds that plain connections take for the same requests."""
    local, parts = threading.local(), urlsplit(url)

    def send(body: str) -> None:
        if not hasattr(local, "connection"):
            local.connection = http.client.HTTPConnection(parts.hostname, parts.port)
        local.connection.request("POST", f"{parts.path}/chat/completions", body, {"Content-Type": "application/json"})
        local.connection.getresponse().read()

    start = time.perf_counter()
    with ThreadPoolExecutor(in_flight) as pool:
        list(pool.map(send, bodies))
    return time.perf_counter() - start


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--classes", type=int, default=700)
    parser.add_argument("--rivals", type=int, default=3)
    parser.add_argument("--in_flight", type=int, default=16)
    parser.add_argument("--delay_s", type=float, default=0.1)
    chosen = parser.parse_args()
    os.environ |= {"BENCHMARK_KEY": "none", "NO_PROXY": "127.0.0.1"}
    server = subprocess.Popen(
        [sys.executable, ROOT / "tests/helpers/chat_server.py", "--delay_s", str(chosen.delay_s)],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert server.stdout
        url = server.stdout.readline().strip()
        options = {"model": "m", "base_url": url, "api_key_env": "BENCHMARK_KEY", "max_in_flight": chosen.in_flight}
        labels = [f"class {n}" for n in range(chosen.classes)]
        with tempfile.TemporaryDirectory() as scratch:
            write_classes(Path(scratch) / "one", labels[:1], 0)
            describe(Path(scratch) / "one", options)
            write_classes(Path(scratch) / "all", labels, chosen.rivals)

            provider = ChatApi(ChatApi.Config(**options))
            asked = {label: [labels[(n + i) % len(labels)] for i in range(1, 4)] for n, label in enumerate(labels)}
            start = time.perf_counter()
            provider.prepare(asked, Context(labels, Path(scratch) / "plan"))
            plan_s = time.perf_counter() - start

            requests = (class_question(label, rivals, provider.config).request for label, rivals in asked.items())
            bare_s = bare(
                [json.dumps(request_body(r, Form("json_schema", True))) for r in requests], url, chosen.in_flight
            )
            all_s = describe(Path(scratch) / "all", options)
    finally:
        server.terminate()
        server.wait()
    limit, count = chosen.in_flight / chosen.delay_s, chosen.classes
    print(f"planning {count} requests: {plan_s:.2f} s")
    print(f"limit of the server: {limit:.1f} requests/s ({chosen.in_flight} in flight, {chosen.delay_s:g} s each)")
    for name, seconds in (("bare connections", bare_s), ("describe_classes", all_s)):
        print(f"{name}: {count / seconds:.1f} requests/s, {100 * count / seconds / limit:.1f} % of the limit")


if __name__ == "__main__":
    main()

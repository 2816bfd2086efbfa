"""Run experiments/second_round_shapes.yaml against a stand-in for a language model, and count its requests.

    python benchmarks/second_round.py [--folder FOLDER]

The stand-in (tests/helpers/chat_server.py) answers with sentences of the bank `shapes`. In its first answers about the pairs
WRONG it takes each class for its rival, as a model that mistakes the direction of a movement. If it is asked again about two
classes, it answers right. Novel classes have no training clips, so nothing is known to be confused with them and they are not
asked about again; one novel pair is among WRONG.
"""

import argparse
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from threading import Thread
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests/helpers"))

from chat_server import Server, completion  # noqa: E402
from kinetext.data.motion.kinds import CLASSES  # noqa: E402
from kinetext.texts.providers.bundled import read_bank  # noqa: E402

WRONG = ("size", "visits", "pause", "orbit")


def answer(asked: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """Return the completion of a request about one class or about a pair of classes."""
    prompt = asked["messages"][0]["content"]
    classes = [json.loads(name) for name in re.findall(r"^(?:Class|First class|Second class): (.*)$", prompt, re.M)]
    if len(classes) == 1:
        return completion(json.dumps(sentences(mistaken().get(classes[0], classes[0]))))
    return completion(json.dumps(dict(zip(("first", "second"), map(sentences, classes), strict=True))))


def mistaken() -> dict[str, str]:
    """Return class -> the rival that the first answers take it for."""
    return {label: rival for pair in WRONG for label, rival in zip(CLASSES[pair], CLASSES[pair][::-1], strict=True)}


def sentences(label: str) -> dict[str, Any]:
    """Return the bank's sentences about a class in the form of an answer, with the first and the last of its steps."""
    bank = read_bank("shapes")["classes"][label]
    steps = bank.get("steps") or ["a shape"]
    return {
        "start": bank["start"][0],
        "steps": [steps[0], steps[-1]],
        "end": bank["end"][0],
        "whole": bank["whole"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=ROOT / "results/second_round_shapes")
    options = parser.parse_args()
    server = Server()
    server.script = answer
    Thread(target=server.serve_forever, daemon=True).start()
    study = yaml.safe_load((ROOT / "experiments/second_round_shapes.yaml").read_text())
    study["results"] = str(options.folder)
    one, two = (study["texts"][name]["options"] for name in ("round_one", "round_two"))
    for model in (one, two, two["of"]["options"]):
        model["base_url"] = server.url
    options.folder.mkdir(parents=True, exist_ok=True)
    config = options.folder / "study.yaml"
    config.write_text(yaml.safe_dump(study))
    command = ["snakemake", "--cores", "2", "--configfile", str(config)]
    code = subprocess.run(command, cwd=ROOT, env={**os.environ, "NO_PROXY": "127.0.0.1"}, check=False).returncode
    pairs = sum("Second class" in body["messages"][0]["content"] for _, _, body in server.requests)
    print(f"requests: {len(server.requests) - pairs} about one class, {pairs} about a pair; report in {options.folder}")
    raise SystemExit(code)


if __name__ == "__main__":
    main()

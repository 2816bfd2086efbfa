"""Calls of Snakemake on the tiny experiment, and what they said.

Most are made by a process that has imported Snakemake and torch before: of the seven seconds of a dry run six are imports.
A test that is about starting, or that kills, starts the program itself.
"""

import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import yaml

from forked import FORKS
from repository import ROOT

TINY = Path(__file__).with_name("tiny.yaml")
BIN = Path(sys.executable).parent
RUNS = Path("results/runs/shapes/base_to_novel/tiny")
AFTER_METRICS = {"log_run": 1, "collect_metrics": 1, "render_report": 1, "all": 1}
LIMIT_S = 1800


def command(folder, *arguments, configs=(TINY,), source=ROOT, program=(BIN / "snakemake",)):
    """The words of a call."""
    words = [
        *(*program, "-s", source / "Snakefile", "--directory", folder, *arguments),
        *("--cores", "2", "--configfile", *configs),
    ]
    return [str(word) for word in words]


def environment():
    return {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}


def snakemake(folder, *arguments, fresh=False, **options):
    """A call to its end: `.returncode`, and `.output`, which is what it said. `fresh` starts the program itself."""
    words = command(folder, *arguments, **options)
    with tempfile.TemporaryFile("w+") as log:
        if fresh:
            run = subprocess.run(words, env=environment(), stdout=log, stderr=log, timeout=LIMIT_S, check=False)
            code = run.returncode
        else:
            code = _forked(words[1:], log)
        log.seek(0)
        return SimpleNamespace(returncode=code, output=log.read())


def _forked(arguments, log):
    with tempfile.NamedTemporaryFile("r") as log_path:
        process = FORKS.Process(target=_answer, args=(arguments, log_path.name, environment(), os.getcwd()))
        process.start()
        process.join(LIMIT_S)
        process.kill()
        process.join()
        log.write(log_path.read())
    return process.exitcode


def _answer(arguments, log_path, variables, folder):
    """In a process of its own: what the program `snakemake` does."""
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(variables)
    file = os.open(log_path, os.O_WRONLY | os.O_APPEND)
    os.dup2(file, 1)
    os.dup2(file, 2)
    from snakemake.cli import main

    main(arguments)


def jobs(output):
    """Rule -> how many of its jobs a call has planned."""
    if "Nothing to be done" in output:
        return {}
    assert "Job stats:" in output, output
    table = output.split("Job stats:")[1].split("total")[0]
    return {name: int(count) for name, count in re.findall(r"^(\w+) +(\d+)$", table, flags=re.MULTILINE)}


def planned(folder, *targets, **options):
    """What a call would do."""
    done = snakemake(folder, *targets, "-n", **options)
    assert done.returncode == 0, done.output
    return jobs(done.output)


def overlay(folder, **values):
    """A configuration file that goes on top of tiny.yaml."""
    path = folder / "overlay.yaml"
    path.write_text(yaml.safe_dump(values))
    return (TINY, path)


def start(folder, *arguments, **options):
    """A call in a session of its own, which can be killed together with its jobs; what it says goes to said.txt."""
    with open(folder / "said.txt", "a") as log:
        return subprocess.Popen(
            command(folder, *arguments, **options),
            env=environment(),
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def wait_for(condition, process, seconds=600):
    """What the condition gives once it gives something."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        assert process.poll() is None, "Snakemake ended before"
        time.sleep(0.02)
    raise AssertionError("waited too long")

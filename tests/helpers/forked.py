"""`kinetext` as one process or as several, each forked from one that has imported torch before: half of what a small training takes
are imports. What is about starting processes, or ending them, starts the program itself.
"""

import multiprocessing
import os
import socket
import sys
import tempfile

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(
    [
        "snakemake.cli",
        "kinetext.plan",
        "parsed_sources",
        "kinetext.training.train",
        "kinetext.evaluation.predict",
    ]
)


def kinetext(*arguments, processes=1, variables=None, limit_s=180):
    """Run a command as several processes that connect as those of torchrun do; return their output. Fail if one fails."""
    meet = {}
    if processes > 1:
        with socket.socket() as free:
            free.bind(("localhost", 0))
            meet = {"MASTER_ADDR": "localhost", "MASTER_PORT": str(free.getsockname()[1])}
        meet |= {"TORCHELASTIC_RUN_ID": "test", "WORLD_SIZE": str(processes), "LOCAL_WORLD_SIZE": str(processes)}
    with tempfile.NamedTemporaryFile("r") as log:
        started = []
        for rank in range(processes):
            environment = {"RANK": str(rank), "LOCAL_RANK": str(rank)} if meet else {}
            about = (arguments, {**os.environ, **meet, **environment}, variables or {}, log.name)
            started.append(FORKS.Process(target=_run, args=about))
            started[-1].start()
        for process in started:
            process.join(limit_s)
            process.kill()
            process.join()
        output = log.read()
    assert [process.exitcode for process in started] == [0] * processes, output
    return output


def _run(arguments, environment, variables, log):
    os.environ.clear()
    os.environ.update(environment)
    file = os.open(log, os.O_WRONLY | os.O_APPEND)
    os.dup2(file, 1)
    os.dup2(file, 2)
    from importlib import import_module

    from kinetext.cli import main

    for name, value in variables.items():
        module, _, attribute = name.rpartition(".")
        setattr(import_module(module), attribute, value)
    sys.argv = ["kinetext", *map(str, arguments)]
    main()

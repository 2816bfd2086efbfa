"""Log run folders from many processes at once: `python writers.py RESULTS RUN_FOLDER...` starts one process per run folder.

Each calls `log_run`, all at the same moment. mlflow is imported before the fork: sixteen imports would take a minute.
"""

import logging
import multiprocessing
import os
import sys
from pathlib import Path

from kinetext.config.report import TrackingOptions
from kinetext.tracking import store
from kinetext.tracking.log import log_run


def write(barrier, results, run):
    barrier.wait()
    log_run([run], results, TrackingOptions(models="none"), results / f"{run.name}.json")


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    os.environ.update(store.ENVIRONMENT)
    import mlflow  # noqa: F401

    results, *runs = map(Path, sys.argv[1:])
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(len(runs))
    writers = [context.Process(target=write, args=(barrier, results, run)) for run in runs]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    sys.exit(any(writer.exitcode for writer in writers))

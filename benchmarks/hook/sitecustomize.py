"""Python runs this first in every process when the folder is on PYTHONPATH: a kinetext command then appends to the file
KINETEXT_TIMES its name, how many seconds it imported, how many it did anything else, and the CPU seconds of its workers.
"""

import atexit
import builtins
import json
import os
import resource
import sys
import threading
import time

STARTED = time.perf_counter()
real_import = builtins.__import__
depth, importing_s = 0, 0.0


def timed_import(*arguments, **options):
    """Import a module and count the time of the outermost import, which includes those inside it."""
    global depth, importing_s
    if depth or threading.current_thread() is not threading.main_thread():
        return real_import(*arguments, **options)
    depth, started = 1, time.perf_counter()
    try:
        return real_import(*arguments, **options)
    finally:
        depth = 0
        importing_s += time.perf_counter() - started


def write_times():
    """One line; nothing from Snakemake itself and from the workers that a command starts."""
    workers = sys.modules.get("multiprocessing")
    if os.path.basename(sys.argv[0]) != "kinetext" or (workers and workers.parent_process()):
        return
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    line = {
        "command": sys.argv[1],
        "imports_s": importing_s,
        "work_s": time.perf_counter() - STARTED - importing_s,
        "children_s": children.ru_utime + children.ru_stime,
    }
    with open(os.environ["KINETEXT_TIMES"], "a") as file:
        file.write(json.dumps(line) + "\n")


if "KINETEXT_TIMES" in os.environ:
    builtins.__import__ = timed_import
    atexit.register(write_times)

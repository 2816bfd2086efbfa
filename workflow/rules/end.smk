# The report while runs finish, and the end of a call: the report and a summary in the terminal, whatever failed.

import shutil
import subprocess
import sys
import time
from contextlib import suppress

from kinetext.report.refresh import Refresher, write_plan

PLAN = f"{RESULTS}/unfinished/plan.json"
METRICS = [Path(f"{RESULTS}/runs/{run}/metrics.parquet") for run in RUNS]
REPORT = ["report", "--plan", PLAN, "--since", str(time.time())]  # errors of this call, not of an earlier one
REFRESHER = Refresher(REPORT, METRICS, Path(f"{RESULTS}/logs/report.log"))


STOPPED = Path(f"{RESULTS}/logs/preflight.log")  # why nothing was run


def start_reports():
    """Check what would stop the run, then render the report again while runs finish.

    If a check fails, there is a report of the runs that are finished, with the reason. Results in a bucket have one report,
    at the end.
    """
    if not BUCKET:
        with suppress(OSError):  # a full disk: the jobs say so
            write_plan(Path(PLAN), CONFIG.report, [(run, method_trains(run)) for run in RUNS.values()])
            STOPPED.unlink(missing_ok=True)
    try:
        check_before_start()
    except WorkflowError as error:
        if not BUCKET:
            with suppress(OSError):
                STOPPED.parent.mkdir(parents=True, exist_ok=True)
                STOPPED.write_text(f"kinetext: {error}\n")
        end_with_report(failed=True)
        raise
    if not BUCKET:
        REFRESHER.start()


def end_with_report(failed):
    """Print the results, warnings and errors, and render the report of the finished runs if others failed.

    A call that made only some files, as its user asked, ends without.
    """
    REFRESHER.stop()
    complete = all(path.is_file() for path in METRICS) and os.path.isdir(f"{RESULTS}/figures")
    if os.path.isfile(PLAN) and (failed or complete):
        subprocess.run([sys.executable, "-m", "kinetext", *REPORT, "--ended"], check=False)
    if not BUCKET and complete and not failed:
        shutil.rmtree(f"{RESULTS}/unfinished", ignore_errors=True)

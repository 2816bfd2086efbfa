# The report while runs finish, and the end of a call: the report and a summary in the terminal, whatever failed.

import shutil
import subprocess
import sys
import time

from kinetext.report.refresh import Refresher, write_plan

PLAN = f"{RESULTS}/unfinished/plan.json"
METRICS = [Path(f"{RESULTS}/runs/{run}/metrics.parquet") for run in RUNS]
REPORT = ["report", "--plan", PLAN]
REFRESHER = Refresher([*REPORT, "--since", str(time.time())], METRICS, Path(f"{RESULTS}/logs/report.log"))


def start_reports():
    """Render the report again while runs finish. Results in a bucket have one report, at the end."""
    if not BUCKET:
        write_plan(Path(PLAN), CONFIG.report, [(run, method_trains(run)) for run in RUNS.values()])
        REFRESHER.start()


def end_with_report(failed):
    """Print the results, warnings and errors, and render the report of the finished runs if others failed.

    A call that made only some files, as its user asked, ends without.
    """
    REFRESHER.stop()
    complete = all(path.is_file() for path in METRICS) and os.path.isdir(f"{RESULTS}/figures")
    if not BUCKET and (failed or complete):
        subprocess.run([sys.executable, "-m", "kinetext", *REPORT, "--ended"], check=False)
    if not BUCKET and complete and not failed:
        shutil.rmtree(f"{RESULTS}/unfinished", ignore_errors=True)

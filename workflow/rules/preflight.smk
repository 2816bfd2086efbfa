# Before the first job of a run: what would stop it or spoil its results, one sentence each (kinetext check-config --preflight).

import sys


def check_before_start():
    """Print what the preflight finds. Raise a WorkflowError with everything that would make jobs fail.

    The environment variable KINETEXT_PREFLIGHT changes this: `warn` runs what can run, `off` checks nothing.
    """
    mode = os.environ.get("KINETEXT_PREFLIGHT", "stop")
    if mode == "off":
        return
    from kinetext.start.preflight import preflight  # imports torch: not needed for a dry run

    stops = []
    try:
        file = str(workflow.configfiles[-1]) if workflow.configfiles else "config.yaml"
        for check in preflight(CONFIG, file, jobs_here=workflow.local_exec):
            print(check, file=sys.stderr, flush=True)
            stops += [str(check)] if check.level == "stop" else []
    except Exception as error:  # a check that cannot be done must not cost the run
        print(f"warning: preflight: ended early ({type(error).__name__}: {error})", file=sys.stderr, flush=True)
    if stops and mode != "warn" and not BUCKET:  # tables in a bucket are not seen
        raise WorkflowError("\n".join([*stops, "Nothing was run. KINETEXT_PREFLIGHT=warn runs what does not need it."]))


def lift_rate_limit():
    """Start jobs on this machine as soon as there is room, at any rate.

    Snakemake limits starts to 100 a second by default. To that end every finished job adds a timer that looks through
    all ready jobs once a second until none is left: a core is busy with it after some hundred jobs (Snakemake 9.27,
    https://github.com/snakemake/snakemake/pull/3744).
    """
    if workflow.local_exec:
        workflow.scheduler.job_rate_limiter = None

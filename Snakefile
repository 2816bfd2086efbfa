# kinetext: which way of teaching an image-text model motion works best on my videos, and do motion descriptions help?
# The rules follow the flow of the data; each calls the command of its own name. Options: config.yaml.

from snakemake.utils import min_version

min_version("9.27")  # priorities that depend on wildcards

if "experiments" not in config:  # --configfile FILE replaces config.yaml; it is not merged into it

    configfile: "config.yaml"


include: "workflow/rules/common.smk"
include: "workflow/rules/preflight.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/text.smk"
include: "workflow/rules/tuning.smk"
include: "workflow/rules/runs.smk"
include: "workflow/rules/report.smk"
include: "workflow/rules/end.smk"


onstart:
    check_writable()
    lift_rate_limit()
    start_reports()


onsuccess:
    end_with_report(failed=False)


onerror:
    end_with_report(failed=True)


rule all:
    default_target: True
    input:
        f"{RESULTS}/report.html",
        tracking_files(),

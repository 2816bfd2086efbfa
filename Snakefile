# kinetext: which way of teaching an image-text model motion works best on my videos, and do motion descriptions help?
# The rules stand in the order in which data flows; each calls the command of its own name. Knobs: config.yaml.

if "experiments" not in config:  # --configfile FILE takes config.yaml's place instead of being merged into it

    configfile: "config.yaml"


include: "workflow/rules/common.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/text.smk"
include: "workflow/rules/runs.smk"
include: "workflow/rules/report.smk"


onstart:
    need_writable()


rule all:
    default_target: True
    input:
        f"{RESULTS}/report.html",
        logged_runs(),

# kinetext: which way of teaching an image-text model motion works best on my videos, and do motion descriptions help?
# The rules stand in the order in which data flows; each calls the command of its own name. Knobs: config.yaml.

configfile: "config.yaml"


include: "workflow/rules/common.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/text.smk"
include: "workflow/rules/runs.smk"
include: "workflow/rules/report.smk"


rule all:
    default_target: True
    input:
        f"{RESULTS}/report.html",
        logged_runs(),

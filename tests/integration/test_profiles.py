"""The profiles for clusters: each plans the jobs that a call here plans, names rules that exist, and leaves what needs the network
where Snakemake runs. `cluster-generic` submits through a false qsub; `slurm` and `kubernetes` run in test_slurm.py, test_bucket.py.
"""

import os
import re
import subprocess

import pytest
import yaml

from calls import command, environment, jobs, planned, snakemake
from repository import ROOT

pytestmark = pytest.mark.workflow

PROFILES = sorted(path.name for path in (ROOT / "workflow/profiles").iterdir())
RULES = set(
    re.findall(
        r"^(?:rule|checkpoint) (\w+):",
        "".join(path.read_text() for path in (ROOT / "workflow/rules").glob("*.smk")),
        flags=re.MULTILINE,
    )
)
NEED_NETWORK = {"describe_classes", "log_run"}  # a language model, MLflow's server
QSUB = """#!/bin/sh
# takes a job as PBS does: prints its number, runs it later
echo "$@" >> {folder}/qsub.txt
for script; do :; done
setsid sh "$script" > /dev/null 2>&1 &
wc -l < {folder}/qsub.txt
"""


def settings(profile):
    return yaml.safe_load((ROOT / "workflow/profiles" / profile / "config.yaml").read_text())


@pytest.mark.parametrize("profile", PROFILES)
def test_a_profile_names_rules_that_exist(profile):
    options = settings(profile)
    groups, threads, resources = (set(options.get(key, {})) for key in ("groups", "set-threads", "set-resources"))
    assert groups | threads | resources <= RULES
    assert set(options.get("group-components", {})) <= set(options.get("groups", {}).values())


@pytest.mark.parametrize("profile", PROFILES)
def test_what_needs_the_network_is_sent_nowhere(profile):
    local = re.search(r"^localrules:\n((?: .*\n)+)", (ROOT / "workflow/rules/common.smk").read_text(), re.MULTILINE)[1]
    assert set(re.findall(r"\w+", local)) >= NEED_NETWORK
    options = settings(profile)
    assert not NEED_NETWORK & {*options.get("groups", {}), *options.get("set-resources", {})}


@pytest.mark.parametrize("profile", [name for name in PROFILES if name != "kubernetes"])  # that one asks its bucket
def test_a_profile_plans_what_is_planned_here(profile, tmp_path):
    done = snakemake(tmp_path, "-n", "--workflow-profile", ROOT / "workflow/profiles" / profile)
    assert done.returncode == 0, done.output
    assert jobs(done.output) == planned(tmp_path)


def test_jobs_go_through_a_submit_command_with_what_they_ask_for(tmp_path):
    """Until the frames are there; each job asks for what its rule wants."""
    work, programs = tmp_path / "work", tmp_path / "bin"
    work.mkdir()
    programs.mkdir()
    (programs / "qsub").write_text(QSUB.replace("{folder}", str(tmp_path)))
    (programs / "qsub").chmod(0o755)
    profile = ("--workflow-profile", ROOT / "workflow/profiles/cluster-generic", "--seconds-between-status-checks", "1")
    words = command(
        work,
        "results/data/shapes/frames/64-shortest-bicubic/frames.json",
        *profile,
        "--set-threads",
        "extract_frames=2",
    )
    paths = environment() | {"PATH": f"{programs}:{environment()['PATH']}"}
    done = subprocess.run(words, env=paths, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    asked = (tmp_path / "qsub.txt").read_text().splitlines()
    of = [re.search(r"snakejob\.(\w+)\.", line)[1] for line in asked]
    assert of == ["index_clips", "extract_extract_frames", "mine_check_frames"]  # a group is named, too
    index, extract, _ = asked
    assert "-q batch" in index
    assert "-l select=1:ncpus=2:mem=4000mb:ngpus=0 -l walltime=3600" in index  # runtime 60 min
    assert "-l select=1:ncpus=2:mem=4000mb:ngpus=0 -l walltime=1200" in extract  # 10 min and 1 for each 100 clips
    assert (work / "results/data/shapes/frames/64-shortest-bicubic/frames.json").is_file()
    frames = os.listdir(work / "results/data/shapes/frames/64-shortest-bicubic")
    assert sorted(frames) == ["00000.arrow", "frames.json"]

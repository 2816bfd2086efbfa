"""The tiny experiment through a real SLURM of two nodes on this machine (slurm_machine.py); skipped where there is none.

The overlay is all that such a SLURM needs beside workflow/profiles/slurm: it has no accounting database, and shorter waits.
"""

import os
import re
import shutil
import signal

import pytest
import yaml
from slurm_machine import missing, say, slurm

from kinetext import tables

from .test_workflow import ROOT, RUNS, TINY, command, environment, finished, overlay, snakemake, start, wait_for

__all__ = ["finished"]  # the fixture: one finished local run
reason = missing()
pytestmark = [pytest.mark.workflow, pytest.mark.skipif(reason is not None, reason=f"no SLURM here: {reason}")]

PROFILE = (
    *("--workflow-profile", ROOT / "workflow/profiles/slurm"),
    *("--slurm-status-command", "squeue", "--slurm-no-account"),
    *("--slurm-init-seconds-before-status-checks", "2", "--seconds-between-status-checks", "1", "--latency-wait", "10"),
)

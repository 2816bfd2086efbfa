"""Pytest plug-in: list what was skipped and why; in CI (CI=true) fail if a skipped test could have run.

A test may be skipped in CI only for something in OPTIONAL that this machine lacks. Its reason starts with that name.
"""

import importlib.util
import os
import shutil
from collections import Counter
from pathlib import Path

import pytest

from disks import no_mounts
from repository import ROOT

SERVERS = {
    "llama": "llama-cpp-python",
    "transformers": "transformers serve",
}  # environment -> server of language models


def server_program(environment: str, program: str = "python") -> Path:
    """Return a program of a server's environment, which is outside the one of the tests (CONTRIBUTING.md)."""
    return Path(os.environ.get("KINETEXT_SERVERS", "/tmp/kinetext-servers")) / environment / "bin" / program


def has_server(environment: str) -> bool:
    """Return whether a server's environment has its package, and not only a Python."""
    package = {"llama": "llama_cpp/server", "transformers": "transformers"}[environment]
    return any(server_program(environment).parent.parent.glob(f"lib/*/site-packages/{package}"))


BROWSERS = ("chromium", "chromium-browser", "google-chrome")
OPTIONAL = {  # name -> whether this machine has it
    "SLURM": lambda: bool(shutil.which("slurmctld") and os.geteuid() == 0),
    "PostgreSQL": lambda: any(Path("/usr/lib/postgresql").glob("*/bin/initdb")),
    "Chromium": lambda: any(map(shutil.which, BROWSERS)),
    "mounts": lambda: no_mounts() is None,
    "llama-cpp-python": lambda: has_server("llama"),
    "transformers serve": lambda: has_server("transformers"),
    "bsdtar": lambda: bool(shutil.which("bsdtar")),
    "unrar": lambda: bool(shutil.which("unrar")),
    "tokenizers": lambda: bool(importlib.util.find_spec("tokenizers")),
    "onnx": lambda: all(importlib.util.find_spec(name) for name in ("onnx", "onnxscript", "onnxruntime")),
    "sample videos": lambda: (ROOT.parent / "shared/data/videos").is_dir(),
}


def skip_reasons(config) -> Counter:
    """Return reason -> number of tests; a skipped module counts as one."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    reports = reporter.stats.get("skipped", []) if reporter else []
    return Counter(report.longrepr[2].removeprefix("Skipped: ") for report in reports)


def allowed(reason: str) -> bool:
    """Return whether the reason names an optional part that this machine lacks."""
    return any(reason.startswith(f"{name}: ") and not has_it() for name, has_it in OPTIONAL.items())


def forbidden(config) -> list[str]:
    """Return the reasons that are no reasons in CI."""
    return [reason for reason in skip_reasons(config) if os.environ.get("CI") == "true" and not allowed(reason)]


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session, exitstatus):
    """Turn a green session into a failed one if it skipped what could have run."""
    if exitstatus == pytest.ExitCode.OK and not hasattr(session.config, "workerinput") and forbidden(session.config):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter, config):
    """Print one line for each reason."""
    reasons = skip_reasons(config)
    if not reasons:
        return
    terminalreporter.section(f"{sum(reasons.values())} skipped")
    failures = set(forbidden(config))
    for reason, count in reasons.most_common():
        terminalreporter.line(f"{count:4d}  {reason}" + ("  <- not allowed in CI" if reason in failures else ""))

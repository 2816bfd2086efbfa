"""Write envs/kinetext.yaml from requirements.lock, so that `snakemake --sdm conda` gets the same pins (tests/unit/test_setup.py)."""

from pathlib import Path

import yaml

ROOT = Path(__file__).parent.parent


def conda_environment() -> dict:
    """Return the content of envs/kinetext.yaml."""
    pins = [line.strip() for line in (ROOT / "requirements.lock").read_text().splitlines() if line.strip()]
    return {"channels": ["conda-forge"], "dependencies": ["python=3.11", "pip", {"pip": pins}]}


if __name__ == "__main__":
    (ROOT / "envs/kinetext.yaml").write_text(yaml.safe_dump(conda_environment(), sort_keys=False, width=200))

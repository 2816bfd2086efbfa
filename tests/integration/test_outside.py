"""One tiny experiment in which every plug-in is from outside: five files and an installed package."""

import json
import shutil

import pytest

from calls import snakemake
from kinetext.core import tables
from outside_plugins import OUTSIDE

pytestmark = pytest.mark.workflow


def test_an_experiment_of_plugins_from_outside_runs_to_its_report(tmp_path, monkeypatch):
    site, work = tmp_path / "site", tmp_path / "work"
    for name in ("my_lab", "my_lab-1.0.dist-info"):
        (site / name).mkdir(parents=True)
    shutil.copy(OUTSIDE / "calibration.py", site / "my_lab")
    (site / "my_lab-1.0.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: my_lab\nVersion: 1.0\n")
    (site / "my_lab-1.0.dist-info/entry_points.txt").write_text("[kinetext.metrics]\nece5 = my_lab.calibration\n")
    monkeypatch.setenv("PYTHONPATH", str(site), prepend=":")
    work.mkdir()
    for name in ("sliding", "rhymes", "patchless", "adapter", "smooth"):
        shutil.copy(OUTSIDE / f"{name}.py", work)

    done = snakemake(work, configs=(OUTSIDE / "config.yaml",), fresh=True)

    assert done.returncode == 0, done.output
    run = work / "results/runs/sliding/supervised/patchless/adapter/rhymes/seed0"
    rows = {
        row["metric"]: row
        for row in tables.read_rows("metrics", run / "metrics.parquet")
        if (row["split"], row["frame_order"]) == ("test", "ordered")
    }
    assert (rows["ece5"]["unit"], rows["ece5"]["higher_is_better"]) == ("share", False)
    assert 0 <= rows["ece5"]["low"] <= rows["ece5"]["high"] <= 1
    assert json.loads((run / "cost.json").read_text())["new_parameters"] == 2 * (2 * 32 * 4 + 4 + 32)
    terms = {row["metric"] for row in tables.read_rows("collected_curves", work / "results/tables/curves.parquet")}
    assert any("smooth" in name for name in terms), terms
    assert "ece5" in (work / "results/report.html").read_text()

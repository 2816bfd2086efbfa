"""`kinetext compare RUN RUN`: its output for two small synthetic runs, and the runs that it refuses."""

import numpy as np
import pytest
import yaml
from scipy import stats
from typer.testing import CliRunner

from kinetext.cli import app
from kinetext.core.tables import write_table
from kinetext.report.compare import compare

LABELS = ["up", "down", "left"]


def make_run(root, method="stan", seed=0, right=None, dataset="d", protocol="p", split="test", labels=LABELS, clips=30):
    """A run whose clips b in `right` are right; clips go round the classes."""
    run = f"{dataset}/{protocol}/tiny/{method}/names/seed{seed}"
    folder = root / run
    folder.mkdir(parents=True)
    spec = {"run": run, "dataset": dataset, "protocol": protocol, "method": method, "texts": "names", "seed": seed}
    spec |= {"backbone": "tiny", "method_module": method, "method_options": {}, "training": {}, "fingerprint": "f"}
    spec |= {"dataset_options": {}, "backbone_options": {}, "text_options": {}}
    (folder / "run.yaml").write_text(yaml.safe_dump(spec))
    rows = []
    for b in range(clips):
        score_K = np.zeros(len(labels))
        score_K[(b + (b not in (right or ()))) % len(labels)] = 1
        target = {"target": b % len(labels), "score_K": score_K.tolist()}
        rows.append({"clip_id": f"clip{b}", "split": split, "frame_order": "ordered", **target})
    write_table("predictions", rows, folder / "predictions.parquet", {"labels": {split: labels}})
    return folder


def test_difference_p_and_changed_classes(tmp_path):
    ups = set(range(0, 30, 3))
    a = make_run(tmp_path, "moted", right=ups | {1, 4, 2})  # all of up, two of down, one of left
    b = make_run(tmp_path, "stan", right={2, 5, 8})  # three of left
    output = CliRunner().invoke(app, ["compare", str(a), str(b)]).output
    assert "A  moted (reconstruction) with names, tiny, seed 0" in output
    assert "test: top1 of 30 clips" in output
    exact = stats.binomtest(2, 14).pvalue  # 12 clips only A has right, 2 only B: McNemar's exact test
    assert "A  43.3   B  10.0   A - B +33.3 [" in output
    assert float(output.partition("p = ")[2][:5]) == pytest.approx(exact, abs=0.004)
    assert "2 classes higher with A, 1 with B, 0 equal" in output
    order = [line.split()[0] for line in output.splitlines() if " clips   A" in line]
    assert order == ["up", "down", "left"]  # most gained first, most lost last
    up = next(line for line in output.splitlines() if line.strip().startswith("up"))
    assert "10 clips   A 100.0   B   0.0   A - B +100.0" in up
    assert float(up.partition("p = ")[2]) == pytest.approx(3 * 2 / 2**10, abs=0.0006)  # exact, times three classes


def test_the_folder_above_seeds_is_their_mean(tmp_path):
    make_run(tmp_path, "moted", 0, right=range(30))
    whole = make_run(tmp_path, "moted", 1, right=range(15)).parent
    other = make_run(tmp_path, "stan", right=range(30))
    output = compare(whole, other)
    assert "A  moted (reconstruction) with names, tiny, 2 seeds" in output
    assert "A  75.0   B 100.0   A - B -25.0" in output


def test_captions_are_compared_both_ways_and_have_no_classes(tmp_path):
    folders = []
    for method, skill in (("moted", 1.0), ("stan", 0.0)):
        folder = make_run(tmp_path, method)
        noise_BK = np.random.default_rng(0).normal(size=(12, 12))
        rows = [
            {"clip_id": f"c{b}", "split": "test", "frame_order": "ordered", "target": b, "score_K": s.tolist()}
            for b, s in enumerate(noise_BK + 9 * skill * np.eye(12))
        ]
        metadata = {"labels": {"test": [f"c{b}" for b in range(12)]}, "captioned": True}
        write_table("predictions", rows, folder / "predictions.parquet", metadata)
        folders.append(folder)
    output = compare(*folders)
    assert "test: t2v_r1 of 12 clips" in output
    assert "test: v2t_r1 of 12 clips" in output
    assert "classes higher" not in output


def test_clips_of_only_one_run_are_left_out_and_counted(tmp_path):
    a, b = make_run(tmp_path, "moted", right=range(30)), make_run(tmp_path, "stan", clips=24)
    assert "top1 of 24 clips (6 that only one has are left out)" in compare(a, b)


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"dataset": "e"}, "their data sets are 'd' and 'e'"),
        ({"protocol": "q"}, "their protocols are 'p' and 'q'"),
        ({"split": "novel"}, "no split in common; the first has test, the second novel"),
        ({"labels": [*LABELS, "right"]}, r"their test clips were scored among other classes \(3 and 4\)"),
        ({"method": "stan"}, "is compared with itself"),
    ],
)
def test_runs_that_cannot_be_compared_are_refused(tmp_path, other, words):
    a = make_run(tmp_path / "a")
    b = a if other == {"method": "stan"} else make_run(tmp_path / "b", **{"method": "moted", **other})
    with pytest.raises(ValueError, match=words):
        compare(a, b)


def test_a_folder_without_run_or_predictions_is_an_error(tmp_path):
    a = make_run(tmp_path)
    with pytest.raises(ValueError, match="not a run folder"):
        compare(a, tmp_path)
    b = make_run(tmp_path, "moted")
    (b / "predictions.parquet").unlink()
    with pytest.raises(ValueError, match="run `kinetext predict-clips` for it first"):
        compare(a, b)

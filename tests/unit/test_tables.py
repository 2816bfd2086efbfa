"""The collected tables: contents, readers, and files of earlier and later versions.

benchmarks/collect.py measures the time of a thousand runs.
"""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from kinetext.core import schema_versions
from kinetext.core.collected import COLLECTED
from kinetext.core.tables import content_matches, read_rows, read_table, schema, write_table
from kinetext.evaluation.metrics.top_k import TopK
from kinetext.evaluation.predictions import Predictions, predicted_classes
from kinetext.report.collect import collect_metrics
from repository import ROOT

LABELS = ["up", "down"]


def make_run(results: Path, seed: int, scores_BK: list[list[float]], trained: bool = True) -> Path:
    """A measured run of four clips, the second half of class `down`."""
    run = f"shapes/supervised/tiny/stan/names/seed{seed}"
    folder = results / "runs" / run
    folder.mkdir(parents=True)
    about = {"dataset": "shapes", "protocol": "supervised", "method": "stan", "texts": "names", "backbone": "tiny"}
    spec = {**about, "run": run, "seed": seed, "method_module": "stan", "method_options": {"layers": 1}, "training": {}}
    spec |= {"dataset_options": {}, "backbone_options": {}, "text_options": {}, "fingerprint": "f"}
    (folder / "run.yaml").write_text(yaml.safe_dump(spec))
    rows = [
        {"clip_id": f"c{b}", "split": "test", "frame_order": order, "target": b // 2, "score_K": score_K}
        for order in ("ordered", "reversed")
        for b, score_K in enumerate(scores_BK)
    ]
    write_table("predictions", rows, folder / "predictions.parquet", {"labels": {"test": LABELS}})
    metric = {
        "split": "test",
        "metric": "top1",
        "frame_order": "ordered",
        "value": 0.5,
        "low": 0.2,
        "high": 0.8,
        "clips": 4,
    }
    write_table("metrics", [{**about, "seed": seed, **metric}], folder / "metrics.parquet")
    if trained:
        curve = {"epoch": [1, 2], "metric": ["train_loss"] * 2, "value": [2.0, 1.0]}
        pq.write_table(pa.table(curve), folder / "curves.parquet")
        benchmark = results / "benchmarks" / "train_method" / f"{run}.tsv"
        benchmark.parent.mkdir(parents=True, exist_ok=True)
        benchmark.write_text("s\th:m:s\tmax_rss\tcpu_time\n12.5\t0:00:12\t-\t10\n")
    return folder


@pytest.fixture(scope="module")
def collected(tmp_path_factory):
    results = tmp_path_factory.mktemp("results")
    texts = [{"label": "up", "kind": "name", "sentence": "going up", "status": "ok"}]
    write_table("texts", texts, results / "data/shapes/supervised/tiny/texts/names.parquet")
    tied_and_failed = [[2.0, 2.0], [1.0, 0.0], [0.0, 1.0], [np.nan, np.nan]]
    runs = [make_run(results, 0, tied_and_failed), make_run(results, 1, [[0.0, 1.0]] * 4, trained=False)]
    collect_metrics(runs, results, results / "tables")
    return results / "tables"


def test_all_tables_are_written_with_their_schema(collected):
    assert {path.stem for path in collected.iterdir()} == set(COLLECTED)
    for name in ("metrics", "runs", "confusions", "costs", "differences"):
        actual = pq.read_schema(collected / f"{name}.parquet")
        assert actual.names == schema(name).names
        assert actual.metadata[b"schema_version"] == str(schema_versions.SCHEMA_VERSION).encode()
        assert all(b"meaning" in field.metadata for field in actual)


def test_a_tie_and_a_clip_without_frames_are_confusions(collected):
    rows = read_rows("confusions", collected / "confusions.parquet")
    counts = {(row["seed"], row["label"], row["predicted"]): row["clips"] for row in rows}
    assert counts == {
        (0, "up", "down"): 1,  # the tie
        (0, "up", "up"): 1,
        (0, "down", "down"): 1,
        (0, "down", None): 1,  # no frames
        (1, "up", "down"): 2,
        (1, "down", "down"): 2,
    }


def test_predicted_classes_agree_with_top1():
    scores_BK = np.random.default_rng(0).integers(0, 4, size=(200, 5)).astype(float)
    predictions = Predictions(list("abcde"), np.arange(200) % 5, scores_BK)
    assert np.mean(predicted_classes(predictions) == predictions.target_B) == TopK().measure(predictions)


def test_costs_curves_and_texts_are_read_from_the_runs(collected):
    first, second = read_rows("costs", collected / "costs.parquet")
    assert (first["train_method_s"], first["train_method_mib"]) == (12.5, None)  # "-": too short to be seen
    assert second["train_method_s"] is None
    curves = read_rows("collected_curves", collected / "curves.parquet")
    assert [(row["seed"], row["epoch"], row["value"]) for row in curves] == [(0, 1, 2.0), (0, 2, 1.0)]
    (text,) = read_rows("collected_texts", collected / "texts.parquet")  # once, though two runs use it
    assert (text["dataset"], text["texts"], text["sentence"]) == ("shapes", "names", "going up")
    assert read_rows("runs", collected / "runs.parquet")[0]["method_options"] == '{"layers": 1}'


READERS = {
    "pandas": 'pandas.read_parquet("{path}")',
    "polars": 'polars.read_parquet("{path}")',
    "duckdb": "duckdb.sql(\"from '{path}'\")",
}


@pytest.mark.parametrize("table", COLLECTED)
@pytest.mark.parametrize("reader", READERS)
def test_one_line_of_docs_opens_each_table(collected, reader, table):
    module = pytest.importorskip(reader, reason=f"{reader} is not installed (pip install kinetext[dev])")
    line = READERS[reader]
    assert line.format(path="results/tables/metrics.parquet") in (ROOT / "docs/report.md").read_text()
    frame = eval(line.format(path=collected / f"{table}.parquet"), {reader: module})
    assert list(frame.columns) == pq.read_schema(collected / f"{table}.parquet").names
    assert len(frame) == pq.read_metadata(collected / f"{table}.parquet").num_rows


# ---- versions


def version_1(name: str, rows: list[dict], path: Path) -> None:
    """Write the table as version 1 did: without columns added since, and with the former names of renamed ones."""
    former = {now: then for then, now in schema_versions.RENAMED.get(name, {}).items()}
    old = [column for column in schema(name).names if column not in schema_versions.ADDED.get(name, ())]
    fields = [schema(name).field(column).with_name(former.get(column, column)) for column in old]
    kind = pa.schema(fields, {"kinetext_table": name, "schema_version": "1"})
    pq.write_table(pa.Table.from_pylist(rows, schema=kind), path)


@pytest.mark.parametrize("name", list(schema_versions.ADDED))
def test_columns_missing_in_version_1_are_read_as_null(name, tmp_path):
    version_1(name, [{schema(name).names[0]: "x"}], tmp_path / "t.parquet")
    table = read_table(name, tmp_path / "t.parquet")
    assert table.column_names == schema(name).names
    assert all(table[column].null_count == 1 for column in schema_versions.ADDED[name])


@pytest.mark.parametrize("name", ["predictions", "metrics"])
def test_columns_renamed_since_version_1_are_read_under_their_new_names(name, tmp_path):
    version_1(name, [{"view": "reversed"}], tmp_path / "t.parquet")
    assert "view" in pq.read_schema(tmp_path / "t.parquet").names
    assert read_rows(name, tmp_path / "t.parquet")[0]["frame_order"] == "reversed"


@pytest.mark.parametrize("name", ["texts", "collected_texts"])
def test_the_phases_of_version_5_are_read_as_positions(name, tmp_path):
    def write(*phases):
        rows = pa.table({c: pa.array([None] * len(phases), schema(name).field(c).type) for c in schema(name).names})
        rows = rows.drop_columns(["position"]).append_column("phase", pa.array(phases))
        pq.write_table(rows.replace_schema_metadata({"schema_version": "5"}), tmp_path / "t.parquet")

    write("start", "whole", "end")
    assert [row["position"] for row in read_rows(name, tmp_path / "t.parquet")] == [0.0, None, 1.0]
    assert read_table(name, tmp_path / "t.parquet").schema.field("position").type == pa.float64()
    write("middle")
    with pytest.raises(ValueError, match=r"t.parquet: position is 'middle'; an earlier version knew whole, start, end"):
        read_table(name, tmp_path / "t.parquet")


def test_removed_columns_of_version_1_are_dropped(tmp_path):
    kind = [("run", pa.string()), ("train_seconds", pa.float64())]
    rest = [
        (c, schema("runs").field(c).type) for c in schema("runs").names[1:] if c not in schema_versions.ADDED["runs"]
    ]
    old = pa.schema(kind + rest, {"schema_version": "1"})
    pq.write_table(pa.Table.from_pylist([{"run": "x", "train_seconds": 3.0}], schema=old), tmp_path / "runs.parquet")
    assert read_table("runs", tmp_path / "runs.parquet").column_names == schema("runs").names


def test_predictions_of_version_1_are_collected(collected, tmp_path):
    folder = make_run(tmp_path, 0, [[1.0, 0.0]] * 4)
    path = folder / "predictions.parquet"
    old = pq.read_table(path).drop_columns(["bank_P"])
    pq.write_table(old.replace_schema_metadata({**old.schema.metadata, b"schema_version": b"1"}), path)
    collect_metrics([folder], tmp_path, tmp_path / "tables")
    assert [row["clips"] for row in read_rows("confusions", tmp_path / "tables/confusions.parquet")] == [2, 2]


def test_a_file_of_a_later_version_is_refused_with_what_to_do(tmp_path):
    path = tmp_path / "runs.parquet"
    write_table("runs", [], path)
    table = pq.read_table(path)
    pq.write_table(table.replace_schema_metadata({"schema_version": "99"}), path)
    with pytest.raises(ValueError, match=r"runs\.parquet: was written by a later kinetext \(schema 99.*update"):
        read_table("runs", path)


# ---- a thousand runs


def test_each_file_of_a_run_is_opened_once(collected, tmp_path, monkeypatch):
    folders = [make_run(tmp_path, seed, [[1.0, 0.0]] * 4) for seed in range(3)]
    opened: list[str] = []
    whole = pq.ParquetFile

    def counted(path, *args, **kwargs):
        opened.append(str(path))
        return whole(path, *args, **kwargs)

    monkeypatch.setattr(pq, "ParquetFile", counted)
    collect_metrics(folders, tmp_path, tmp_path / "tables")
    of_runs = [path for path in opened if "/runs/" in path]
    assert len(of_runs) == len(set(of_runs)) == 3 * 3  # predictions, metrics, curves


def test_rows_with_many_scores_are_written_in_parts_that_read_as_one(tmp_path, monkeypatch):
    """Arrow then holds a copy of one part only."""
    scores_BK = np.random.default_rng(0).normal(size=(10, 7)).astype(np.float32)
    rows = [{"clip_id": f"c{b}", "target": b, "score_K": score_K} for b, score_K in enumerate(scores_BK)]
    write_table("predictions", rows, tmp_path / "whole.parquet", {"labels": {"test": LABELS}})
    monkeypatch.setattr("kinetext.core.tables.PART_NUMBERS", 21)
    write_table("predictions", rows, tmp_path / "parts.parquet", {"labels": {"test": LABELS}})
    counts = [pq.ParquetFile(tmp_path / f"{name}.parquet").num_row_groups for name in ("whole", "parts")]
    assert counts == [1, 4]
    whole, parts = (read_table("predictions", tmp_path / f"{name}.parquet") for name in ("whole", "parts"))
    assert parts.equals(whole)
    assert content_matches(tmp_path / "parts.parquet")


def test_numbers_of_scores_have_no_dictionary_and_words_have_one(tmp_path):
    row = {"clip_id": "c", "split": "test", "frame_order": "ordered", "target": 0, "score_K": np.ones(2, np.float32)}
    write_table("predictions", [row], tmp_path / "p.parquet", {"labels": {"test": LABELS}})
    group = pq.ParquetFile(tmp_path / "p.parquet").metadata.row_group(0)
    columns = {column.path_in_schema: column for column in map(group.column, range(group.num_columns))}
    assert columns["split"].has_dictionary_page
    assert not columns["score_K.list.element"].has_dictionary_page
    encoded = read_table("predictions", tmp_path / "p.parquet", ["split"])
    assert pa.types.is_dictionary(encoded.schema.field("split").type)
    assert encoded.to_pylist() == read_rows("predictions", tmp_path / "p.parquet")


def test_a_table_without_rows_is_written(tmp_path):
    write_table("predictions", [], tmp_path / "none.parquet", {"labels": {}})
    assert read_rows("predictions", tmp_path / "none.parquet") == []

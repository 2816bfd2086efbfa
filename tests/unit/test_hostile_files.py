"""Small files from others that would fill the memory when read: each is refused with a message."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kinetext.config.run import read_run
from kinetext.core.documents import load_json, load_yaml
from kinetext.core.tables import open_table, read_rows
from kinetext.doctor.files import check_file
from kinetext.tracking.content import read_folder
from tracked import make_run


def write_null_rows(path, rows, column="metric"):
    with pq.ParquetWriter(path, pa.schema([(column, pa.string())]), compression="zstd") as writer:
        for _ in range(rows // 1_000_000):
            writer.write_table(pa.table({column: pa.nulls(1_000_000, pa.string())}))


def test_table_with_millions_of_null_rows_is_refused(tmp_path):
    run = make_run(tmp_path, 0)
    for name in ("metrics.parquet", "curves.parquet"):
        path = run / name
        write_null_rows(path, 30_000_000)
        assert path.stat().st_size < 100_000
        with pytest.raises(ValueError, match=r"it declares 30000000 rows in \d+ bytes"):
            open_table(path)
        (finding,) = check_file(path)
        assert "it declares 30000000 rows" in finding.problem
        with pytest.raises(ValueError, match=f"{name}: cannot be read .*30000000 rows"):
            read_folder(run)
        make_run(tmp_path, 0)
    write_null_rows(tmp_path / "clips.parquet", 2_000_000)
    with pytest.raises(ValueError, match=r"clips\.parquet: cannot be read as the table clips"):
        read_rows("clips", tmp_path / "clips.parquet")


ALIASES = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 12)
)
HOSTILE_YAML = {  # each would crash the process or fill the memory
    "aliases": (ALIASES, "aliases expand to more than"),
    "flow": ("a: " + "[" * 200_000 + "]" * 200_000, "nested more than 100 levels"),
    "block": ("- " * 200_000, "nested more than 100 levels"),
    "cycle": ("a: &a [*a]", "refers to its own collection"),
    "tag": ("a: !!python/object/apply:os.system [echo]", "cannot be read as YAML"),
}


@pytest.mark.parametrize("name", HOSTILE_YAML)
def test_hostile_run_yaml_is_refused_by_every_reader(tmp_path, name):
    text, message = HOSTILE_YAML[name]
    run = make_run(tmp_path, 0)
    (run / "run.yaml").write_text(text)
    for read in (read_run, load_yaml):
        with pytest.raises(ValueError, match=f"run.yaml: cannot be read as YAML.*{message}|run.yaml: {message}"):
            read(run / "run.yaml")
    with pytest.raises(ValueError, match=r"run\.yaml: cannot be read"):
        read_folder(run)
    (finding,) = check_file(run / "run.yaml")
    assert "cannot be read as YAML" in finding.problem


def test_aliases_of_an_ordinary_file_are_read(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("a: &a {x: [1, 2]}\nb: *a\nc: {<<: *a, y: 3}\n")
    assert load_yaml(path) == {"a": {"x": [1, 2]}, "b": {"x": [1, 2]}, "c": {"x": [1, 2], "y": 3}}


def test_deeply_nested_json_is_refused(tmp_path):
    run = make_run(tmp_path, 0)
    (run / "cost.json").write_text("[" * 200_000 + "]" * 200_000)
    with pytest.raises(ValueError, match=r"cost\.json: cannot be read as JSON"):
        load_json(run / "cost.json")
    with pytest.raises(ValueError, match=r"cost\.json: cannot be read as JSON"):
        read_folder(run)
    (finding,) = check_file(run / "cost.json")
    assert "cannot be read as JSON" in finding.problem

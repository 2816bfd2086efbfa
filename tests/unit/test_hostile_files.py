"""Small files from others that would fill the memory when read: each is refused with a message."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

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

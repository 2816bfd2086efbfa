"""Flipped bits and cut files: readers of tables name the file, and shards are reused only where images are intact."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kinetext.core import tables
from kinetext.data.frames import _Earlier
from kinetext.data.images import content_hash, encode_image

EXAMPLES = settings(deadline=None, max_examples=150, derandomize=True, database=None)


@st.composite
def flipped(draw, content: bytes, first: int = 0, last: int = -1) -> bytes:
    """The content with bits flipped in one byte from `first` to `last`."""
    at = draw(st.integers(first, last % len(content)))
    return content[:at] + bytes([content[at] ^ draw(st.integers(1, 255))]) + content[at + 1 :]


def damaged(content: bytes) -> st.SearchStrategy[bytes]:
    """The content with bits flipped in one byte, or cut short."""
    return flipped(content) | st.integers(0, len(content) - 1).map(lambda length: content[:length])


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """The path and the bytes of a table."""
    path = tmp_path_factory.mktemp("table") / "clips.parquet"
    rows = [{"clip_id": f"c{n}", "label": "a", "split": "train"} for n in range(100)]
    tables.write_table("clips", rows, path, {"labels": ["a"]})
    return path, path.read_bytes()


@EXAMPLES
@given(data=st.data())
@pytest.mark.parametrize("read", [tables.read_rows, lambda _, path: tables.read_metadata(path)])
def test_the_error_of_a_damaged_table_names_the_file(table, read, data):
    path, content = table
    path.write_bytes(data.draw(damaged(content)))
    message = f"{path}: can be read"
    try:
        read("clips", path)
    except ValueError as error:
        message = str(error)
    assert message.startswith(f"{path}: ")


@pytest.fixture(scope="module")
def long_value(tmp_path_factory):
    """The path and the bytes of a table whose bytes 100 to 3000 are one value."""
    path = tmp_path_factory.mktemp("value") / "clips.parquet"
    tables.write_table("clips", [{"clip_id": random.Random(0).randbytes(4000).hex()}], path)
    return path, path.read_bytes()


@EXAMPLES
@given(data=st.data())
def test_a_flipped_bit_in_a_value_of_a_table_is_noticed(long_value, data):
    """Without page checksums zstd returns other values for one flipped bit in twenty, without an error."""
    path, content = long_value
    path.write_bytes(data.draw(flipped(content, 100, 3000)))
    with pytest.raises(ValueError, match=r"clips\.parquet: cannot be read as the table clips \(.*CRC"):
        tables.read_rows("clips", path)


@pytest.fixture(scope="module")
def shard(tmp_path_factory):
    """The path and the bytes of a shard, and its images by source."""
    path = tmp_path_factory.mktemp("shard") / "00000.arrow"
    generator = np.random.default_rng(0)
    rows = []
    for n in range(3):
        images = [encode_image(generator.integers(0, 256, (16, 16, 3), dtype=np.uint8), "jpeg", 95) for _ in range(2)]
        row = {"clip_id": f"c{n}", "status": "ok", "source": f"source{n}", "images": images}
        rows.append({**row, "content_hash": content_hash(images)})
    tables.write_shard("frames", [rows[:2], rows[2:]], path)
    return path, path.read_bytes(), {row["source"]: row["images"] for row in rows}


@EXAMPLES
@given(data=st.data())
def test_a_damaged_shard_is_reused_only_for_clips_whose_images_are_intact(shard, data):
    path, content, images = shard
    path.write_bytes(data.draw(damaged(content)))
    earlier = _Earlier(path)
    for source in images:
        if source in earlier:
            assert earlier.row(source)["images"] == images[source]


@pytest.mark.parametrize("column", ["clip_id", "images"])
def test_a_damaged_offset_of_a_shard_is_an_error(shard, column):
    """Arrow follows an offset wherever it points, which ended the process with SIGSEGV."""
    path, content, _ = shard
    path.write_bytes(content)
    array = tables.open_shard("frames", path)[column].chunk(0)
    offsets = bytes((array.values if column == "images" else array).buffers()[1])
    middle = len(offsets) // 2 // 4 * 4
    damaged_offsets = offsets[:middle] + (2**30).to_bytes(4, "little") + offsets[middle + 4 :]
    path.write_bytes(content.replace(offsets, damaged_offsets, 1))
    assert path.read_bytes() != content
    with pytest.raises(
        ValueError, match=r"00000\.arrow: cannot be read as a shard of frames \(.*delete it and run again"
    ):
        tables.open_shard("frames", path)

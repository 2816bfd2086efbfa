"""Damaged and hostile bytes, with a fixed number of examples: readers give a value or a ValueError, and never end the process.

What reads files of Arrow, Parquet and weights runs in a fork of this process: a read outside the file would end it with a signal.
"""

import os
import random
import signal
from contextlib import suppress

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from kinetext.backbones.weights import read_weights
from kinetext.core import tables
from kinetext.core.documents import load_json, load_yaml
from kinetext.data.images import content_hash, encode_image
from kinetext.data.store import FrameStore
from kinetext.texts.answers import parse_answer

EXAMPLES = settings(deadline=None, max_examples=400, derandomize=True, database=None)
DAMAGES = 300


def damaged(content, rng):
    """The content with a few bytes overwritten, a block zeroed or copied from elsewhere, or cut."""
    raw = bytearray(content)
    at, length = rng.randrange(len(raw)), rng.choice([1, 1, 4, 8, 64])
    kind = rng.choice(["flip", "zero", "copy", "cut", "huge"])
    if kind == "cut":
        return bytes(raw[:at])
    source = rng.randrange(len(raw))
    new = {
        "flip": rng.randbytes(length),
        "zero": bytes(length),
        "copy": bytes(raw[source : source + length]),
        "huge": (2**31 - 1).to_bytes(4, "little") * 2,
    }[kind]
    raw[at : at + len(new)] = new
    return bytes(raw)


def endings(read, path, contents):
    """How reading each content ends: 0 for a value or a ValueError with the path, else why not.

    A fork of this process reads one after the other. When it ends before the last one, another fork goes on after it.
    """
    codes = []
    while len(codes) < len(contents):
        source, target = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                for number in range(len(codes), len(contents)):  # each file has its own name: nothing is cached
                    os.write(target, bytes([ending(read, path.with_name(f"{number}-{path.name}"), contents[number])]))
            finally:
                os._exit(9)  # after the last one, or without a code for one
        os.close(target)
        with os.fdopen(source, "rb") as written:
            codes += written.read()
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if len(codes) < len(contents):
            codes.append(status)
    return codes


def ending(read, path, content):
    path.write_bytes(content)
    try:
        read(path)
    except ValueError as error:
        return 0 if str(path) in str(error) else 2
    except BaseException:
        return 1
    finally:
        path.unlink()
    return 0


def write_frames(path):
    generator = np.random.default_rng(0)
    rows = []
    for n in range(6):
        images = [encode_image(generator.integers(0, 256, (16, 16, 3), dtype=np.uint8), "raw", 95) for _ in range(2)]
        rows.append({"clip_id": f"c{n}", "status": "ok", "source": f"s{n}", "images": images})
        rows[-1]["content_hash"] = content_hash(images)
    tables.write_shard("frames", [rows[:3], rows[3:]], path)


def read_frames(path):
    store = FrameStore([path])
    for clip_id in list(store._row_of):
        if clip_id in store:
            store.images(clip_id)


def write_features(path):
    rows = [{"clip_id": f"c{n}", "frame_TD": [[float(n)] * 8] * 4} for n in range(6)]
    tables.write_shard("features", [rows[:3], rows[3:]], path)


def read_features(path):
    table = tables.open_shard("features", path)
    if {"clip_id", "frame_TD"} <= set(table.column_names):
        table.to_pylist()


def write_clips(path):
    rows = [{"clip_id": f"c{n}", "label": "a", "split": "train", "captions": ["x", "y"]} for n in range(50)]
    tables.write_table("clips", rows, path, {"labels": ["a"]})


FILES = {
    "frames.arrow": (write_frames, read_frames),
    "features.arrow": (write_features, read_features),
    "clips.parquet": (write_clips, lambda path: tables.read_rows("clips", path)),
    "torchscript.pt": (lambda path: torch.jit.save(torch.jit.script(torch.nn.Linear(3, 4)), path), read_weights),
    "checkpoint.pt": (lambda path: torch.save(torch.nn.Linear(3, 4).state_dict(), path), read_weights),
    "weights.safetensors": (lambda path: save_file(torch.nn.Linear(3, 4).state_dict(), path), read_weights),
}


@pytest.mark.filterwarnings("ignore:.*torch.jit.*")
@pytest.mark.parametrize("name", FILES)
def test_no_damaged_file_ends_the_process(tmp_path, name):
    write, read = FILES[name]
    path, rng = tmp_path / name, random.Random(0)
    write(path)
    content = path.read_bytes()
    codes = endings(read, path, [content, *(damaged(content, rng) for _ in range(DAMAGES))])
    assert {number: code for number, code in enumerate(codes) if code} == {}


def test_a_fork_that_ends_is_told_from_the_contents_before_and_after_it(tmp_path):
    def read(path):
        content = path.read_bytes()
        if content == b"kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if content in (b"named", b"silent"):
            raise ValueError(path if content == b"named" else "no")
        if content == b"other":
            raise KeyError

    contents = [b"fine", b"kill", b"named", b"silent", b"other", b"kill"]
    assert endings(read, tmp_path / "file", contents) == [0, -signal.SIGKILL, 0, 2, 1, -signal.SIGKILL]


@EXAMPLES
@given(
    st.text()
    | st.text(alphabet='{}[]",:<think>/`json\\ \n\ufeffab')
    | st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    ).map(str)
)
def test_an_answer_is_parsed_or_refused_with_a_sentence(content):
    with suppress(ValueError):
        for position, sentence in parse_answer(content):
            assert position in (None, 0.0, 1.0)
            assert sentence.strip()


@EXAMPLES
@given(data=st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
@pytest.mark.parametrize("load", [load_yaml, load_json])
def test_a_document_is_read_or_refused_with_its_path(tmp_path_factory, load, data):
    path = tmp_path_factory.getbasetemp() / "document"
    path.write_bytes(data)
    message = f"{path}: can be read"
    try:
        load(path)
    except ValueError as error:
        message = str(error)
    assert message.startswith(f"{path}: ")


@EXAMPLES
@given(st.text(max_size=60))
def test_any_text_comes_back_from_a_table(tmp_path_factory, text):
    path = tmp_path_factory.getbasetemp() / "text.parquet"
    tables.write_table("clips", [{"clip_id": text.encode("utf-8", "replace").decode()}], path)
    assert tables.read_rows("clips", path)[0]["clip_id"] == text.encode("utf-8", "replace").decode()

"""Texts that are exported, edited and read back; methods on a table with an undescribed class."""

import csv
import hashlib
import json
import logging
from dataclasses import replace

import pytest

from describe_world import LABELS, write_world
from kinetext.core.tables import read_rows, write_table
from kinetext.texts.describe import describe_classes
from kinetext.texts.providers.base import Context, Text, load_provider
from kinetext.texts.providers.file import export_texts

ASKED = {"source": "https://x/v1", "prompt_version": "p-1", "model": "m", "date": "2026-11-21", "request_hash": "abc"}


def motion(label, sentence, **fields):
    return Text(label, sentence, kind="motion", **fields)


@pytest.fixture
def table(tmp_path):
    """A table with all that a sentence can hold, of two classes."""
    texts = [
        Text("rising", "rising", source="class name"),
        motion("rising", 'up, and "up" again; ü ', position=0.0, rival="falling | growing", **ASKED),
        motion("rising", "1. up", status="numbered: '1.'", **ASKED),
        Text("falling", "falling", source="class name"),
        motion("falling", "", status="not_json: the answer is not JSON", **ASKED),
    ]
    write_table("texts", [text.row() for text in texts], tmp_path / "texts.parquet")
    return tmp_path / "texts.parquet", texts


def read(path, labels=LABELS, **options):
    provider = load_provider("texts.mine", "file", {"path": str(path), **options})
    return [text for label in labels for text in provider.describe(label, [], Context(list(labels)))]


@pytest.mark.parametrize("ending", [".csv", ".json"])
def test_export_and_import_are_inverse(table, tmp_path, ending):
    path, texts = table
    export_texts(path, tmp_path / f"edited{ending}")
    assert read(tmp_path / f"edited{ending}", ("rising", "falling")) == [
        replace(text, sentence=text.sentence.strip()) for text in texts
    ]


@pytest.mark.parametrize("sentence", ["=up() is a formula", "- up", "@up", "'up"])
def test_a_sentence_that_begins_like_a_formula_survives_the_spreadsheet(tmp_path, sentence):
    write_table("texts", [motion("rising", sentence, **ASKED).row()], tmp_path / "texts.parquet")
    export_texts(tmp_path / "texts.parquet", tmp_path / "edited.csv")
    (line,) = (tmp_path / "edited.csv").read_text("utf-8-sig").splitlines()[1:]
    assert ("'=" in line) == sentence.startswith("=")
    assert [text.sentence for text in read(tmp_path / "edited.csv", ("rising",))] == [sentence]


def edit(path, change):
    """What somebody does in a spreadsheet."""
    with path.open(encoding="utf-8-sig", newline="") as opened:
        rows = list(csv.DictReader(opened))
    change(rows)
    with path.open("w", encoding="utf-8-sig", newline="") as opened:
        writer = csv.DictWriter(opened, rows[0], delimiter=";")  # as a spreadsheet in some languages saves it
        writer.writeheader()
        writer.writerows(rows)


def test_only_edited_rows_lose_their_provenance(table, tmp_path):
    path, texts = table
    export_texts(path, tmp_path / "edited.csv")

    def change(rows):
        rows[2]["sentence"] = "straight up"
        rows[4]["sentence"] = "straight down"
        rows.append({"label": "falling", "sentence": "faster and faster"})

    edit(tmp_path / "edited.csv", change)
    rows = read(tmp_path / "edited.csv", ("rising", "falling"))
    by_hand = {"source": "edited by hand: edited.csv"}
    assert rows[0] == texts[0]
    assert rows[1].model == "m"
    assert rows[2:] == [
        motion("rising", "straight up", **by_hand),
        texts[3],
        motion("falling", "straight down", **by_hand),
        motion("falling", "faster and faster", **by_hand),
    ]


def test_exported_table_is_described_again_unchanged(tmp_path):
    """And what was edited is checked like any other sentence; a class that the file lacks has its name only."""
    described = write_world(tmp_path)
    describe_classes(**described)
    export_texts(described["output"], tmp_path / "edited.json")
    options = {"module": "file", "options": {"path": str(tmp_path / "edited.json")}}

    def describe_file(**more):
        text = described["options"].model_validate({**options, "options": {**options["options"], **more}})
        describe_classes(**{**described, "name": "mine", "options": text, "output": tmp_path / "again.parquet"})
        return read_rows("texts", tmp_path / "again.parquet")

    assert describe_file() == read_rows("texts", described["output"])
    rows = json.loads((tmp_path / "edited.json").read_text())
    rows = [row for row in rows if row["label"] != "growing"]
    rows[1]["sentence"] = "- something low"
    (tmp_path / "edited.json").write_text(json.dumps(rows))
    statuses = {(row["label"], row["sentence"]): row["status"] for row in describe_file()}
    assert statuses["rising", "- something low"] == "bullet: '-'"
    assert statuses["growing", "growing"] == "ok"
    assert statuses["growing", ""] == "missing: edited.json has no sentence about it"
    assert {row["status"] for row in describe_file(skip_checks=True) if row["sentence"]} == {"ok"}


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("label,sentense\nrising,up", r"edited.csv: no column 'sentence'; did you mean 'sentense'\?"),
        ("label,sentence,kind\nrising,up,motin", r"edited.csv:2: kind is 'motin'; did you mean 'motion'\?"),
        ("label,sentence,phase\nrising,up,begin", r"edited.csv:2: position is 'begin'; it must be a number from 0"),
        ("label,sentence\nrising,up\n,down", r"edited.csv:3: label is empty"),
        ("label,sentence\nrising,up, and up", r"edited.csv:2: more values than columns; quote values that contain ','"),
    ],
)
def test_wrong_row_is_named_with_its_line(tmp_path, content, complaint):
    (tmp_path / "edited.csv").write_text(content)
    with pytest.raises(ValueError, match=complaint):
        read(tmp_path / "edited.csv")


def test_positions_are_numbers_or_words_and_former_phases_are_read(tmp_path):
    (tmp_path / "new.csv").write_text("label,sentence,position\nrising,a,0.25\nrising,b,end\nrising,c,\n")
    assert [text.position for text in read(tmp_path / "new.csv", ("rising",))] == [0.25, 1.0, None]
    # as kinetext 5 exported it, with the digest of an unchanged row
    content = "\0".join(("rising", "motion", "start", "it is low"))
    digest = hashlib.sha256(content.encode()).hexdigest()[:12]
    (tmp_path / "old.csv").write_text(
        f"label,kind,phase,sentence,source,digest\nrising,motion,start,it is low,x,{digest}\n"
    )
    (text,) = read(tmp_path / "old.csv", ("rising",))
    assert (text.position, text.source) == (0.0, "x")


def test_rows_of_a_class_that_was_removed_are_ignored_with_a_warning(tmp_path, capsys):
    (tmp_path / "edited.csv").write_text("label,sentence\nrising,up\nrisin,up")
    read(tmp_path / "edited.csv")
    warning = capsys.readouterr().err
    assert warning.count("edited.csv:3: 'risin' is none of the 4 classes of the data set; did you mean 'rising'?") == 1
    assert "The row is ignored." in warning


def test_wrong_file_is_named(tmp_path, table):
    path, _ = table
    (tmp_path / "edited.json").write_text('[{"label": "rising", "sentence": 3}]')
    with pytest.raises(ValueError, match=r"edited.json: entry 1: sentence is 3; it must be text"):
        read(tmp_path / "edited.json")
    with pytest.raises(ValueError, match=r"path: there is no file .*gone.csv; write one with `kinetext export-texts"):
        read(tmp_path / "gone.csv")
    (tmp_path / "edited.txt").touch()
    with pytest.raises(ValueError, match=r"edited.txt ends in '.txt'; it must end in .csv or .json"):
        read(tmp_path / "edited.txt")
    with pytest.raises(ValueError, match=r"--output: .*edited.json exists; its edits would be lost"):
        export_texts(path, tmp_path / "edited.json")
    with pytest.raises(ValueError, match=r"ends in '.yaml'"):
        export_texts(path, tmp_path / "edited.yaml")
    write_table("texts", [Text("clip", "a dog", kind="caption").row()], path)
    with pytest.raises(ValueError, match="holds captions"):
        export_texts(path, tmp_path / "new.csv")


def test_class_without_a_usable_description_uses_its_name(tiny, tmp_path, caplog):
    """So that one failed answer does not stop a run, under moted either, which compares descriptions."""
    import torch

    from kinetext.backbones.text_table import read_texts
    from kinetext.methods.base import build_method

    texts = [
        *(Text(label, label) for label in ("rising", "falling")),
        motion("rising", "low", position=0.0),
        motion("falling", "- high", status="bullet: '-'"),
    ]
    write_table("texts", [text.row() for text in texts], tmp_path / "texts.parquet")
    with caplog.at_level(logging.WARNING):
        text_table = read_texts(tmp_path / "texts.parquet", ["falling", "rising"], tiny)
    assert text_table.owner_S.tolist() == [0, 0, 1, 1]
    assert text_table.motion_S.tolist() == [False, True, False, True]
    assert torch.equal(text_table.tokens.ids_KL[0], text_table.tokens.ids_KL[1])
    assert caplog.messages == [
        f"{tmp_path / 'texts.parquet'}: class 'falling' has no usable description; its name is used instead"
    ]
    method = build_method(tiny, "moted", {"visual": None, "reader": False})
    text = method.encode_texts(text_table)
    unit = torch.nn.functional.normalize
    assert torch.allclose(unit(text.step_GMD[0, 0], dim=0), unit(text.appearance[0], dim=0), atol=1e-6)

    write_table("texts", [text.row() for text in texts if text.kind == "name"], tmp_path / "texts.parquet")
    assert not read_texts(tmp_path / "texts.parquet", ["falling", "rising"], tiny).motion_S.any()  # names are names


def test_a_sentence_that_is_cut_is_read(tiny, tmp_path):
    from kinetext.backbones.text_table import read_texts

    statuses = ("ok", "cut: 90 tokens, the backbone takes 77", "long: 90 tokens")
    rows = [Text("up", "up", source="x", status=status).row() for status in statuses]
    write_table("texts", rows, tmp_path / "texts.parquet")
    assert len(read_texts(tmp_path / "texts.parquet", ["up"], tiny).owner_S) == 2

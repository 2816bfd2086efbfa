"""The audit of drawn clips: its rules, its file, and its section of the report."""

import shutil

import pytest

from kinetext.config.data import DatasetOptions
from kinetext.core.digests import closure
from kinetext.core.tables import read_metadata, write_table
from kinetext.data import drawing
from kinetext.data.datasets import shapes
from kinetext.data.index import index_clips
from kinetext.data.motion.kinds import CLASSES, KINDS
from kinetext.report import audit
from kinetext.report.audit import PROBES, AuditRow, audit_sections, faults, read_audits, write_audit
from kinetext.report.sources import DatasetFiles
from reported import Page, blank_figures, make_report

KEY = {"level": 0, "frames": "drawn", "version": "aa", "train_clips": 150}


def audit_row(kind, pair, *values, classes=None, clips=200):
    return AuditRow(kind, pair, classes or CLASSES[pair][:2], dict(zip(PROBES, values, strict=True)), clips)


ACROSS = audit_row("reversal", "across", 0.5, 1.0, 1.0, 1.0, 1.0)
ORBIT = audit_row("loop", "orbit", 0.52, 0.5, 1.0, 1.0, 0.8)
ANYWHERE = audit_row("loop", "anywhere", 0.5, 0.5, 0.5, 0.75, 1.0)


def test_cells_that_break_the_rules():
    assert faults([ACROSS, ORBIT, ANYWHERE]) == [(2, "all"), (1, "gru")]  # a reversal may be seen at its ends
    leaking = audit_row("sequence", "lamps", 0.7, 0.7, 1.0, 1.0, 0.95)
    assert faults([leaking]) == [(0, "mean"), (0, "first_last")]
    near = audit_row("loop", "orbit", 0.58, 0.5, 1.0, 1.0, 1.0)  # excluded by its 95 % interval, not by a corrected one
    assert audit.interval(near, "mean")[0] > 0.5
    assert faults([near, near]) == []


def test_a_file_of_audits_keeps_other_levels_and_replaces_other_versions(tmp_path):
    path = tmp_path / "audit.json"
    assert read_audits(path) == []
    read_audits.cache_clear()
    write_audit(path, KEY | {"level": 1}, [ORBIT])
    write_audit(path, KEY, [ACROSS])
    write_audit(path, KEY, [ORBIT])
    levels = {entry["level"]: entry["rows"] for entry in read_audits(path)}
    assert levels == {0: [ACROSS, ORBIT], 1: [ORBIT]}
    better = audit_row("loop", "orbit", 0.5, 0.5, 1.0, 1.0, 0.99)
    write_audit(path, KEY, [better])
    assert read_audits(path)[0]["rows"] == [ACROSS, better]
    write_audit(path, KEY | {"version": "bb"}, [ORBIT])
    assert [(entry["level"], entry["version"], entry["rows"]) for entry in read_audits(path)] == [
        (0, "bb", [ORBIT]),
        (1, "aa", [ORBIT]),
    ]


def test_the_version_changes_with_the_code_that_draws(tmp_path, monkeypatch):
    before = drawing.drawing_version()
    assert len(before) == 16
    files = closure([drawing.DRAWS])
    assert {name.rpartition(".")[2] for name in files} >= {*KINDS, "levels", "world", "scenes", "kinds"}
    copy = tmp_path / "loop.py"
    monkeypatch.setattr(drawing, "closure", lambda modules: files | {"kinetext.data.motion.loop": copy})
    code = files["kinetext.data.motion.loop"].read_text()
    copy.write_text(code.replace('"""Loop: ', '"""Loops: ') + "# turned\n")
    assert drawing.drawing_version() == before
    copy.write_text(code.replace("TOP = -np.pi / 2", "TOP = np.pi / 2"))
    assert drawing.drawing_version() != before


def test_the_index_records_the_code_that_drew_the_files(tmp_path, monkeypatch):
    def recorded_drawing(version, train=1):
        monkeypatch.setattr(shapes, "drawing_version", lambda: version)
        clips = {"train": train, "val": 0, "test": 1, "workers": 1}
        options = DatasetOptions(module="shapes", options={"pairs": ["across"], "level": 2, **clips})
        paths = [tmp_path / name for name in ("clips.parquet", "shards.txt", "media", "cache")]
        index_clips("mine", options, *paths)
        return read_metadata(paths[0])["drawn"]

    assert recorded_drawing("old") == {"level": 2, "version": "old"}
    assert recorded_drawing("new") == {"level": 2, "version": "old"}  # nothing was drawn again
    assert recorded_drawing("old", train=2) == {"level": 2, "version": "old"}
    assert recorded_drawing("new", train=3) == {"level": 2, "version": None}  # clips of both versions
    assert recorded_drawing("new", train=4) == {"level": 2, "version": None}
    shutil.rmtree(tmp_path / "media")
    assert recorded_drawing("new") == {"level": 2, "version": "new"}
    next((tmp_path / "media").rglob("drawing_version.txt")).unlink()  # as folders of earlier versions
    assert recorded_drawing("new") == {"level": 2, "version": None}
    assert recorded_drawing("new", train=2) == {"level": 2, "version": None}


@pytest.fixture
def study(tmp_path):
    """A function that makes the table `clips` of a study and returns its sections."""

    def sections(labels, drawn, audits=((KEY, [ACROSS, ORBIT, ANYWHERE]),)):
        for key, rows in audits:
            write_audit(tmp_path / "audit.json", key, rows)
        clips = [{"clip_id": label, "path": "x", "split": "test", "label": label, "shard": "0"} for label in labels]
        write_table("clips", clips, tmp_path / "clips.parquet", {"drawn": drawn} if drawn else {})
        return audit_sections([DatasetFiles("mine", tmp_path / "clips.parquet", [])], tmp_path / "audit.json")

    return sections


def test_a_study_shows_the_pairs_that_it_has(study):
    (section,) = study([*CLASSES["orbit"], *CLASSES["across"], "rising"], {"level": 0, "version": "aa"})
    assert (section["dataset"], section["missing"]) == ("mine", "")
    (part,) = section["parts"]
    assert {kind: [row["classes"] for row in rows] for kind, rows in part["kinds"].items()} == {
        "reversal": [CLASSES["across"]],
        "loop": [CLASSES["orbit"]],
    }
    value, low, high, broken = part["kinds"]["loop"][0]["cells"][-1]
    assert (value, broken) == (0.8, True)
    assert low == pytest.approx(0.741, abs=0.002)  # Jeffreys' interval of 160 of 200
    assert high == pytest.approx(0.851, abs=0.002)
    assert [cell[3] for cell in part["kinds"]["reversal"][0]["cells"]] == [False] * 5


def test_a_study_without_a_valid_audit_says_why(study):
    labels = CLASSES["orbit"]
    assert study(labels, None) == []
    (section,) = study(labels, {"level": 3, "version": "aa"})
    assert section["missing"] == "These motions have not been audited on level 3."
    (section,) = study(CLASSES["spin"], {"level": 0, "version": "aa"})
    assert section["missing"] == "These motions have not been audited on level 0."
    (section,) = study(labels, {"level": 0, "version": None})
    assert section["missing"].startswith("The version of the drawing code that drew these clips is unknown")
    assert section["parts"] == []
    (section,) = study(labels, {"level": 0, "version": "cc"})
    assert section["parts"] == []
    assert section["missing"] == (
        "The audit of level 0 was made with another version of the drawing code (aa; these clips: cc)."
    )


@pytest.mark.parametrize("version", ["aa", "cc"])
def test_the_report_shows_the_audit(tmp_path, monkeypatch, version):
    blank_figures(monkeypatch)
    rows = [
        audit_row("reversal", "across", 0.48, 1.0, 1.0, 1.0, 1.0, classes=("moves left", "moves right")),
        audit_row("reversal", "size", 0.31, 1.0, 1.0, 1.0, 1.0, classes=("grows", "shrinks")),
        audit_row("loop", "orbit", 0.5, 0.5, 1.0, 1.0, 1.0),
    ]
    write_audit(tmp_path / "audit.json", KEY, rows)
    monkeypatch.setattr(audit.audit_sections, "__defaults__", (tmp_path / "audit.json",))

    def drawn_table(name, rows, path, metadata=None):
        write_table(
            name, rows, path, metadata | {"drawn": {"level": 0, "version": version}} if name == "clips" else metadata
        )

    monkeypatch.setattr("reported.write_table", drawn_table)
    report = make_report(tmp_path, ["mean_pool"], ["names"], 1, ["supervised"])
    page = Page(report.html)
    assert page.sections.index("audit") == page.sections.index("kinds") + 1
    assert "#audit" in page.links
    text = page.text["audit"]
    assert "shapes, level 0" in text
    if version == "aa":
        assert "Frames as drawn, before H.264; 150 training clips per class; drawing code aa." in text
        assert "moves left or moves right; 200 test clips 48.0 [41.1, 54.9] 100.0 [98.8, 100.0]" in text
        assert "31.0 ! [24.9, 37.6]" in text
        assert "circling" not in text
    else:
        assert "another version of the drawing code (aa; these clips: cc). benchmarks/audit.py measures it." in text


def test_the_bundled_audit_has_all_pairs_and_no_fault():
    audits = {(entry["level"], entry["frames"]): entry for entry in read_audits()}
    plain = audits[0, "drawn"]
    assert {row.pair for row in plain["rows"]} == set(CLASSES)
    assert {row.kind for row in plain["rows"]} == set(KINDS)
    assert faults(plain["rows"]) == []

"""Plug-ins from outside the package: found by file, dotted path and entry point, checked by `kinetext check-plugin`."""

import pytest

from kinetext.core import plugins
from outside_plugins import check, outside

pytestmark = pytest.mark.usefixtures("elsewhere")

METRIC = """
from kinetext.evaluation.metrics.base import Metric

class Half(Metric):
    'Half of everything.'
    def measure(self, sample, rivals=None):
        return 0.5 if len(sample) else float("nan")
"""


def install(folder, monkeypatch, *points, package="my_lab"):
    """A package and its entry points in a folder of the import path, as `pip install --target` leaves them."""
    (folder / package).mkdir(parents=True)
    (folder / package / "__init__.py").write_text("")
    (folder / package / "half.py").write_text(METRIC)
    about = folder / f"{package}-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("\n".join(["[kinetext.metrics]", *points, ""]))
    monkeypatch.syspath_prepend(folder)


def test_a_file_is_a_plugin_by_its_path_from_the_working_directory(elsewhere):
    (elsewhere / "half.py").write_text(METRIC)
    loaded = plugins.load("metrics", "half.py")
    assert loaded.__name__ == "Half"
    assert plugins.load("metrics", str(elsewhere / "half.py")) is loaded


def test_two_files_of_one_name_are_two_plugins(elsewhere):
    for folder in ("one", "two"):
        (elsewhere / folder).mkdir()
        (elsewhere / folder / "half.py").write_text(METRIC)
    assert plugins.load("metrics", "one/half.py") is not plugins.load("metrics", "two/half.py")


def test_an_installed_package_registers_a_module_or_a_class(elsewhere, monkeypatch):
    install(elsewhere / "site", monkeypatch, "half = my_lab.half", "same = my_lab.half:Half")
    assert plugins.load("metrics", "half").__name__ == "Half"
    assert plugins.load("metrics", "same") is plugins.load("metrics", "half") is plugins.load("metrics", "my_lab.half")
    assert {"half", "same", "top_k"} <= set(plugins.names("metrics"))
    assert "half" not in plugins.built_in("metrics")
    with pytest.raises(ValueError, match=r"no module 'halv' among metrics; did you mean 'half'\?"):
        plugins.load("metrics", "halv")


def test_a_name_that_two_packages_define_is_refused(elsewhere, monkeypatch):
    install(elsewhere / "one", monkeypatch, "half = my_lab.half", "top_k = my_lab.half")
    install(elsewhere / "two", monkeypatch, "half = my_lab2.half", package="my_lab2")
    with pytest.raises(ValueError, match=r"'half' is defined more than once \(my_lab.half, my_lab2.half\)"):
        plugins.load("metrics", "half")
    with pytest.raises(ValueError, match=r"'top_k' is defined more than once \(my_lab.half, kinetext\)"):
        plugins.load("metrics", "top_k")


BROKEN = {
    "there is no file .*absent.py; a relative path starts at the working directory": ("absent.py", None),
    "importing 'bad.py' raises ZeroDivisionError: division by zero .*bad.py, line 2": ("bad.py", "x = 1\ny = x / 0\n"),
    "cannot import 'needs.py' .No module named 'not_there'.; install 'not_there'": ("needs.py", "import not_there\n"),
    "importing 'typo.py' raises SyntaxError": ("typo.py", "def f(:\n"),
    "must define one subclass of kinetext.evaluation.metrics.base.Metric; it defines none": ("none.py", "x = 1\n"),
    "it defines Half, Third": ("two.py", METRIC + METRIC.replace("Half(", "Third(")),
    "cannot import 'my_lab.absent' .*; is its package installed, or its folder on PYTHONPATH": ("my_lab.absent", None),
}


@pytest.mark.parametrize("message", BROKEN)
def test_a_module_that_cannot_be_used_is_refused_with_the_reason(elsewhere, message):
    name, source = BROKEN[message]
    if source is not None:
        (elsewhere / name).write_text(source)
    for _ in range(2):
        with pytest.raises(ValueError, match=message):
            plugins.load("metrics", name)


def test_a_private_subclass_and_an_imported_one_are_no_plugins(elsewhere):
    imported = "from kinetext.evaluation.metrics.top_k import TopK\n"
    (elsewhere / "half.py").write_text(imported + METRIC + "class _Base(Metric):\n    pass\n")
    assert plugins.load("metrics", "half.py").__name__ == "Half"


def test_a_class_that_extends_nothing_is_refused(elsewhere, monkeypatch):
    install(elsewhere / "site", monkeypatch, "half = my_lab.half:sys")
    (elsewhere / "site/my_lab/half.py").write_text("class sys: pass\n")
    with pytest.raises(ValueError, match="class sys of 'half' does not extend Metric"):
        plugins.load("metrics", "half")


def test_an_unknown_kind_is_refused_with_the_nearest():
    code, output = check("metric", "top_k")
    assert code == 1
    assert "there is no kind of plug-in 'metric'; did you mean 'metrics'?" in output


def test_a_metric_from_outside_keeps_the_contract():
    code, output = check("metrics", outside("calibration"), "--options", '{"bins": 5}')
    assert code == 0, output
    assert "ok: the value is a finite float in its unit, clips without frames included" in output


BROKEN_METRICS = {
    "class CalibrationError and its module have none": ('"""A metric', '_ = """A metric', '"""Mean', '_ = """Mean'),
    "must extend kinetext.core.plugins.Options": ("class Config(Options)", "class Config"),
    "accepts the option no_such_option": ('"""Options of the metric."""', 'model_config = {"extra": "allow"}'),
    "option bins can be changed": ('"""Options of the metric."""', 'model_config = {"frozen": False}'),
    "unit is 'percent'; take share, rank or number": ("higher_is_better = False", 'unit = "percent"'),
    "take classes, captions or labels": ("higher_is_better = False", 'task = "clips"'),
    "measure returns float32; take float": ("return float(np.abs(gaps)", "return np.float32(np.abs(gaps)"),
    "the unit is share, but the value is": ("np.abs(gaps).sum() / len(sample)", "2 + np.abs(gaps).sum()"),
    "NaN scores, which must count as wrong": ("/ len(sample)", "/ len(sample) + sample.scores_BK.sum()"),
    "writes into the arrays": ("        readable_B =", "        sample.scores_BK[0] = 0\n        readable_B ="),
    "the order of the clips does not change the value' does not hold": (
        "        gaps =",
        "        right_B[0] = False\n        gaps =",
    ),
    "ZeroDivisionError": (
        "        if not len(sample):\n            return float('nan')\n".replace("'", '"'),
        "        len(sample) and 1 / 0\n",
    ),
    "lower is said to be better": ("confidence_B - right_B", "confidence_B * 0 + right_B"),
}


@pytest.mark.parametrize("message", BROKEN_METRICS)
def test_a_metric_that_breaks_the_contract_is_named_with_the_reason(message):
    code, output = check("metrics", outside("calibration", *BROKEN_METRICS[message]))
    assert code == 1
    assert message in output


def test_a_data_set_from_outside_keeps_the_contract():
    code, output = check("datasets", outside("sliding"), "--options", '{"train": 1}')
    assert code == 0, output
    assert "ok: the clips can be indexed, and frames extracted from the first readable one" in output


BROKEN_DATASETS = {
    "two clips have the id 'clip'": ('name = f"', 'name = "clip" or f"'),
    "has split 'exam'; take train, val, test": ('("test", self', '("exam", self'),
    "has neither label nor captions": ("split, label)", "split)"),
    "the second time the clips or their order": ("in STEPS.items()", "in list(STEPS.items())[:: next(SIGN)]"),
    "captioned is True, and the clips have labels": (
        "    def list_clips",
        "    captioned = True\n\n    def list_clips",
    ),
    "declared_pairs() has 'sliding out', which is not a class; did you mean": (
        "[(left, right)",
        '[("sliding out", right)',
    ),
    "pairs 'sliding left' with itself": ("[(left, right)", "[(left, left)"),
    "Can't instantiate abstract class": ("def list_clips", "def clips"),
    "none of the first": ("if not path.exists()", "if path.exists()"),
}


@pytest.mark.parametrize("message", BROKEN_DATASETS)
def test_a_data_set_that_breaks_the_contract_is_named_with_the_reason(message):
    helper = ("STEPS = {", "import itertools\n\nSIGN = itertools.cycle([1, -1])\nSTEPS = {")
    code, output = check("datasets", outside("sliding", *BROKEN_DATASETS[message], *helper))
    assert code == 1
    assert message in output


def test_a_text_provider_from_outside_keeps_the_contract():
    code, output = check("texts", outside("rhymes"), "--label", "open", "--label", "close")
    assert code == 0, output


BROKEN_TEXTS = {
    "describe('rising') returns a row of 'it'": ("Text(label, label", 'Text("it", label'),
    "a row of kind 'poem'; take one of name, motion": ('"kind": "motion"', '"kind": "poem"'),
    "a row at position 'middle'": ("position=1.0", 'position="middle"'),
    "'rising ' has spaces around it": ("Text(label, label", 'Text(label, label + " "'),
    "'rising' has no source": ('Text(label, label, source="rhymes")', "Text(label, label)"),
    "describe returns a dict": ("return [", "return [{}] + ["),
    "gives_descriptions is False, and 'rising' has rows": (
        "    def describe",
        "    gives_descriptions = False\n\n    def describe",
    ),
    "'rising' has other rows if the classes are reversed": ("is {label}", "is {label} and {context.labels[0]}"),
    "list_files names absent.csv": (
        "    def describe",
        "    def list_files(self):\n        return [P('absent.csv')]\n\n    def describe",
    ),
}


@pytest.mark.parametrize("message", BROKEN_TEXTS)
def test_a_text_provider_that_breaks_the_contract_is_named_with_the_reason(message):
    path = ("from pydantic", "from pathlib import Path as P\n\nfrom pydantic")
    code, output = check("texts", outside("rhymes", *BROKEN_TEXTS[message], *path))
    assert code == 1
    assert message in output

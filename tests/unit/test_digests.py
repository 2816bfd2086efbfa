"""A rule that is cheap to run again carries a digest of its code: the import closure of its module and of its plug-ins."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import kinetext
from kinetext.config.texts import TextOptions
from kinetext.core.digests import STOPS, closure, closure_digest, read_constant
from kinetext.plan import check_config, load_config, metric_modules, text_modules
from repository import HELPERS, ROOT

SOURCE = Path(kinetext.__file__).parent
CHAT = text_modules(TextOptions(module="chat_api"), "gpt4")
METRICS = metric_modules(load_config(HELPERS / "tiny.yaml"))
PLUGINS = {"describe_classes": CHAT, "measure_run": METRICS, "render_report": METRICS}


def rules():
    """Rule -> the modules that it names in the workflow, with its plug-ins, and the packages where its closure stops."""
    rules_with_code = {}
    for file in (ROOT / "workflow/rules").glob("*.smk"):
        for part in re.split(r"^(?:rule|checkpoint) ", file.read_text(), flags=re.MULTILINE)[1:]:
            rule = part.partition(":")[0]
            called = re.search(r'code=code\(\s*"([\w.]+)"(.*?)\),\n', part, flags=re.DOTALL)
            if called:
                stops = re.search(r"stops=\[(.*?)\]", called[2])
                stopped = [f"kinetext.{name}" for name in json.loads(f"[{stops[1]}]")] if stops else []
                rules_with_code[rule] = ([f"kinetext.{called[1]}", *PLUGINS.get(rule, [])], stopped)
    return rules_with_code


RULES = rules()


def test_the_rules_that_are_cheap_to_run_again_carry_their_code():
    assert sorted(RULES) == [
        "collect_metrics",
        "describe_classes",
        "measure_run",
        "mine_confusables",
        "render_report",
    ]


@pytest.mark.parametrize("rule", sorted(RULES))
def test_a_closure_holds_every_module_that_an_import_of_the_rules_module_loads(rule):
    modules, stops = RULES[rule]
    code = f"import sys, json, {', '.join(modules)}; print(json.dumps([m for m in sys.modules if m.startswith('kinetext.')]))"
    loaded = json.loads(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
    stops = (*STOPS, *stops)
    expected = {name for name in loaded if not any(f"{name}.".startswith(f"{stop}.") for stop in stops)}
    assert expected <= closure(modules, stops).keys()
    assert f"kinetext.{rule}" not in expected
    light = {"kinetext.training", "kinetext.training.choose", "kinetext.training.design"}
    assert not any(n.startswith(("kinetext.training", "kinetext.methods", "kinetext.cli")) for n in expected - light)


@pytest.mark.parametrize(
    ("rule", "module"),
    [  # files that lists kept by hand had forgotten
        ("measure_run", "kinetext.evaluation.predictions"),
        ("collect_metrics", "kinetext.evaluation.measure"),
        ("render_report", "kinetext.evaluation.retrieval"),
        ("render_report", "kinetext.report.collect"),
        ("mine_confusables", "kinetext.data.splits"),
        ("describe_classes", "kinetext.texts.chat.limits"),
    ],
)
def test_modules_that_were_once_forgotten_are_in_the_closure(rule, module):
    assert module in closure(*RULES[rule])


def test_templates_and_style_sheets_belong_to_the_module_that_names_them():
    names = {file.name for file in closure(*RULES["render_report"]).values() if file.suffix != ".py"}
    assert names == {path.name for path in (SOURCE / "report/page").iterdir()} | {"audit.json"}
    assert all(file.suffix == ".py" for file in closure(*RULES["collect_metrics"]).values())


def test_an_edit_of_any_file_changes_the_digests_of_the_rules_that_use_it_and_no_others(tmp_path):
    copy = tmp_path / "kinetext"
    shutil.copytree(SOURCE, copy, ignore=shutil.ignore_patterns("*.safetensors", "__pycache__"))
    files = {rule: set(closure(*RULES[rule], root=copy).values()) for rule in RULES}

    def digests():
        return {rule: closure_digest(*RULES[rule], root=copy) for rule in RULES}

    before = digests()
    sources = {path for path in copy.rglob("*") if path.suffix in (".py", ".j2", ".css", ".js")}
    used = set().union(*files.values())
    for file in sorted(used):
        content, changed_ns = file.read_bytes(), file.stat().st_mtime_ns
        file.write_bytes(content + b"\nNEW = 1\n")
        changed = {rule for rule, digest in digests().items() if digest != before[rule]}
        assert changed == {rule for rule in RULES if file in files[rule]}, file
        file.write_bytes(content)
        os.utime(file, ns=(changed_ns, changed_ns))  # as it was: it is not parsed again
    assert len(used) > 30
    for file in sources - used:
        file.write_bytes(file.read_bytes() + b"\nNEW = 1\n")
    assert digests() == before


def package(folder, **files):
    """A package `kinetext` of these files, double underscores in their names for folders."""
    for name, source in files.items():
        path = folder / f"{name.replace('__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
    for parent in {path.parent for path in folder.rglob("*.py")}:
        (parent / "__init__.py").touch()
    return folder


def names(folder, *modules, stops=()):
    return [name.removeprefix("kinetext.") for name in closure(modules, stops, folder)]


def test_imports_are_followed_wherever_they_stand(tmp_path):
    folder = package(
        tmp_path,
        a="from kinetext import b\nimport kinetext.c.d as d\nif TYPE_CHECKING:\n    from kinetext import typed\n",
        b="def f():\n    from kinetext.e import something\n",
        c__d="from . import near\nfrom ..up import thing\nfrom kinetext.core import files\n",
        c__near="import numpy, os.path\n",
        core__files="",
        e="",
        up="from kinetext.stopped import x\n",
        stopped="from kinetext import beyond\n",
        beyond="",
        typed="",
        alone="",
    )
    assert names(folder, "kinetext.a", stops=["kinetext.stopped"]) == ["a", "b", "c", "c.d", "c.near", "e", "up"]


def test_a_digest_sees_what_code_does_and_not_how_it_is_written(tmp_path):
    def digest(source):
        return closure_digest(["kinetext.a"], root=package(tmp_path, a=source))

    bare = digest("def f(x):\n    return x + 1\n")
    assert digest('"""What."""\n# why\ndef f(x):\n    """Add."""\n    return (x  +  1)\n\n') == bare
    assert digest("def f(x):\n    return x + 2\n") != bare
    assert digest("y = '2'\n") != digest("y = 2\n")
    assert digest("def f():\n    'one'\n") == digest("def f():\n    'two'\n") != digest("def f():\n    return 'two'\n")


def test_a_data_file_counts_with_every_byte(tmp_path):
    folder = package(tmp_path, a="TEMPLATE = 'page.j2'\n")

    def digest(text):
        (folder / "page.j2").write_text(text)
        return closure_digest(["kinetext.a"], root=folder)

    assert digest("<p>a</p>") != digest("<p>a</p> ")


def test_plug_ins_from_outside_are_part_of_the_closure(tmp_path, monkeypatch):
    package(tmp_path / "my_lab", lying="from my_lab.shared import x\n", shared="x = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert list(closure(["my_lab.lying"])) == ["my_lab", "my_lab.lying", "my_lab.shared"]
    file = tmp_path / "one_file.py"
    file.write_text("from kinetext.texts.providers.base import Provider\n")
    before = closure_digest([str(file)])
    assert "kinetext.texts.providers.base" in closure([str(file)])
    file.write_text("from kinetext.texts.providers.base import Provider\nNEW = 1\n")
    assert closure_digest([str(file)]) != before
    moved = file.rename(tmp_path / "my_lab/one_file.py")
    assert closure_digest([str(moved)]) != before
    with pytest.raises(ValueError, match="no_such_lab: has no source file"):
        closure(["no_such_lab"])


def test_the_modules_of_a_text_set_are_its_provider_and_the_one_that_it_rearranges():
    def modules(name, **options):
        return [name.rpartition(".")[2] for name in text_modules(TextOptions(**options), name)]

    assert modules("random_words") == modules("noise", module="random_words") == ["random_words"]
    assert modules(
        "mixed", module="shuffled", options={"of": {"module": "bundled", "options": {"bank": "shapes"}}}
    ) == [
        "shuffled",
        "bundled",
    ]


def test_an_added_metric_is_part_of_the_closure(tmp_path):
    import yaml

    config = yaml.safe_load((HELPERS / "tiny.yaml").read_text())
    added = {"top9": {"module": "top_k", "options": {"k": 9}}}
    assert metric_modules(check_config({**config, "metrics": added})) == METRICS
    file = tmp_path / "always_one.py"
    file.write_text("from kinetext.evaluation.metrics.base import Metric\n\n\nclass AlwaysOne(Metric):\n    pass\n")
    modules = metric_modules(check_config({**config, "metrics": {"one": {"module": str(file)}}}))
    assert file in closure(modules).values()


def test_a_constant_is_read_from_the_source():
    assert int(read_constant("kinetext.tracking.content", "LAYOUT")) > 0
    with pytest.raises(ValueError, match="assigns no NOTHING"):
        read_constant("kinetext.tracking.content", "NOTHING")

"""One word, one thing: a rule is called what its command, its log and its benchmark are called, and does one shell line."""

import os
import re
from types import SimpleNamespace

import numpy as np
import pytest
import typer

from kinetext.cli import app, workflow
from repository import ROOT

COMMANDS = {c.name or c.callback.__name__.replace("_", "-") for c in workflow.app.registered_commands}

FUNCTIONS_OF_MEMORY = ("scale_with_attempt", "mining_mb", "num_classes")


def rules():
    """Rule -> its text."""
    texts = {}
    for file in sorted((ROOT / "workflow/rules").glob("*.smk")):
        for part in re.split(r"^(?=rule |checkpoint )", file.read_text(), flags=re.MULTILINE)[1:]:
            name = re.match(r"(?:rule|checkpoint) (\w+):", part)[1]
            assert name not in texts
            texts[name] = re.match(r".+\n(?:(?: .*)?\n)*", part)[0]  # until the next line that is not indented
    return texts


RULES = rules()


def test_there_is_a_rule_for_every_command_and_a_command_for_every_rule():
    assert {name.replace("_", "-") for name in RULES} == COMMANDS


@pytest.mark.parametrize("name", sorted(RULES))
def test_a_rule_is_one_line_that_calls_its_command(name):
    text = RULES[name]
    keys = re.findall(r"^    (\w+):", text, flags=re.MULTILINE)
    assert {"output", "log", "benchmark", "conda", "shell"} <= set(keys)
    assert keys[-1] == "shell"
    assert not {"run", "script", "notebook", "wrapper"} & set(keys)
    shell = text[text.index("    shell:") :]
    assert re.match(rf'    shell:\n        "kinetext {name.replace("_", "-")} ', shell)
    assert shell.count("kinetext ") == 1
    assert not re.search(r"[|;&]", shell.replace("2> {log:q}", ""))
    assert shell.rstrip().endswith(' 2> {log:q}"')
    assert re.search(rf'    log:\n        f"{{RESULTS}}/logs/{name}[./]', text)
    assert re.search(rf'    benchmark:\n        f"{{RESULTS}}/benchmarks/{name}[./]', text)
    assert '    conda:\n        "../../envs/kinetext.yaml"' in text


def test_help_says_which_file_each_path_of_a_command_is():
    for name, command in typer.main.get_command(app).commands.items():
        texts = [parameter.help for parameter in command.params if parameter.name != "help"]
        assert all(texts), name
        assert len(set(texts)) == len(texts), name  # "a file" for two of them would not tell which


@pytest.mark.parametrize("name", sorted(RULES))
def test_every_path_and_value_of_the_line_is_quoted(name):
    shell = RULES[name].partition("    shell:")[2]
    bare = [field for field in re.findall(r"\{([^}]*)\}", shell) if not field.endswith(":q")]
    # numbers, and run folders that common.smk quotes, since bash multiplies their braces out
    assert set(bare) <= {"resources.gpu", "resources.nodes", "params.runs"}


@pytest.mark.parametrize("name", sorted(RULES))
def test_a_rule_unpacks_what_it_needs_of_a_bucket_and_says_nothing_else_about_buckets(name):
    bucket = (ROOT / "workflow/rules/bucket.smk").read_text()
    assert (f'unpack(bucket_inputs("{name}"))' in RULES[name]) == (f'    "{name}": {{' in bucket)
    assert "BUCKET" not in RULES[name]


@pytest.mark.parametrize("name", sorted(RULES))
def test_every_option_of_the_line_is_one_of_the_command(name):
    (command,) = [c for c in workflow.app.registered_commands if c.callback.__name__ == name]
    text = RULES[name]
    optional = re.findall(r'"--([\w-]+)"', text)  # of flags() in params
    passed = {*re.findall(r"--([\w-]+) ", text[text.index("    shell:") :]), *optional}
    known = {parameter.replace("_", "-") for parameter in command.callback.__annotations__}
    assert passed <= known


def test_a_text_of_the_configuration_is_escaped_where_snakemakes_own_report_puts_it_into_a_script():
    shown = [text for text in RULES.values() if "report(" in text]
    assert [text for text in shown if "for_script(CONFIG" in text]
    assert not [text for text in shown if re.search(r"(?<!for_script\()CONFIG\S*\.model_dump_json", text)]


def test_mining_declares_memory_from_its_input(tmp_path):
    """4 MB of features and 1000 classes: 12 MB for the first, 24 for the scores between all classes."""
    text = (ROOT / "workflow/rules/common.smk").read_text()
    parts = [re.search(rf"^def {name}\(.*?(?=^\S)", text, re.M | re.S)[0] for name in FUNCTIONS_OF_MEMORY]
    scope = {"os": os}
    exec("\n".join(parts), scope)
    features, names = tmp_path / "0.arrow", tmp_path / "labels.npz"
    job_input = SimpleNamespace(features=[str(features)], names=str(names))
    assert scope["mining_mb"](None, job_input, 1) == 2000
    features.write_bytes(b"0" * 4_000_000)
    np.savez(names, labels=np.arange(1000))
    assert [scope["mining_mb"](None, job_input, attempt) for attempt in (1, 2)] == [2036, 3054]

"""What only a new process shows: which modules are imported, and what a command prints."""

import json
import subprocess
import sys

import torch


def test_importing_open_clip_quickly_leaves_nothing_behind():
    """torch.compile and timm are as without kinetext."""
    program = (
        "import sys\nfrom kinetext.backbones.library import open_clip\n"
        "open_clip()\n"
        "assert 'torch._dynamo' not in sys.modules and 'timm' not in sys.modules, 'slow'\n"
        "import timm, torch, torch._dynamo.utils\n"
        "assert torch._dynamo.utils.counters is not None and timm.list_models\n"
        "assert torch.compile(lambda x: x + 1, backend='eager')(torch.ones(1)).item() == 2\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=300)


def test_a_command_does_not_import_pandas_and_leaves_it_usable():
    program = (
        "import sys, kinetext.cli; kinetext.cli.block_pandas_import()\n"
        "import pyarrow; table = pyarrow.Table.from_pylist([{'a': [1.0]}])\n"
        "assert 'pandas' not in sys.modules and table.to_pylist() == [{'a': [1.0]}]\n"
        "import pandas; assert pandas.DataFrame({'a': [1]}).a.sum() == 1\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)


def test_import_weights_reports_a_mistake_in_one_sentence(tmp_path):
    torch.save({"strange": torch.zeros(1)}, tmp_path / "a.pth")
    command = [sys.executable, "-m", "kinetext", "import-weights", str(tmp_path / "a.pth")]
    done = subprocess.run(
        [*command, "--output", str(tmp_path / "b.safetensors")], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 1
    assert (
        done.stderr.strip()
        == f"kinetext: {tmp_path}/a.pth: strange is no parameter of STAN's released code; nothing was written"
    )
    assert json.dumps(done.stdout) == '""'

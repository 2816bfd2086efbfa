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


def test_an_optimizer_does_not_import_the_compiler_and_leaves_it_usable():
    program = (
        "import sys, torch\nfrom kinetext.core.torch_compiler import defer_torch_compiler\n"
        "defer_torch_compiler()\n"
        "p = torch.nn.Parameter(torch.ones(2)); p.grad = torch.ones(2)\n"
        "optimizer = torch.optim.AdamW([p], lr=0.1, weight_decay=0)\n"
        "torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)\n"
        "optimizer.step(); optimizer.load_state_dict(optimizer.state_dict()); optimizer.zero_grad()\n"
        "assert torch.allclose(p, torch.full((2,), 0.9)), p\n"
        "torch.compiler.disable(reason='none')(print)\n"
        "assert 'torch._dynamo.utils' not in sys.modules, 'slow'\n"
        "import torch._dynamo.utils\n"
        "assert torch._dynamo.utils.counters is not None and torch._dynamo.is_compiling is not None\n"
        "assert torch.compile(lambda x: x + 1, backend='eager')(torch.ones(1)).item() == 2\n"
        "p.grad = torch.ones(2); optimizer.step()\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=300)


def test_a_command_does_not_import_pandas_and_leaves_it_usable():
    program = (
        "import sys; from kinetext.core.pandas_import import block_pandas_import; block_pandas_import()\n"
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

"""Parts of other packages that they do not promise to keep: a new version without one is named here, with the place to mend."""

import ast
import importlib.metadata
import inspect
import re
import tomllib

import open_clip.model
import pytest
import snakemake.api  # noqa: F401  (snakemake.storage cannot be imported before it)
import torch
from open_clip.transformer import TextTransformer, VisionTransformer
from packaging.requirements import Requirement
from snakemake.scheduling.job_scheduler import JobScheduler
from snakemake.settings.types import StorageSettings
from snakemake.storage import StorageRegistry
from snakemake.workflow import Workflow
from snakemake_interface_storage_plugins.storage_object import StorageObjectRead
from snakemake_interface_storage_plugins.storage_provider import StorageProviderBase
from timm.models import eva, vision_transformer
from torch.optim.lr_scheduler import LambdaLR
from torch.utils._python_dispatch import TorchDispatchMode

from repository import ROOT

PARTS = [  # package, owner, attribute, where it is used
    ("open_clip_torch", VisionTransformer, "_embeds", "backbones/open_clip_vit.py, embed"),
    ("open_clip_torch", TextTransformer, "_embeds", "backbones/native_pooling.py, encode_words_with_class"),
    ("open_clip_torch", open_clip.model, "resize_pos_embed", "backbones/library.py, resizers"),
    ("open_clip_torch", open_clip.model, "resize_text_pos_embed", "backbones/library.py, resizers"),
    ("timm", vision_transformer.VisionTransformer, "_pos_embed", "backbones/timm_vit.py, embed"),
    ("timm", eva.Eva, "_pos_embed", "backbones/timm_vit.py, embed"),
    ("torch", torch, "_foreach_lerp_", "training/recipes.py"),
    ("torch", torch.nn.modules.batchnorm, "_BatchNorm", "backbones/timm_vit.py, train"),
    ("torch", torch.ops.aten.mm.default, "_overloadpacket", "evaluation/cost.py, FlopCounter"),
    ("torch", TorchDispatchMode, "_should_skip_dynamo", "evaluation/cost.py, FlopCounter"),
    ("snakemake", Workflow, "local_exec", "workflow/rules/preflight.smk"),
    ("snakemake", Workflow, "scheduler", "workflow/rules/preflight.smk, lift_rate_limit"),
    ("snakemake", StorageSettings, "default_storage_provider", "workflow/rules/bucket.smk"),
    ("snakemake", StorageSettings, "default_storage_prefix", "workflow/rules/bucket.smk"),
    ("snakemake", StorageRegistry, "default_storage_provider", "workflow/rules/bucket.smk"),
    ("snakemake-interface-storage-plugins", StorageProviderBase, "object", "workflow/rules/bucket.smk"),
    ("snakemake-interface-storage-plugins", StorageObjectRead, "local_path", "workflow/rules/bucket.smk"),
    ("snakemake-interface-storage-plugins", StorageObjectRead, "retrieve_object", "workflow/rules/bucket.smk, fetch"),
]


@pytest.mark.parametrize(("package", "owner", "attribute", "where"), PARTS)
def test_a_private_part_of_a_package_is_still_there(package, owner, attribute, where):
    version = importlib.metadata.version(package)
    assert hasattr(owner, attribute), f"{package} {version} has no {owner.__name__}.{attribute}; mend {where}"


def test_a_schedule_still_takes_its_last_rates_from_the_attribute():
    """training/state.py sets them when a training resumes."""
    version = importlib.metadata.version("torch")
    source = inspect.getsource(LambdaLR.get_last_lr)
    assert "_last_lr" in source, f"torch {version} keeps the last rates elsewhere; mend training/state.py"


def test_the_scheduler_still_works_without_a_limit_of_rate():
    """lift_rate_limit in workflow/rules/preflight.smk takes it away on one machine."""
    version = importlib.metadata.version("snakemake")
    source = inspect.getsource(JobScheduler)
    assert "if self.job_rate_limiter is None:" in source, (
        f"snakemake {version} limits the rate of jobs otherwise; mend lift_rate_limit"
    )


def test_a_package_whose_private_parts_are_used_has_an_upper_bound():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    bounds = {r.name: str(r.specifier) for r in map(Requirement, project["dependencies"])}
    used = {package for package, *_ in PARTS if package in bounds}
    assert used >= {"open_clip_torch", "snakemake", "timm", "torch"}
    assert [package for package in sorted(used) if "<" not in bounds[package]] == []


def test_every_private_part_that_the_package_uses_is_listed():
    nodes = [node for path in (ROOT / "src").rglob("*.py") for node in ast.walk(ast.parse(path.read_text()))]
    attributes = [node for node in nodes if isinstance(node, ast.Attribute)]
    used = {node.attr for node in attributes if re.match("_[a-zA-Z]", node.attr)}
    defined = {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    defined |= {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    defined |= {
        node.attr for node in attributes if isinstance(node.ctx, ast.Store) and ast.unparse(node.value) == "self"
    }
    documented = {"_asdict", "_exit", "_replace"}
    assert used - defined - documented - {part for _, _, part, _ in PARTS} == {"_last_lr"}

"""Parts of other packages that they do not promise to keep: a new version without one is named here, with the place to mend."""

import importlib.metadata
import inspect

import open_clip.model
import pytest
import snakemake.api  # noqa: F401  (snakemake.storage cannot be imported before it)
from open_clip.transformer import VisionTransformer
from snakemake.scheduling.job_scheduler import JobScheduler
from snakemake.settings.types import StorageSettings
from snakemake.storage import StorageRegistry
from snakemake.workflow import Workflow
from snakemake_interface_storage_plugins.storage_object import StorageObjectRead
from snakemake_interface_storage_plugins.storage_provider import StorageProviderBase
from torch.optim.lr_scheduler import LambdaLR
from torch.utils._python_dispatch import TorchDispatchMode

PARTS = [  # package, owner, attribute, where it is used
    ("open_clip_torch", VisionTransformer, "_embeds", "backbones/open_clip_vit.py, embed"),
    ("open_clip_torch", open_clip.model, "resize_pos_embed", "backbones/library.py, resizers"),
    ("open_clip_torch", open_clip.model, "resize_text_pos_embed", "backbones/library.py, resizers"),
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

"""Contract of methods, over every one found."""

import pytest

from kinetext.backbones.checkpoint import load_backbone
from kinetext.contracts import Case, checks
from kinetext.core import plugins
from kinetext.methods.checkpoint import load_trained, save_trained
from method_inputs import OPTIONS, build


@pytest.mark.parametrize("name", plugins.names("methods"))
@pytest.mark.parametrize("check", checks("methods"), ids=lambda check: check.__name__)
def test_contract(name, check, tmp_path):
    check(Case("methods", name, tmp_path, OPTIONS.get(name, {})))


def test_a_checkpoint_of_another_method_is_refused(tiny, tiny_folder, tmp_path):
    method = build(tiny, "stan")
    save_trained(method, tmp_path / "stan.safetensors", {})
    with pytest.raises(ValueError, match=r"stan\.safetensors: parameter branch\..* does not fit this method"):
        load_trained(build(load_backbone(tiny_folder), "mean_pool"), tmp_path / "stan.safetensors")

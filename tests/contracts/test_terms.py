"""Contract of loss terms, over every one found."""

import pytest

from kinetext.contracts import Case, checks
from kinetext.core import plugins


@pytest.mark.parametrize("name", plugins.names("terms"))
@pytest.mark.parametrize("check", checks("terms"), ids=lambda check: check.__name__)
def test_contract(name, check, tmp_path):
    check(Case("terms", name, tmp_path))

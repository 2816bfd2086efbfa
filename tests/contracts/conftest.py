"""Fixtures of plug-ins from outside."""

import sys

import pytest

from kinetext.core import plugins


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """An empty working directory; what the test registers or imports is forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    plugins.registered.cache_clear()
    before = set(sys.modules)
    yield tmp_path
    plugins.registered.cache_clear()
    for name in set(sys.modules) - before:
        if name.startswith(("my_lab", "kinetext_plugin_")):
            del sys.modules[name]

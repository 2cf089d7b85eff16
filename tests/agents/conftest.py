"""Agents run far from the settings of the person who runs them; what their authors warn of is not ours."""

import gc
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.agents.agents import hermetic_environment


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Ignore warnings here; our own are errors in every other suite."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.filterwarnings("ignore"))


@pytest.fixture
def home(tmp_path, monkeypatch) -> Iterator[Path]:
    """A folder that agents take for their home, and an environment with nothing of ours."""
    folder = tmp_path / "home"
    folder.mkdir()
    kept = hermetic_environment(os.environ, folder)
    for name in os.environ.keys() - kept.keys():
        monkeypatch.delenv(name)
    for name, value in kept.items():
        monkeypatch.setenv(name, value)
    yield folder
    gc.collect()  # what a framework leaves open is its own, and is not to be found in a later suite

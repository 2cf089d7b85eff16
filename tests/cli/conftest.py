import pytest

from tests.cli.commands import Commands


@pytest.fixture
def commands(tmp_path):
    return Commands(tmp_path)

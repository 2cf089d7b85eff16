"""Every cell of docs/coverage.md."""

import pytest

from tests.gateway.backends import FORMATS
from tests.gateway.dialects import DIALECTS
from tests.gateway.features import FEATURES
from tests.gateway.matrix import PAGE, document, run_cell, written


@pytest.mark.parametrize("feature", FEATURES, ids=lambda feature: feature.name)
@pytest.mark.parametrize("format_", FORMATS)
@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
async def test_cell(dialect, format_, feature, autojump_clock):
    """What a protocol, a provider format and a feature make together is what the page says."""
    assert await run_cell(dialect, format_, feature) == written()[dialect.name, format_, feature.name]


def test_the_page_is_what_the_command_writes():
    """Nothing in the page is written by hand, and no cell is missing or unknown."""
    words = written()
    assert len(words) == len(DIALECTS) * len(FORMATS) * len(FEATURES)
    assert {word.partition(":")[0] for word in words.values()} <= {
        "native",
        "wrapped",
        "refused",
        "dropped",
        "error",
        "n/a",
    }
    assert PAGE.read_text() == document(words)

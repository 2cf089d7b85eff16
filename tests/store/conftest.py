"""The store over everything it runs on: one suite for all."""

import pytest

from ainf.store.store import Store
from tests.store.records import START


def never(error):
    raise AssertionError("the writer died") from error


@pytest.fixture(params=["memory:", "sqlite:"])
async def store(request, tmp_path):
    url = request.param if request.param == "memory:" else f"sqlite:{tmp_path / 'ainf.db'}"
    async with Store.open(url, now=lambda: START + 500, on_fatal=never) as opened:
        yield opened

"""The composition root: what it makes of a configuration, and what it leaves behind."""

import itertools
from io import StringIO

import pytest

from ainf.app import new_id, running_gateway
from ainf.config import load_config
from ainf.telemetry import Telemetry
from tests.gateway.live import live

CONFIG = """
[server]
bind = ["127.0.0.1:0"]
[store]
url = "sqlite:app.db"
[providers.sim]
format = "openai"
base_url = "http://127.0.0.1:9/v1"
[models.sim]
provider = "sim"
max_output_tokens = 100
price = "free"
"""


def config(tmp_path):
    path = tmp_path / "ainf.toml"
    path.write_text(CONFIG)
    return load_config(path, {})


def test_ids_sort_by_time():
    """Ids of one kind are all of one length, differ, and sort in the order in which they were made."""
    ids = [new_id("inf") for _ in range(1000)]
    assert len({len(id_) for id_ in ids}) == 1
    assert len(set(ids)) == 1000
    stamps = [id_[:18] for id_ in ids]
    assert all(earlier <= later for earlier, later in itertools.pairwise(stamps))


async def test_links_bear_the_port_that_was_got(tmp_path):
    """With port 0 and no public URL, receipts are linked where the gateway really listens."""
    async with running_gateway(config(tmp_path), Telemetry(StringIO())) as running:
        assert running.gateway.services.public_url == running.url
        assert not running.url.endswith(":0")


async def test_a_fresh_gateway_has_refused_nothing(tmp_path):
    """The answer that is made ready for too many connections is not counted as one that was given."""
    telemetry = Telemetry(StringIO())
    async with running_gateway(config(tmp_path), telemetry):
        assert b"ainf_rejections_total{" not in telemetry.exposition()


async def test_an_exception_leaves_no_connection_to_a_provider(tmp_path):
    """However the block around a gateway is left, its pooled connections are closed (a leak is a warning, an error)."""

    async def break_off() -> None:
        async with live(tmp_path, "sim") as here:
            assert (await here.ask("sim")).status == 200
            raise KeyError

    with pytest.raises((KeyError, BaseExceptionGroup)):
        await break_off()

"""The composition root: a gateway that listens, drains and closes, built from a configuration."""

import json
import re
from io import StringIO
from types import SimpleNamespace

import attrs
import pytest
import trio

from ainf import app as composition
from ainf.config import Limits, load_config
from ainf.telemetry import Telemetry
from tests.gateway.live import live
from tests.gateway.live_client import eventually
from tests.gateway.world import config_text, world


def test_ids_sort_by_time():
    """An id made later sorts behind, and no two are alike."""
    ids = [composition.new_id("inf") for _ in range(100)]
    assert len(set(ids)) == 100
    assert all(re.fullmatch(r"inf_[0-9a-f]{32}", name) for name in ids)
    assert [name[:16] for name in ids] == sorted(name[:16] for name in ids)


def test_the_clock_is_in_microseconds():
    """Later than 2025, sooner than 2100."""
    assert 1_735_689_600_000_000 < composition.wall_clock() < 4_102_444_800_000_000


async def test_every_limit_reaches_its_part(tmp_path, autojump_clock):
    """What the configuration says is what exchanges, pipes and connections to providers are given."""
    limits = (
        "early_head_s = 1\nheartbeat_s = 2\ntail_s = 3\nprelude_bytes = 4\nsse_line_bytes = 5\nsse_event_bytes = 6\n"
        "answer_bytes = 7\nrunning = 8\nconnect_s = 9\nupstream_header_bytes = 10\nupstream_idle_s = 11\n"
        "upstream_connections = 12\nerror_body_bytes = 13\nerror_body_s = 14\nupstream_read_bytes = 1500\n"
        "upstream_receive_buffer_bytes = 1600\nupstream_dead_peer_s = 17"
    )
    more = "bytes_per_token = 3.5\ninput_bytes_per_token_low = 1.5\nimage_tokens = 99\nsilence_s = 77"
    async with world(tmp_path, "sim", limits=limits, more=more) as here:
        services = here.gateway.services
        clocks, pipes = services.clocks, services.pipe_limits
        assert (clocks.early_head_s, clocks.heartbeat_s, clocks.tail_s, clocks.prelude_bytes) == (1, 2, 3, 4)
        assert clocks.speak_s > 20, "the write limit ends a write, not the exchange's own limit"
        assert (pipes.line, pipes.event, pipes.answer) == (5, 6, 7)
        assert here.gateway.running_limit == 8
        model = here.gateway.models["sim"]
        upstream = model.backend.client.limits
        assert (upstream.connect_s, upstream.header_bytes, upstream.idle_s) == (9, 10, 11)
        assert (upstream.connections_per_origin, upstream.error_body_bytes, upstream.error_body_s) == (12, 13, 14)
        assert (upstream.read_bytes, upstream.receive_buffer_bytes, upstream.dead_peer_s) == (1500, 1600, 17)
        assert (model.terms.ratios.mean, model.terms.ratios.low, model.terms.ratios.image_tokens) == (3500, 1500, 99)
        assert (model.terms.silence_s, model.terms.first_byte_s) == (77, 300)


@pytest.mark.parametrize("made_of", [composition.server_limits, composition.upstream_limits])
def test_every_limit_of_server_and_providers_is_a_setting(made_of):
    """Nothing that they are limited by is out of an operator's reach."""
    usual = Limits()
    doubled = Limits(**{field.name: 2 * getattr(usual, field.name) for field in attrs.fields(Limits)})
    for field in attrs.fields(type(made_of(usual))):
        assert getattr(made_of(doubled), field.name) == 2 * getattr(made_of(usual), field.name), field.name


async def test_models_of_one_provider_share_its_connections(tmp_path, autojump_clock):
    """One client, one credential object a provider."""
    async with world(tmp_path, "sim", "sim-tokens-5") as here:
        one, other = here.gateway.models.values()
        assert one.backend is other.backend


async def test_a_gateway_listens_and_drains(tmp_path):
    """On a port of its own it answers; told to stop, it ends, and its log says each step."""
    path = tmp_path / "ainf.toml"
    text = config_text(("sim",)).replace("[server]", '[server]\nbind = ["127.0.0.1:0"]')
    path.write_text(text.replace("sqlite:unused.db", f"sqlite:{tmp_path / 'a.db'}"))
    config = load_config(path, {"SIM_KEY": "sk-canary-provider-secret"})
    log = StringIO()
    with trio.fail_after(20):
        async with composition.running_gateway(config, Telemetry(log)) as running:
            host, _, port = running.url.removeprefix("http://").rpartition(":")
            stream = await trio.open_tcp_stream(host, int(port))
            async with stream:
                await stream.send_all(b"GET /readyz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
                answer = b"".join([data async for data in stream])
            assert answer.startswith(b"HTTP/1.1 200 ")
            running.stop.set()
    events = [json.loads(line)["event"] for line in log.getvalue().splitlines()]
    assert [event for event in events if event in {"recovered", "listening", "draining", "stopped"}] == [
        "recovered", "listening", "draining", "stopped",
    ]  # fmt: skip
    assert "sk-canary" not in log.getvalue()


async def test_connections_that_wait_in_vain_are_closed(tmp_path):
    """After a rush, when nobody asks any more, a gateway keeps no connection for longer than it is said to."""
    async with live(tmp_path, "sim", limits="upstream_idle_s = 1") as here:
        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(here.ask)
        backends = here.running.gateway.backends.values()
        lanes = [lane for backend in backends for lane in backend.client.pool._lanes.values()]
        with trio.fail_after(20):
            await eventually(lambda: sum(lane.idle for lane in lanes))
            await eventually(lambda: not sum(lane.idle for lane in lanes))


async def test_free_memory_is_given_back_after_so_much_or_so_long(autojump_clock, monkeypatch):
    """At once behind large requests, within a minute behind small ones, and not at all where there were none."""
    given_back: list[float] = []
    library = SimpleNamespace(malloc_trim=lambda _: given_back.append(trio.current_time() - began))
    monkeypatch.setattr(composition.ctypes, "CDLL", lambda _: library)
    gateway, began = SimpleNamespace(body_bytes=0), trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(composition._give_memory_back, gateway, 2.0)
        await trio.sleep(121)
        assert given_back == []
        gateway.body_bytes += 100
        await trio.sleep(2)
        assert given_back == [122]
        gateway.body_bytes += 100
        await trio.sleep(58)
        gateway.body_bytes += 5 << 20
        await trio.sleep(2)
        gateway.body_bytes += 5 << 20
        await trio.sleep(100)
        assert given_back == [122, 182, 184]
        nursery.cancel_scope.cancel()


async def test_a_configuration_without_a_key_sends_none(tmp_path, autojump_clock):
    """A provider without ``api_key_env`` is called without a credential."""
    async with world(tmp_path, "sim") as here:
        model = here.gateway.models["sim"]
        names = [name for name, _ in model.backend.headers]
        assert b"authorization" in names
        path = tmp_path / "bare.toml"
        path.write_text(config_text(("sim",)).replace('api_key_env = "SIM_KEY"\n', "", 1))
        gateway = composition.build_gateway(load_config(path, {"SIM_KEY": "k"}), Telemetry(StringIO()), here.store)
        assert b"authorization" not in [name for name, _ in gateway.models["sim"].backend.headers]

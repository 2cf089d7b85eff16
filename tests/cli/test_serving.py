"""A gateway that is a process of its own: what SIGHUP does to it, from its first moment to its last."""

import json
import os
import platform
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from ainf.app import wall_clock
from tests.gateway.backends import OUTPUT_RATE
from tests.gateway.live import PROVIDER_KEY, check_law
from tests.gateway.live_client import RawClient, eventually
from tests.gateway.process import Deployment, deployment
from tests.gateway.world import question

SHORT, LONG = "sim-tokens-8", "sim-tokens-100-pace-20ms"
HEAPS = """
import ctypes, sys, threading
from ainf.cli.serving import keep_heap_small
if "small" in sys.argv:
    keep_heap_small()
large = bytes(1 << 20)
del large
held = [bytes(300_000) for _ in range(10)]
kept = [None] * 4
barrier = threading.Barrier(4)
def work(number):
    barrier.wait()
    kept[number] = [bytes(1000) for _ in range(1000)]
    barrier.wait()
threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
libc = ctypes.CDLL(None)
libc.fdopen.restype = ctypes.c_void_p
out = ctypes.c_void_p(libc.fdopen(1, b"w"))
libc.malloc_info(0, out)
libc.fflush(out)
"""
"""Tells of the C library's heaps when four threads have allocated at the same time, and of what is beside them: ten
pieces that are smaller than one that was freed."""
ROUTING = "[routing]\npreference_live = false\n"
WITHIN_S = 60.0


@asynccontextmanager
async def deployed(folder: Path, **settings: str) -> AsyncIterator[Deployment]:
    """A gateway with two models, bounded in time; the law is checked when it has stopped."""
    with trio.fail_after(WITHIN_S):
        async with deployment(folder, SHORT, LONG, now=wall_clock, after=ROUTING, **settings) as here:
            yield here
            asked = [entry["headers"]["x-client-request-id"] for entry in await here.simulated()]
            assert await here.terminate() == 0
            check_law(here.books, asked)


def said(here: Deployment, *events: str) -> list[dict[str, Any]]:
    """The lines of the gateway's log with these events."""
    assert here.gateway is not None
    whole, _, _ = here.gateway.output.read_text().rpartition("\n")
    lines = map(json.loads, whole.splitlines())
    return [line for line in lines if line["event"] in events]


def hang_up(here: Deployment) -> None:
    assert here.gateway is not None
    here.gateway.child.send_signal(signal.SIGHUP)


async def reload(here: Deployment) -> dict[str, Any]:
    """Have the configuration read again; return what the gateway says of it."""
    before = len(said(here, "reloaded", "reload_refused"))
    hang_up(here)
    await eventually(lambda: len(said(here, "reloaded", "reload_refused")) > before)
    return said(here, "reloaded", "reload_refused")[-1]


def rewrite(here: Deployment, old: str, new: str) -> None:
    text = here.config.read_text()
    assert old in text
    here.config.write_text(text.replace(old, new))


async def asked(here: Deployment, model: str, **fields: object) -> str:
    """Ask for a whole answer; return which model gave it."""
    body = json.dumps({**question(model, stream=False), **fields}).encode()
    client = await here.connect()
    head = (
        "POST /v1/chat/completions HTTP/1.1", "host: gateway.test", f"authorization: Bearer {here.key}",
        "content-type: application/json", f"content-length: {len(body)}", "connection: close", "", "",
    )  # fmt: skip
    await client.send("\r\n".join(head).encode() + body)
    answer = await client.take()
    assert answer.status == 200, answer.body
    return answer.headers["x-ainf-model"]


def output_rates(here: Deployment, model: str) -> list[int]:
    """The price of an output token of each exchange with a model, as it was settled, in their order."""
    rows = here.rows(
        "SELECT p.body FROM inferences AS i JOIN prices AS p ON p.price_version = i.price_version"
        f" WHERE i.model = '{model}' ORDER BY i.opened_at"
    )
    return [json.loads(body)["output"] // 1_000_000 for (body,) in rows]


async def streaming(here: Deployment, model: str) -> RawClient:
    """Ask for a stream; return when it speaks."""
    client = await here.ask(model)
    await client.read_until(b'"content":')
    return client


async def test_a_price_changes_under_a_running_stream(tmp_path):
    """What was admitted before costs the old price to its end, what is admitted after it the new one."""
    async with deployed(tmp_path) as here:
        running = await streaming(here, LONG)
        rewrite(here, 'output = "2.00"', 'output = "9.00"')
        rewrite(here, "preference_live = false", "preference_live = true")
        line = await reload(here)
        assert (line["event"], line["added"], line["removed"]) == ("reloaded", [], [])
        assert line["changed"] == [f"models.{LONG}", f"models.{SHORT}", "routing.preference_live"]
        assert b"[DONE]" not in running.raw, "the stream was over before the reload"
        after = await streaming(here, LONG)
        for client in (running, after):
            assert (await client.take()).whole
            assert b"[DONE]" in client.raw
        assert output_rates(here, LONG) == [OUTPUT_RATE, 9_000]


async def test_a_broken_file_changes_nothing(tmp_path):
    """Half of a new configuration is none: its fault is told with the line, and the old one serves on."""
    async with deployed(tmp_path) as here:
        rewrite(here, 'output = "2.00"', 'output = "9.00"')
        rewrite(here, "preference_live = false", "preference_live = maybe")
        line = await reload(here)
        assert line["event"] == "reload_refused"
        (fault,) = line["faults"]
        assert re.match(rf"{re.escape(str(here.config))}:\d+: is not TOML: ", fault)
        assert await asked(here, SHORT) == SHORT
        rewrite(here, "preference_live = maybe", "preference_live = false")
        rewrite(here, "[server]\n", "[server]\ndrain_s = 1\n")
        assert (await reload(here))["faults"] == ["server.drain_s: is changed by a restart only"]
        assert await asked(here, SHORT) == SHORT
        rewrite(here, "drain_s = 1\n", "")
        assert (await reload(here))["event"] == "reloaded"
        assert await asked(here, SHORT) == SHORT
        assert output_rates(here, SHORT) == [OUTPUT_RATE, OUTPUT_RATE, 9_000]


async def test_of_two_changes_at_once_the_last_wins(tmp_path):
    """However quickly files and signals follow one another, what is in force at the end is the last file."""
    async with deployed(tmp_path) as here:
        for dollars in range(3, 10):
            here.config.write_text(re.sub(r'output = "\d\.00"', f'output = "{dollars}.00"', here.config.read_text()))
            hang_up(here)
        while output_rates(here, SHORT)[-1:] != [9_000]:
            await asked(here, SHORT)
        await trio.sleep(0.2)
        await asked(here, SHORT)
        assert output_rates(here, SHORT)[-1] == 9_000, "what was in force at last was taken back"


async def test_the_dial_is_switched_on_and_off(tmp_path):
    """`routing.preference_live` counts from the next request on, without a restart."""
    async with deployed(tmp_path) as here:
        better = f'[models."{LONG}"]\nquality = 0.6'
        rewrite(here, f'[models."{LONG}"]', better)
        rewrite(here, 'output = "2.00"', 'output = "2.01"')
        here.config.write_text(cheaper(here.config.read_text(), SHORT))
        assert (await reload(here))["event"] == "reloaded"
        hint = {"routing_hint": {"routing_preference": "quality"}}
        assert await asked(here, "ainf-inference", **hint) == SHORT
        for live, chosen in (("true", LONG), ("false", SHORT)):
            here.config.write_text(re.sub(r"_live = \w+", f"_live = {live}", here.config.read_text()))
            assert (await reload(here))["changed"] == ["routing.preference_live"]
            assert await asked(here, "ainf-inference", **hint) == chosen


def cheaper(text: str, model: str) -> str:
    """A configuration in which a model's output costs less."""
    before, name, after = text.partition(f'[models."{model}"]')
    return before + name + after.replace('output = "2.01"', 'output = "1.00"', 1)


async def test_a_hangup_while_it_drains(tmp_path):
    """A gateway that is told to stop takes nothing over any more, and still ends as it should."""
    async with deployed(tmp_path) as here:
        running = await streaming(here, LONG)
        assert here.gateway is not None
        here.gateway.child.send_signal(signal.SIGTERM)
        await eventually(lambda: said(here, "draining") != [])
        line = await reload(here)
        assert line["faults"] == ["the gateway is draining; what it starts with next is read then"]
        await running.take()
        assert b"[DONE]" in running.raw
        hang_up(here)
        assert await here.gateway.child.wait() == 0
        await here.start()


def ignores_hangups(pid: int) -> bool:
    """Whether the kernel would drop a SIGHUP for this process."""
    status = Path(f"/proc/{pid}/status").read_text()
    (mask,) = re.findall(r"^SigIgn:\s*([0-9a-f]+)$", status, re.MULTILINE)
    return bool(int(mask, 16) >> (signal.SIGHUP - 1) & 1)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="which signals are ignored is told by Linux only")
async def test_a_hangup_while_it_starts(tmp_path):
    """From the command's first step on no SIGHUP ends the process, and it listens."""
    async with deployed(tmp_path) as here:
        assert await here.terminate() == 0
        with (tmp_path / "again.log").open("wb") as sink:
            command = [sys.executable, "-m", "ainf", "serve", "--config", str(here.config)]
            child = await trio.lowlevel.open_process(
                command, stdout=sink, stderr=sink, stdin=subprocess.DEVNULL, env={**os.environ, "SIM_KEY": PROVIDER_KEY}
            )
        await eventually(lambda: ignores_hangups(child.pid))
        while b'"listening"' not in (tmp_path / "again.log").read_bytes():
            child.send_signal(signal.SIGHUP)
            await trio.sleep(0.005)
            assert child.poll() is None
        child.send_signal(signal.SIGTERM)
        assert await child.wait() == 0
        await here.start()


@pytest.mark.skipif("glibc" not in platform.libc_ver()[0], reason="other C libraries have one heap")
def test_the_heap_is_one_and_holds_nothing_large():
    """As glibc has it, each thread would have a heap of its own, and hold what is large but not the largest."""

    def told(*how: str) -> tuple[int, int]:
        run = subprocess.run([sys.executable, "-c", HEAPS, *how], capture_output=True, text=True, check=True)
        ((beside,),) = [re.findall(r'type="mmap" count="([0-9]+)"', run.stdout)]
        return run.stdout.count("<heap nr="), int(beside)

    heaps, beside = told()
    small_heaps, beside_small = told("small")
    assert (heaps > 1, small_heaps) == (True, 1)
    assert beside_small >= beside + 10

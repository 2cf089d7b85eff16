"""Real processes on a machine that misbehaves: it stops them, fills their disk, steps their clock, takes their log."""

import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trio

from ainf.app import wall_clock
from ainf.ledger import Window
from ainf.store import caps
from ainf.store.beside import write_books
from ainf.store.counting import Scope
from tests.gateway.crashing import FailingDisk, SteppedClock
from tests.gateway.disks import Disk, small_disk
from tests.gateway.live import check_law
from tests.gateway.live_client import Answer, RawClient, eventually, frames_so_far
from tests.gateway.process import Deployment, deployment

WITHIN_S = 60.0
SHORT = "sim-tokens-40"
LONG = "sim-tokens-400-pace-5ms"
"""Two seconds."""
ENDLESS = "sim-tokens-20000-pace-5ms"
MORE = "max_output_tokens = 30000"
pytestmark = pytest.mark.law

PROGRESS_S = 0.2
PROGRESS = f"progress_s = {PROGRESS_S}"
LEASE = "lease_s = 1\nheartbeat_s = 0.2\n"
DISK_BYTES = 16 << 20
SMALL = "ballast_bytes = 2097152\n"
AWAY = "close_s = 0.3\nwait_s = 0.3\n"
SHARED = f"{LEASE}shared = true"


def is_whole(client: RawClient) -> bool:
    return frames_so_far(bytes(client.raw))[-1:] == [b"[DONE]"]


async def get(here: Deployment, path: str) -> Answer:
    client = await here.connect()
    head = f"GET {path} HTTP/1.1\r\nhost: gateway.test\r\nauthorization: Bearer {here.key}\r\nconnection: close\r\n\r\n"
    await client.send(head.encode())
    return await client.take()


async def ready(here: Deployment, status: int) -> None:
    """Wait until it says that it is ready, or that it is not."""
    while (await get(here, "/readyz")).status != status:  # noqa: ASYNC110 - another process tells nobody
        await trio.sleep(0.05)


async def check(here: Deployment) -> None:
    """Stop it in good order, and check the law over all that it did."""
    asked = [entry["headers"]["x-client-request-id"] for entry in await here.simulated()]
    assert await here.terminate() == 0
    check_law(here.books, asked)


# --- stopped ---


@pytest.mark.threat(66)
async def test_a_process_that_was_stopped_for_longer_than_its_lease_goes_on(tmp_path):
    """Nobody else may have its database: its streams end whole, and it admits again."""
    with trio.fail_after(WITHIN_S):
        async with deployment(tmp_path, LONG, SHORT, now=wall_clock, store=LEASE) as here:
            clients = [await here.ask(LONG) for _ in range(5)]
            for client in clients:
                await client.read_until(b'content":"')
            here.gateway.child.send_signal(signal.SIGSTOP)
            await trio.sleep(2.5)
            here.gateway.child.send_signal(signal.SIGCONT)
            async with trio.open_nursery() as nursery:
                for client in clients:
                    nursery.start_soon(client.take)
            assert all(is_whole(client) for client in clients)
            await ready(here, 200)
            assert (await (await here.ask(SHORT)).take()).status == 200
            assert here.rows("SELECT ending, count(*) FROM settlements GROUP BY 1") == [("completed", 6)]
            assert here.rows("SELECT count(*) FROM instances WHERE fenced_at IS NOT NULL") == [(0,)]
            await check(here)


async def abandoned(here: Deployment, count: int) -> None:
    """Wait until so many exchanges were taken over."""
    while here.rows("SELECT count(*) FROM settlements WHERE ending = 'abandoned'") != [(count,)]:  # noqa: ASYNC110 - the same
        await trio.sleep(0.05)


@pytest.mark.threat(66)
async def test_what_a_stopped_process_had_open_is_taken_over_and_it_settles_nothing_twice(tmp_path):
    """It wakes in a new epoch: its clients are told an error, and what it knew better is posted as an adjustment."""
    models, streams = (ENDLESS, LONG, SHORT), 4
    with trio.fail_after(WITHIN_S):
        async with deployment(tmp_path, *models, now=wall_clock, more=MORE, store=SHARED, limits=PROGRESS) as here:
            cap_nusd = 400_000_000
            await here.command("caps", "set", "--account", "agents", "--usd", "0.40")
            other = here.beside()
            try:
                await other.start()
                endless = [await here.ask(ENDLESS) for _ in range(streams)]
                long = [await here.ask(LONG) for _ in range(streams)]
                elsewhere = await other.ask(LONG)
                for client in (*endless, *long, elsewhere):
                    await client.read_until(b'content":"')
                await trio.sleep(3 * PROGRESS_S)
                here.gateway.child.send_signal(signal.SIGSTOP)
                await abandoned(other, 2 * streams)
                assert (await (await other.ask(SHORT)).take()).status == 200
                here.gateway.child.send_signal(signal.SIGCONT)
                async with trio.open_nursery() as nursery:
                    for client in (*endless, *long, elsewhere):
                        nursery.start_soon(client.take)
                assert all(is_whole(client) for client in (elsewhere, *long))
                for client in endless:
                    assert json.loads(frames_so_far(bytes(client.raw))[-2])["error"]["code"] == "store_unavailable"
                await ready(here, 200)
                assert (await (await here.ask(SHORT)).take()).status == 200
                check_adjusted(here, cap_nusd, streams)
                assert await other.terminate() == 0
            finally:
                await other.stop()
            await check(here)


def check_adjusted(here: Deployment, cap_nusd: int, streams: int) -> None:
    """Each has one settlement; what was read behind the last progress is an adjustment, once, and told of."""
    endings = dict(here.rows("SELECT ending, count(*) FROM settlements GROUP BY 1"))
    assert endings == {"abandoned": 2 * streams, "completed": 3}
    adjusted = here.rows("SELECT inference_id, sum(amount_nusd) FROM entries WHERE kind = 'adjustment' GROUP BY 1")
    events = here.rows("SELECT inference_id FROM audit_events WHERE kind = 'inference.adjusted' ORDER BY 1")
    assert [(inference_id,) for inference_id, _ in sorted(adjusted)] == events
    assert adjusted
    assert all(amount > 0 for _, amount in adjusted), "progress is never more than what there was"
    ((spent,),) = here.rows("SELECT sum(amount_nusd) FROM entries WHERE kind IN ('settle', 'overrun', 'adjustment')")
    assert spent <= cap_nusd
    assert here.rows("SELECT count(*) FROM instances WHERE fenced_at IS NOT NULL") == [(1,)]


# --- a disk that is full ---


@asynccontextmanager
async def on_a_small_disk(tmp_path: Path, store: str) -> AsyncIterator[tuple[Disk, Deployment]]:
    """Deploy a gateway with its database on a disk that can be filled."""
    (tmp_path / "disk").mkdir()
    with trio.fail_after(WITHIN_S):
        async with (
            small_disk(tmp_path / "disk", DISK_BYTES) as disk,
            deployment(
                tmp_path, LONG, SHORT, now=wall_clock, limits=PROGRESS, store=LEASE + AWAY + store, place=disk.folder,
                fault=disk.fault,
            ) as here,
        ):  # fmt: skip
            await ready(here, 200)
            yield disk, here


async def begun(here: Deployment, count: int) -> list[RawClient]:
    """Begin long streams."""
    clients = [await here.ask(LONG) for _ in range(count)]
    for client in clients:
        await client.read_until(b'content":"')
    return clients


async def read_all(clients: list[RawClient]) -> None:
    async with trio.open_nursery() as nursery:
        for client in clients:
            nursery.start_soon(client.take)


@pytest.mark.threat(68)
async def test_on_a_full_disk_nothing_is_admitted_and_what_runs_is_settled(tmp_path):
    """The ballast makes room for what runs; once there is room again it admits by itself, and nothing was lost."""
    async with on_a_small_disk(tmp_path, SMALL) as (disk, here):
        clients = await begun(here, 5)
        disk.fill()
        await ready(here, 503)
        refused = await (await here.ask(SHORT)).take()
        assert (refused.status, json.loads(refused.body)["error"]["code"]) == (503, "store_unavailable")
        await read_all(clients)
        assert all(is_whole(client) for client in clients)
        assert here.rows("SELECT ending, count(*) FROM settlements GROUP BY 1") == [("completed", 5)]
        await here.kill()
        await here.start(disk.fault)  # there, and as full as before
        await ready(here, 503)
        disk.free()
        await ready(here, 200)
        assert (await (await here.ask(SHORT)).take()).whole
        await check(here)


@pytest.mark.threat(69)
async def test_on_a_full_disk_without_ballast_ends_wait_on_another_one(tmp_path):
    """The spool has a disk of its own: ends are told, receipts say that they wait, and later the ledger has them."""
    spool = f'ballast_bytes = 0\nspool = "{tmp_path}/kept"'
    async with on_a_small_disk(tmp_path, spool) as (disk, here):
        clients = await begun(here, 5)
        disk.fill()
        await read_all(clients)
        assert all(is_whole(client) for client in clients)
        receipts = [json.loads((await get(here, f"/v1/audit/{name_of(client)}")).body) for client in clients]
        assert {(told["state"], told["ending"], told["spooled"]) for told in receipts} == {
            ("settled", "completed", True)
        }
        disk.free()
        while here.rows("SELECT ending, count(*) FROM settlements GROUP BY 1") != [("completed", 5)]:  # noqa: ASYNC110 - another process does it
            await trio.sleep(0.05)
        again = [json.loads((await get(here, f"/v1/audit/{name_of(client)}")).body) for client in clients]
        assert [told["settled_nusd"] for told in again] == [told["settled_nusd"] for told in receipts]
        assert (await (await here.ask(SHORT)).take()).whole
        await check(here)


def name_of(client: RawClient) -> str:
    return Answer(bytes(client.raw), "eof").headers["x-ainf-inference-id"]


@pytest.mark.threat(69)
async def test_where_nothing_durable_can_be_written_no_end_is_told(tmp_path):
    """No ballast, and the spool on the full disk: connections close without a terminal frame, recovery settles."""
    async with on_a_small_disk(tmp_path, "ballast_bytes = 0") as (disk, here):
        clients = await begun(here, 5)
        disk.fill()
        await read_all(clients)
        for client in clients:
            assert b"[DONE]" not in client.raw
            assert b'finish_reason":"' not in client.raw
        disk.free()
        await here.kill()
        await here.start()
        assert here.rows("SELECT ending, count(*) FROM settlements GROUP BY 1") == [("abandoned", 5)]
        await check(here)


# --- a disk that takes no write ---


@pytest.mark.threat(68)
async def test_on_a_read_only_disk_it_says_so_and_ends(tmp_path):
    """One line that names the file, exit status 1; once the disk can be written it starts as ever."""
    (tmp_path / "disk").mkdir()
    with trio.fail_after(WITHIN_S):
        async with (
            small_disk(tmp_path / "disk", DISK_BYTES) as disk,
            deployment(tmp_path, SHORT, now=wall_clock, place=disk.folder, store=SMALL) as here,
        ):
            assert (await (await here.ask(SHORT)).take()).status == 200
            await here.kill()
            place = await disk.remount("ro")
            text = here.config.read_text()
            here.config.write_text(text.replace(f"sqlite:{disk.folder}", f"sqlite:{place}"))
            gateway = await here.launch()
            assert await gateway.child.wait() == 1
            (said,) = gateway.output.read_text().splitlines()
            assert "ainf.db" in said
            here.config.write_text(text)
            await disk.remount("rw")
            await here.start()
            await check(here)


async def test_a_disk_that_becomes_read_only_ends_the_process_and_nobody_is_told_an_end(tmp_path):
    """What is durable is not known then: nothing is made up, and the next start settles what was open."""
    sign, fault = FailingDisk.sign_of(tmp_path), f"read-only={tmp_path}"
    with trio.fail_after(WITHIN_S):
        async with deployment(tmp_path, ENDLESS, now=wall_clock, more=MORE, limits=PROGRESS, fault=fault) as here:
            clients = [await here.ask(ENDLESS) for _ in range(3)]
            for client in clients:
                await client.read_until(b'content":"')
            sign.touch()
            async with trio.open_nursery() as nursery:
                for client in clients:
                    nursery.start_soon(client.take)
            assert await here.gateway.child.wait() == 70
            assert "the ledger's writer died" in here.gateway.output.read_text()
            assert not any(is_whole(client) for client in clients)
            sign.unlink()
            await here.start()
            assert here.rows("SELECT ending, count(*) FROM settlements GROUP BY 1") == [("abandoned", 3)]
            await check(here)


# --- a clock that steps ---


def us(hours: float) -> int:
    return int(hours * 3_600_000_000)


async def set_caps(here: Deployment) -> None:
    """Set caps of several windows, some time ago: before the first window that a clock may be set back to."""

    def operation(tx: Any) -> None:
        for window in (Window.HOUR, Window.DAY, Window.MONTH):
            scope = Scope(caps.subject_of(tx, account="agents"), window)
            caps.set_cap(tx, cap_id=f"cap_{window}", scope=scope, limit_nusd=5 * 10**9, at=wall_clock() - us(800))

    await write_books(here.books, operation, now=wall_clock)


@pytest.mark.threat(71)
async def test_a_clock_that_steps_while_streams_run_harms_no_record(tmp_path):
    """An hour forwards and back, and over a day: each counts in the window of its admission, and none ends before it
    began."""
    clock = tmp_path / "clock"
    SteppedClock.step(clock, 0)
    with trio.fail_after(WITHIN_S):
        async with deployment(
            tmp_path, LONG, SHORT, now=wall_clock, limits=PROGRESS, store=LEASE, fault=f"clock={clock}"
        ) as here:
            await set_caps(here)
            for hours in (1, -1, -0.5, 26, 0):
                running = await here.ask(LONG)
                await running.read_until(b'content":"')
                SteppedClock.step(clock, us(hours))
                assert (await (await here.ask(SHORT)).take()).whole
                await running.take()
                assert is_whole(running)
            opened = here.rows(
                "SELECT opened_at, settled_at, caps FROM inferences JOIN settlements USING (inference_id)"
            )
            assert all(began <= ended for began, ended, _ in opened)
            for began, _, counted in opened:
                starts = {start for _, start in json.loads(counted)}
                assert began - began % us(1) in starts, "the hour of its admission"
                assert began - began % us(24) in starts, "the day of its admission"
            ids = [row[0] for row in here.rows("SELECT inference_id FROM inferences")]
            assert len(set(ids)) == 10
            await check(here)


@pytest.mark.threat(71)
async def test_what_runs_into_another_month_counts_in_the_one_of_its_admission(tmp_path):
    """What was admitted in the last second of a month counts on its caps, and leaves those of the next untouched."""
    clock = tmp_path / "clock"
    SteppedClock.step(clock, 0)
    with trio.fail_after(WITHIN_S):
        async with deployment(tmp_path, LONG, now=wall_clock, limits=PROGRESS, fault=f"clock={clock}") as here:
            await set_caps(here)
            end_us = first_of_next_month()
            SteppedClock.step(clock, end_us - wall_clock() - 1_000_000)
            running = await here.ask(LONG)
            await running.take()
            assert is_whole(running)
            ((opened_at, settled_at),) = here.rows(
                "SELECT opened_at, settled_at FROM inferences JOIN settlements USING (inference_id)"
            )
            assert opened_at < end_us < settled_at
            assert here.rows(f"SELECT count(*) FROM counters WHERE window_start >= {end_us}") == [(0,)]
            assert here.rows("SELECT count(*) FROM counters WHERE settled_nusd > 0 AND held_nusd = 0") == [(3,)]
            await check(here)


def first_of_next_month() -> int:
    month = datetime.fromtimestamp(wall_clock() / 1e6, UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return int((month + timedelta(days=32)).replace(day=1).timestamp()) * 1_000_000


@pytest.mark.threat(71)
async def test_a_clock_that_steps_by_days_loses_no_idempotency_key_that_is_in_use(tmp_path):
    """A key's exchange that runs is joined, whatever the clock says; a kept answer goes when its time is over."""
    clock = tmp_path / "clock"
    SteppedClock.step(clock, 0)
    kept, used = ("idempotency-key: kept",), ("idempotency-key: used",)
    with trio.fail_after(WITHIN_S):
        async with deployment(tmp_path, LONG, SHORT, now=wall_clock, fault=f"clock={clock}") as here:
            first = await (await here.ask(SHORT, headers=kept)).take()
            running = await here.ask(LONG, headers=used)
            await running.read_until(b'content":"')
            SteppedClock.step(clock, us(26))
            joined = await here.ask(LONG, headers=used)
            again = await (await here.ask(SHORT, headers=kept)).take()
            await joined.take()
            await running.take()
            assert is_whole(running)
            assert frames_so_far(bytes(running.raw)) == frames_so_far(bytes(joined.raw))
            assert again.headers["x-ainf-inference-id"] != first.headers["x-ainf-inference-id"]
            assert len(await here.simulated()) == 3
            await check(here)


# --- a log that nobody takes ---


@pytest.mark.parametrize("taker", ["a full device", "a pipe without a reader"])
async def test_a_log_that_cannot_be_written_ends_nothing(taker, tmp_path):
    """Streams go on, others are admitted, lost lines are counted, and it stops in good order."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    log = "/dev/full" if taker == "a full device" else str(path)
    with trio.fail_after(WITHIN_S):
        async with deployment(tmp_path, LONG, SHORT, now=wall_clock, fault=f"log={log}") as here:
            running = await here.ask(LONG)
            await running.read_until(b'content":"')
            here.gateway.child.send_signal(signal.SIGUSR1)
            descriptor = Path(f"/proc/{here.gateway.child.pid}/fd/2")
            await eventually(lambda: str(descriptor.readlink()) == log)
            os.close(reader)
            assert (await (await here.ask(SHORT)).take()).whole
            await running.take()
            assert is_whole(running)
            metrics = (await get(here, "/metrics")).body.decode()
            (lost,) = [line for line in metrics.splitlines() if line.startswith("ainf_lost_log_lines_total ")]
            assert float(lost.split()[1]) >= 2
            await check(here)


# --- no descriptors left ---


@pytest.mark.threat(72)
async def test_without_descriptors_nobody_new_is_served_and_what_runs_goes_on(tmp_path):
    """Connections wait until there is room for them; nothing that was admitted is harmed."""
    with trio.fail_after(WITHIN_S):
        async with deployment(tmp_path, LONG, SHORT, now=wall_clock, store=LEASE, fault="files=40") as here:
            running = [await here.ask(LONG) for _ in range(3)]
            for client in running:
                await client.read_until(b'content":"')
            idle = [await here.connect() for _ in range(40)]
            late = await here.ask(SHORT)
            async with trio.open_nursery() as nursery:
                for client in running:
                    nursery.start_soon(client.take)
            assert all(is_whole(client) for client in running)
            assert not late.raw
            for client in idle:
                await client.close()
            assert (await late.take()).whole
            await ready(here, 200)
            await check(here)

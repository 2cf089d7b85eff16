"""kill -9 at every named point of an exchange's life, with many of every kind running, and what a start makes of it.

``tests/gateway/crashing.py`` has the points, ``tests/gateway/lives.py`` what is checked behind each death.
"""

import itertools
import random
import signal
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import apsw
import pytest
import trio

from ainf.app import wall_clock
from ainf.store.migrate import known_migrations
from ainf.store.verify import verify
from tests.extent import FULL, SEED
from tests.gateway.crashing import FILES, POINTS
from tests.gateway.dialects import DIALECTS
from tests.gateway.live import check_law, config_text, unwrapped
from tests.gateway.lives import Lives, lives
from tests.gateway.process import Deployment, Process, deployment, python
from tests.store.old import write_schema_2

IN_RECOVERY: Final = ("recovery", "recovered")
DRAINING: Final = ("draining", "shutting-down", "last-settlement", "last-settled", "last-words", "shut-down")
CLOSING: Final = ("last-checkpoint", "wal-removal")
OF_SPOOL: Final = ("spooling", "spooled", "spool-removal")
OF_SCHEMA: Final = ("copying", "copied", "first-write", "first-wal", "first-wal-sync")
RUNNING: Final = tuple(
    name for name in (*POINTS, *FILES) if name not in {*IN_RECOVERY, *DRAINING, *CLOSING, *OF_SPOOL, *OF_SCHEMA}
)
LATEST: Final = {
    "later-attempt": 12, "attempt-opened": 12, "progress": 6, "progressed": 6, "checkpoint": 600, "checkpoint-sync": 20,
    "wal": 900, "wal-sync": 200, "copying": 1, "copied": 1, "first-write": 24, "first-wal": 24, "first-wal-sync": 4,
}  # fmt: skip
"""The last time of its being passed at which a point kills, where that is not ``USUAL``."""
USUAL: Final = 60
ROUNDS: Final = 6 if FULL else 1
PARTS: Final = 4
CLIENTS: Final = 16
WITHIN_S: Final = 30.0
"""One death and the start behind it, on a busy machine."""

pytestmark = pytest.mark.law


def some_of(names: Sequence[str], count: int) -> list[str]:
    """So many of them, by the seed; in full mode all."""
    return random.Random(SEED).sample(names, len(names) if FULL else count)


async def live_through(here: Lives, faults: list[str]) -> None:
    """Die of each fault, and now and then once more while what that left is being closed."""
    for fault in faults:
        try:
            with unwrapped(), trio.fail_after(WITHIN_S):
                await _die_of(here, fault)
        except Exception as error:
            error.add_note(f"AINF_SEED={SEED}: {fault}, death {here.deaths + 1} of {faults}")
            raise
    await here.end()


async def _die_of(here: Lives, fault: str) -> None:
    name = fault.partition("@")[0]
    if name in IN_RECOVERY:
        left = len({inference_id for inference_id, _ in here.left.charges})
        assert left, "a death before it leaves something"
        await here.die_in_recovery(f"{name}@{here.chance.randint(1, left)}")
    elif name in DRAINING:
        await here.die_draining(fault, CLIENTS)
    else:
        await here.die(fault, CLIENTS)


def drawn(chance: random.Random, part: int) -> list[str]:
    """A part of all points, each at some time of its being passed; and one of recovery, where something was left."""
    points = [*RUNNING, *DRAINING]
    times = {name: chance.randint(1, LATEST.get(name, USUAL)) for name in RUNNING}
    chance.shuffle(points)
    faults = [f"{name}@{times.get(name, 1)}" for name in points[part::PARTS]]
    behind = chance.choice([number for number, fault in enumerate(faults) if fault.partition("@")[0] in RUNNING])
    faults.insert(behind + 1, IN_RECOVERY[part % len(IN_RECOVERY)])
    return faults


@pytest.mark.threat(65)
@pytest.mark.parametrize("number", range(PARTS * ROUNDS))
async def test_killed_at_every_point_what_is_left_is_settled_once_and_what_was_told_was_settled(
    number, tmp_path, tell, count_cases
):
    """Behind each death the law holds, over database, clients and the provider's books."""
    turn, part = divmod(number, PARTS)
    faults = drawn(random.Random(f"{SEED} {turn}"), part)
    async with lives(tmp_path, f"{SEED} {number}", server="drain_s = 0.05") as here:
        await live_through(here, faults)
    count_cases("kills", here.deaths)
    tell(
        f"{here.deaths} deaths: {len(here.settled_by_recovery)} attempts settled behind them, {dict(here.asked_again)}"
    )


# --- K11: the whole file ---


@pytest.mark.parametrize("name", CLOSING)
async def test_killed_as_it_closes_its_database_it_has_lost_nothing(name, tmp_path, count_cases):
    """The write-ahead log is written back and removed by whoever closes the database last; what dies there is whole."""
    model = "sim-tokens-40"
    with trio.fail_after(2 * WITHIN_S):
        async with deployment(tmp_path, model, now=wall_clock) as here:
            assert await here.terminate() == 0
            await here.start(f"{name}@1")
            for _ in range(8):
                assert (await (await here.ask(model)).take()).whole
            here.interrupt()
            await here.died()
            await here.start()
            assert here.rows("SELECT ending, count(*) FROM settlements GROUP BY 1") == [("completed", 8)]
            assert here.read(verify) == []
    count_cases("kills", 1)


def check_copy(folder: Path) -> None:
    """A copy that is there under its name is whole, and what the database was before the schema that it names."""
    for copy in folder.glob("ainf.db.before-*.bak"):
        before = int(copy.name.removeprefix("ainf.db.before-").removesuffix(".bak"))
        kept = apsw.Connection(str(copy), flags=apsw.SQLITE_OPEN_READONLY)
        assert kept.pragma("integrity_check") == "ok"
        assert kept.pragma("user_version") == before - 1
        kept.close()


@pytest.mark.parametrize("name", some_of(OF_SCHEMA, 2))
async def test_killed_while_its_schema_changes_a_database_is_the_old_or_the_new_one(name, tmp_path, count_cases):
    """The copy beside it is whole or not there under its name; the next start ends what was begun."""
    chance = random.Random(f"{SEED} {name}")
    times = sorted(chance.sample(range(1, LATEST[name] + 1), min(LATEST[name], 6 if FULL else 1)))
    for time in times:
        folder = tmp_path / str(time)
        folder.mkdir()
        write_schema_2(folder)
        (folder / "ainf.toml").write_text(config_text("http://127.0.0.1:9/v1", ("sim",)))
        here = Deployment(folder, None, "")
        try:
            with trio.fail_after(WITHIN_S):
                await here.die_starting(f"{name}@{time}")
                check_copy(folder)
                await here.start()
                check_copy(folder)
        finally:
            await here.stop()
        assert list(folder.glob("ainf.db.before-3.bak"))
        assert here.rows("PRAGMA user_version") == [(max(known_migrations()),)]
        assert here.rows("SELECT count(*) FROM holds") == [(0,)]
        assert here.read(verify) == [], f"AINF_SEED={SEED}: {name}@{time}"
    count_cases("kills", len(times))


async def test_a_vacuum_that_is_killed_beside_a_running_gateway_harms_nothing(tmp_path, count_cases):
    """The gateway goes on, and what both wrote is whole."""
    chance = random.Random(SEED)
    async with lives(tmp_path, f"{SEED} vacuum") as here:
        with trio.fail_after(3 * WITHIN_S):
            await here.start()
            async with trio.open_nursery() as nursery:
                here.crowd(nursery, 4)
                for time in sorted(chance.sample(range(1, 40), 4 if FULL else 1)):
                    command = python("tests.gateway.crashing", f"first-wal@{time}", "vacuum", str(here.here.database))
                    vacuum = await Process.launch(tmp_path / "vacuum.log", command)
                    assert await vacuum.child.wait() == -signal.SIGKILL, vacuum.output.read_text()
                    count_cases("kills", 1)
                asked = len(here.heard)
                while len(here.heard) < asked + 4:  # noqa: ASYNC110 - it goes on
                    await trio.sleep(0.01)
                await here.here.kill()
            here.note_death()
            await here.end()
    count_cases("kills", 1)


# --- K12: the spool, and K10 once more: what one process takes over from another ---

AWAY: Final = "close_s = 0.3\nwait_s = 0.3"
"""Soon enough for a test, a closing is kept in the spool."""
PACED: Final = ("sim-tokens-60-pace-5ms", "sim-tokens-300-pace-5ms")
"""Their ends are not kept together."""


@pytest.mark.threat(69)
@pytest.mark.parametrize("first", some_of(("", "spooled@2", "spooling@2"), 1))
async def test_killed_between_spool_and_ledger_every_end_that_was_told_is_settled_as_told(first, tmp_path, count_cases):
    """With the database held by another program ends are spooled and told; then each replay is cut off but the last."""
    time = 1 if first else 2  # one was kept at least, or all of them
    deaths = [first, f"settlement@{time}", f"settled@{time}", "spool-removal@1"]
    with trio.fail_after(4 * WITHIN_S):
        async with deployment(tmp_path, *PACED, now=wall_clock, store=AWAY, fault=first) as here:
            asked = list(itertools.product(PACED, DIALECTS, (True, False)))
            clients = [await here.ask(model, stream=stream, dialect=dialect) for model, dialect, stream in asked]
            while here.rows("SELECT count(*) FROM holds") != [(len(asked),)]:  # noqa: ASYNC110 - another process writes it
                await trio.sleep(0.01)
            with held(here):
                answers = [await client.take() for client in clients]
                if first:
                    await here.died()
                else:
                    assert all(answer.whole for answer in answers)
                    await here.kill()
            for death in deaths[1:]:
                await here.die_starting(death)
            await here.start()
            endings = dict(here.rows("SELECT inference_id, ending FROM settlements"))
            told = [answer for answer in answers if b"\r\n\r\n" in answer.raw and answer.whole]
            assert {endings[answer.headers["x-ainf-inference-id"]] for answer in told} <= {"completed"}
            assert first or set(endings.values()) == {"completed"}
            assert not list(tmp_path.glob("*.spool.*.kept"))
            asked_for = [entry["headers"]["x-client-request-id"] for entry in await here.simulated()]
            assert await here.terminate() == 0
            check_law(here.books, asked_for)
    count_cases("kills", len(deaths))


@contextmanager
def held(here: Deployment) -> Iterator[None]:
    """Hold the database as another program may, so that nobody writes it."""
    holder = sqlite3.connect(here.database, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        holder.execute("ROLLBACK")
        holder.close()


@pytest.mark.threat(67)
@pytest.mark.parametrize("name", some_of(IN_RECOVERY, 1))
async def test_killed_while_it_takes_over_from_a_dead_one_a_third_ends_it(name, tmp_path, count_cases):
    """Two share a database; one dies, the other dies of closing what that left, and whoever comes next closes all."""
    store = "lease_s = 1\nheartbeat_s = 0.2\nshared = true"
    endless = "sim-tokens-20000-pace-5ms"
    time = random.Random(f"{SEED} {name}").randint(1, 8)
    with trio.fail_after(2 * WITHIN_S):
        async with deployment(
            tmp_path, endless, now=wall_clock, more="max_output_tokens = 30000", limits="progress_s = 0.2", store=store
        ) as here:
            other = here.beside()
            try:
                await other.start(f"{name}@{time}")
                clients = [await where.ask(endless) for where in (here, other) for _ in range(8)]
                for client in clients:
                    await client.read_until(b'content":"')
                await here.kill()
                await other.died()
            finally:
                await other.stop()
            await here.start()
            assert here.rows("SELECT ending, count(*) FROM settlements GROUP BY 1") == [("abandoned", 16)], time
            asked_for = [entry["headers"]["x-client-request-id"] for entry in await here.simulated()]
            assert await here.terminate() == 0
            check_law(here.books, asked_for)
    count_cases("kills", 2)

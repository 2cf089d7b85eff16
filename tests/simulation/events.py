"""What goes wrong, and what operators do, at some moment of a seed."""

import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import apsw
import attrs
import trio

from ainf.inference.errors import AinfError
from ainf.store import admin, caps
from ainf.store.balances import CreditKind, NewCredit, credit
from ainf.store.transaction import Transaction
from tests.simulation.askings import AGENTS, Accounts, Limit, draw_limit

if TYPE_CHECKING:
    from tests.simulation.world import World

_HOUR_US: Final = 3_600_000_000


@attrs.frozen
class Event:
    """Something that happens."""

    at_s: float
    deed: str
    """In ``DEEDS``."""
    details: Mapping[str, Any]


def draw(chance: random.Random, accounts: Accounts, moments: Sequence[float], *, is_shared: bool) -> tuple[Event, ...]:
    """Draw what happens; nothing at all in a part of the seeds.

    Args:
        chance: what it is drawn by.
        accounts: of the seed.
        moments: when clients come; most of it happens soon after one.
        is_shared: whether there are several processes; then one of them often sleeps for long.
    """
    count = chance.choice((0, 0, 1, 1, 2, 3, 5))
    names = chance.choices(tuple(DEEDS), [weight for weight, _, _ in DEEDS.values()], k=count)
    if is_shared and chance.random() < 0.7:
        names.append("freeze")
    events = [Event(_moment(chance, moments), name, DEEDS[name][1](chance, accounts)) for name in names]
    return tuple(sorted(events, key=lambda event: event.at_s))


def _moment(chance: random.Random, moments: Sequence[float]) -> float:
    soon_s = chance.choice((0.0, 0.05, 0.3, 1.0, 4.0))
    return chance.choice(moments) + chance.uniform(0, soon_s)


async def happen(world: "World", event: Event) -> None:
    """Let it happen, when it is time; it is over when this returns."""
    await trio.sleep(event.at_s)
    world.note("event", event.deed, repr(dict(event.details)).encode())
    await DEEDS[event.deed][2](world, **event.details)


# --- the store ---

_REFUSALS: Final = {"busy": apsw.BusyError, "locked": apsw.LockedError, "read-only": apsw.ReadOnlyError}


def _draw_refusal(chance: random.Random, _: Accounts) -> dict[str, Any]:
    return {"why": chance.choice(tuple(_REFUSALS)), "for_s": chance.choice((0.02, 0.3, 2.0, 8.0, 30.0))}


async def _refuse(world: "World", *, why: str, for_s: float) -> None:
    await _refuse_with(world, _REFUSALS[why], for_s)


def _draw_loss(chance: random.Random, _: Accounts) -> dict[str, Any]:
    return {"for_s": chance.choice((3.0, 10.0, 30.0))}


async def _lose(world: "World", *, for_s: float) -> None:
    """Nothing durable can be written: neither the database nor a spool."""
    world.database.weather.refuses_spool = True
    await _refuse_with(world, apsw.BusyError, for_s)
    world.database.weather.refuses_spool = False


def _draw_full(chance: random.Random, _: Accounts) -> dict[str, Any]:
    return {"for_s": chance.choice((0.3, 2.0, 8.0, 30.0))}


async def _fill(world: "World", *, for_s: float) -> None:
    await _refuse_with(world, apsw.FullError, for_s)


async def _refuse_with(world: "World", error: type[apsw.Error], for_s: float) -> None:
    weather = world.database.weather
    weather.refuses = error
    await trio.sleep(for_s)
    weather.refuses = None


def _draw_slow(chance: random.Random, _: Accounts) -> dict[str, Any]:
    return {
        "queue_s": chance.choice((0.0, 0.01, 0.2, 3.0)), "answer_s": chance.choice((0.0, 0.2, 6.0)),
        "for_s": chance.choice((0.5, 3.0, 20.0)),
    }  # fmt: skip


async def _slow(world: "World", *, queue_s: float, answer_s: float, for_s: float) -> None:
    weather = world.database.weather
    weather.queue_s, weather.answer_s = queue_s, answer_s
    await trio.sleep(for_s)
    weather.queue_s = weather.answer_s = 0.0


def _draw_break(chance: random.Random, _: Accounts) -> dict[str, Any]:
    return {"where": chance.choice(("begin", "commit", "behind"))}


async def _break(world: "World", *, where: str) -> None:
    world.database.weather.breaks = where
    await trio.lowlevel.checkpoint()


# --- processes ---


def _draw_process(chance: random.Random, _: Accounts) -> dict[str, Any]:
    return {"which": chance.getrandbits(16)}


def _draw_nothing(_: random.Random, __: Accounts) -> dict[str, Any]:
    return {}


async def _kill(world: "World", *, which: int) -> None:
    if (process := world.living(which)) is not None:
        process.kill("killed")
    await trio.lowlevel.checkpoint()


async def _terminate(world: "World", *, which: int) -> None:
    if (process := world.living(which)) is not None:
        process.terminate()
    await trio.lowlevel.checkpoint()


async def _interrupt(world: "World", *, which: int) -> None:
    if (process := world.living(which)) is not None:
        process.interrupt()
    await trio.lowlevel.checkpoint()


def _draw_freeze(chance: random.Random, _: Accounts) -> dict[str, Any]:
    return {"which": chance.getrandbits(16), "for_s": chance.choice((0.1, 3.0, 14.0, 25.0, 60.0))}


async def _freeze(world: "World", *, which: int, for_s: float) -> None:
    if (process := world.living(which)) is not None and process.task is not None:
        process.freeze()
        await trio.sleep(for_s)
        process.thaw()


async def _reload(world: "World", *, which: int) -> None:
    """SIGHUP."""
    if (process := world.living(which)) is not None:
        process.reload(world.scenario.reloaded)
        world.met["reloaded"] += process.running is not None
    await trio.lowlevel.checkpoint()


# --- clocks and networks ---


def _draw_step(chance: random.Random, _: Accounts) -> dict[str, Any]:
    return {"by_us": chance.choice((-_HOUR_US, _HOUR_US, -5_000_000, 30_000_000, 24 * _HOUR_US))}


async def _step(world: "World", *, by_us: int) -> None:
    world.step_clock(by_us)
    await trio.lowlevel.checkpoint()


def _draw_outage(chance: random.Random, _: Accounts) -> dict[str, Any]:
    return {"for_s": chance.choice((0.2, 2.0, 10.0)), "how": chance.choice(("refuses", "unknown", "nowhere"))}


async def _outage(world: "World", *, for_s: float, how: str) -> None:
    await world.network.fail(how, for_s)


async def _reset_providers(world: "World") -> None:
    for process in world.processes:
        for wire in process.wires:
            wire.stream._outgoing.broken = wire.stream._incoming.broken = True
            wire.stream._incoming.notify()
            wire.stream._outgoing.notify()
    await trio.lowlevel.checkpoint()


# --- operators ---


def _command(world: "World", operation: Callable[..., Any], **details: Any) -> None:
    """Do what a command does, or let it be refused."""
    at = world.clock()
    try:
        world.database.command(lambda tx: operation(tx, at=at, **details), at)
    except AinfError as refusal:
        world.note("operator", "is refused", refusal.code.encode())


def _draw_key(chance: random.Random, accounts: Accounts) -> dict[str, Any]:
    return {"key_id": chance.choice(sorted(accounts.keys))}


async def _revoke(world: "World", *, key_id: str) -> None:
    _command(world, admin.revoke_key, key_id=key_id)
    await trio.lowlevel.checkpoint()


def _draw_account(chance: random.Random, _: Accounts) -> dict[str, Any]:
    return {"name": chance.choice(AGENTS)}


async def _close(world: "World", *, name: str) -> None:
    _command(world, admin.close_account, name=name)
    await trio.lowlevel.checkpoint()


def _draw_cap(chance: random.Random, accounts: Accounts) -> dict[str, Any]:
    limit = draw_limit(chance, f"{chance.getrandbits(32):x}", sorted(accounts.keys))
    if accounts.limits and chance.random() < 0.7:
        limit = attrs.evolve(chance.choice(accounts.limits), limit_nusd=limit.limit_nusd)
    return {"limit": limit}


async def _cap(world: "World", *, limit: Limit) -> None:
    if limit.is_balance:
        new = NewCredit(world.new_id("cr"), CreditKind.TOP_UP, limit.limit_nusd)
        _command(world, credit, account=limit.account, new=new)
    else:
        _command(world, attrs.evolve(limit, name=world.new_id("late")).put)
    await trio.lowlevel.checkpoint()


async def _uncap(world: "World", *, limit: Limit) -> None:
    def remove(tx: Transaction, at: int) -> None:
        caps.remove_cap(tx, scope=limit.scope(tx), at=at)

    _command(world, remove)
    await trio.lowlevel.checkpoint()


Draw = Callable[[random.Random, Accounts], dict[str, Any]]
Deed = Callable[..., Awaitable[None]]

DEEDS: Final[Mapping[str, tuple[int, Draw, Deed]]] = {
    "the store refuses": (6, _draw_refusal, _refuse),
    "nothing can be written": (4, _draw_loss, _lose),
    "the store is full": (3, _draw_full, _fill),
    "the store is slow": (5, _draw_slow, _slow),
    "the store breaks": (2, _draw_break, _break),
    "kill": (6, _draw_process, _kill),
    "terminate": (5, _draw_process, _terminate),
    "interrupt": (2, _draw_process, _interrupt),
    "freeze": (1, _draw_freeze, _freeze),
    "reload": (2, _draw_process, _reload),
    "the clock steps": (4, _draw_step, _step),
    "providers are away": (2, _draw_outage, _outage),
    "providers reset": (1, _draw_nothing, _reset_providers),
    "revoke": (2, _draw_key, _revoke),
    "close": (1, _draw_account, _close),
    "cap": (3, _draw_cap, _cap),
    "uncap": (1, _draw_cap, _uncap),
}
"""Weight, how the details are drawn, and what is done."""

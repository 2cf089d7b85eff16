"""Refusals of money: each names the cap that refused, its window, what is left and when it resets, in every protocol.

A request counts on all caps of its path, or on none: the refusal of one leaves no trace on the others.
"""

from typing import Any

import attrs
import pytest

from ainf.inference.money import format_usd
from ainf.ledger import Window
from ainf.store import balances
from ainf.store.balances import CreditKind, NewCredit
from tests.gateway.backends import OUTPUT_RATE
from tests.gateway.clock import SteppedClock
from tests.gateway.dialects import DIALECTS
from tests.gateway.law import check_ledger, check_transcript
from tests.gateway.world import Client, World, world

MONEY = "slice_tokens = 8\nmin_output_tokens = 4"
NOW = "2026-11-21T10:59:30"
LIMIT = 5 * OUTPUT_RATE
"""Less than any of the requests here needs."""
PLENTY = 10**12

dialects = pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.format)
streams = pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])


@attrs.frozen
class Refuser:
    """One cap that refuses, and how it is told."""

    of: str
    scope: dict[str, Any]
    """What ``World.set_cap`` takes besides the limit; empty for a balance."""
    said: str
    """How the message begins."""
    window: str = "lifetime"
    model: str = "*"
    kind: str = "cap"
    resets_at: str | None = None
    resets_in_s: int | None = None
    remedy: str = ""


KEY = "k000team"
HOUR_END, DAY_END, MONTH_END = "2026-11-21T11:00:00", "2026-11-22T00:00:00", "2026-12-01T00:00:00"

REFUSERS = {
    "key": Refuser(f"key {KEY}", {"key_id": KEY}, f"The lifetime cap of key {KEY}"),
    "account": Refuser(
        "account team", {"account": "team", "window": Window.HOUR}, "The hour cap of account team", "hour",
        resets_at=HOUR_END, resets_in_s=30,
    ),
    "two-above": Refuser(
        "account org", {"account": "org", "window": Window.MONTH}, "The month cap of account org", "month",
        resets_at=MONTH_END, resets_in_s=9 * 86_400 + 13 * 3600 + 30,
    ),
    "models": Refuser(
        "account division", {"account": "division", "window": Window.DAY, "model": "*/si*"},
        "The day cap of account division on models */si*", "day", "*/si*", resets_at=DAY_END,
        resets_in_s=13 * 3600 + 30,
    ),
    "balance": Refuser("account division", {}, "The balance of account division", kind="balance", remedy="Top it up."),
}  # fmt: skip
ALLOWED = (
    {"key_id": KEY, "window": Window.WEEK},
    {"account": "team"},
    {"account": "division", "model": "*sim"},
    {"account": "org", "window": Window.DAY},
)
"""Caps beside the one that refuses, on every level, with plenty left."""


async def build_tree(here: World) -> None:
    """Make the accounts org / division / team, and have the last one's key ask; each level has caps."""
    for name, parent in (("org", None), ("division", "org"), ("team", "division")):
        await here.new_account(name, parent)
    here.key_id = KEY
    here.key = await here.new_key("team", key_id=KEY)
    for scope in ALLOWED:
        await here.set_cap(PLENTY, **scope)


async def limit(here: World, refuser: Refuser, nusd: int) -> None:
    """Set the cap that refuses, or put as much on the balance."""
    if refuser.kind == "cap":
        await here.set_cap(nusd, **refuser.scope)
        return
    first = NewCredit("credit_1", CreditKind.TOP_UP, nusd, "")
    await here.store.write(
        lambda tx: balances.open_balance(tx, cap_id="balance", account="division", at=here.clock(), first=first)
    )


async def counters(here: World) -> dict[str, tuple[int, int]]:
    """What every cap has settled and holds."""
    rows = await here.rows("SELECT cap_id, sum(settled_nusd), sum(held_nusd) FROM counters GROUP BY cap_id")
    return {cap_id: (settled, held) for cap_id, settled, held in rows}


def check_refusal(client: Client, refuser: Refuser, status: int) -> None:
    code = "spend_cap_exceeded" if refuser.kind == "cap" else "insufficient_funds"
    error = client.json()["error"]
    assert (client.status, client.is_streamed) == (status, False)
    assert error["code"] == (code if status == 402 else "insufficient_quota")
    assert client.headers["x-should-retry"] == "false"
    assert "retry-after" not in client.headers
    needs = error["cap"].pop("needs")
    assert error["cap"] == {
        "kind": refuser.kind,
        "of": refuser.of,
        "window": refuser.window,
        "model": refuser.model,
        "limit": format_usd(LIMIT),
        "left": format_usd(LIMIT),
        "resets_at": f"{refuser.resets_at}.000000Z" if refuser.resets_at else None,
        "resets_in_s": refuser.resets_in_s,
    }
    remedy = f" It resets at {refuser.resets_at}Z." if refuser.resets_at else f" {refuser.remedy}".rstrip()
    assert error["message"] == (
        f"{refuser.said} ({format_usd(LIMIT)} USD) has {format_usd(LIMIT)} USD left; this request needs at least "
        f"{needs} USD.{remedy}"
    )


@streams
@pytest.mark.parametrize("status", [402, 429])
@pytest.mark.parametrize("refuser", REFUSERS.values(), ids=REFUSERS)
@dialects
async def test_the_cap_that_refuses_is_named(dialect, refuser, status, stream, tmp_path, autojump_clock):
    """Whose it is, its window, what is left, when it resets; and no other cap on the path counts anything of it."""
    model = f"{dialect.format}/sim"
    more = f'{MONEY}\nmoney_refusal = "{status}"'
    async with world(tmp_path, model, more=more, clock=SteppedClock(NOW)) as here:
        await build_tree(here)
        await limit(here, refuser, LIMIT)
        client = await here.speak(dialect, model, stream=stream)
        await check_transcript(here, client)
        check_refusal(client, refuser, status)
        assert not here.simulator.books.entries
        assert set((await counters(here)).values()) <= {(0, 0)}
        await check_ledger(here, admitted=0)


@streams
@pytest.mark.parametrize("refuser", REFUSERS.values(), ids=REFUSERS)
@dialects
async def test_what_is_admitted_counts_on_every_cap(dialect, refuser, stream, tmp_path, autojump_clock):
    """Each cap of the path, in whichever window, and the nearest balance: all settle the same, as the receipt says."""
    model = f"{dialect.format}/sim"
    async with world(tmp_path, model, more=MONEY, clock=SteppedClock(NOW)) as here:
        await build_tree(here)
        await limit(here, refuser, PLENTY)
        client = await here.speak(dialect, model, stream=stream)
        receipt = await here.receipt(client.inference_id)
        counted = await counters(here)
        assert {each["cap_id"] for each in receipt["caps"]} == set(counted)
        assert len(counted) == len(ALLOWED) + 1
        assert receipt["settled_nusd"] > 0
        assert set(counted.values()) == {(receipt["settled_nusd"], 0)}
        await check_ledger(here, admitted=1)


async def test_a_cap_of_other_models_neither_refuses_nor_counts(tmp_path, autojump_clock):
    """A cap for `gpt-*` is none for `sim`; for `sim*` it is."""
    async with world(tmp_path, "sim", more=MONEY) as here:
        await here.set_cap(1, model="gpt-*")
        assert (await here.ask()).status == 200
        assert set((await counters(here)).values()) <= {(0, 0)}
        await here.set_cap(1, model="sim*")
        assert (await here.ask()).json()["error"]["cap"]["model"] == "sim*"
        await check_ledger(here, admitted=1)


async def test_the_tightest_of_several_is_named(tmp_path, autojump_clock):
    """Of caps that all refuse, the one that leaves least is told; raised, the next one is."""
    async with world(tmp_path, "sim", more=MONEY) as here:
        for nusd, window in ((3, Window.DAY), (1, Window.LIFETIME), (2, Window.MONTH)):
            await here.set_cap(nusd, window=window)
        named = []
        for window in (Window.LIFETIME, Window.MONTH, Window.DAY):
            client = await here.ask()
            named.append((client.status, client.json()["error"]["cap"]["window"]))
            await here.set_cap(PLENTY, window=window)
        assert named == [(402, "lifetime"), (402, "month"), (402, "day")]
        assert (await here.ask()).status == 200
        await check_ledger(here, admitted=1)

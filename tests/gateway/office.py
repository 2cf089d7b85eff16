"""Who changes accounts, keys and money while a gateway runs: an operator with the commands, and a busy bookkeeper."""

import json
import random
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import attrs
import trio

from ainf.app import new_id, wall_clock
from ainf.inference.errors import DownstreamError
from ainf.ledger import Window
from ainf.store import admin
from ainf.store.balances import CreditKind, NewCredit, close_balance, credit, open_balance
from ainf.store.base import KeyLimits
from ainf.store.beside import write_books
from ainf.store.caps import remove_cap, set_cap
from ainf.store.counting import Scope, Subject, count
from ainf.store.transaction import Transaction
from tests.gateway.process import Deployment

NUSD_PER_USD = 10**9
SPENT = "SELECT coalesce(sum(settled_nusd + overrun_nusd), 0) FROM settlements"
ROOMS = (-(10**6), 10**5, 3 * 10**6, 10**9)
"""What a new limit leaves: less than nothing, little, some, much."""


@attrs.define
class KeyRing:
    """The keys that clients may use; the first one is never touched."""

    keys: dict[str, str]
    """Account by key."""
    chance: random.Random
    made: list[str] = attrs.field(factory=list)
    """Every key that there ever was, but the first."""
    revoked: set[str] = attrs.field(factory=set)
    """Ids."""

    def any(self) -> str:
        return self.chance.choice(list(self.keys))

    def any_but_first(self) -> str | None:
        return self.chance.choice(list(self.keys)[1:]) if len(self.keys) > 1 else None

    def add(self, key: str, account: str) -> None:
        self.made.append(key)
        if key_id(key) not in self.revoked:
            self.keys[key] = account

    def drop(self, key_ids: list[str]) -> None:
        self.revoked |= set(key_ids)
        self.keys = {key: account for key, account in self.keys.items() if key_id(key) not in self.revoked}


def key_id(key: str) -> str:
    return key.split("_")[1]


@attrs.define
class Operator:
    """Works beside the gateway, with the commands, all the time. What it asks for must be done."""

    here: Deployment
    chance: random.Random
    ring: KeyRing
    commands: Counter[str] = attrs.field(factory=Counter)

    async def run(self) -> None:
        deeds = (
            self.set_cap, self.set_cap, self.new_key, self.new_key, self.revoke, self.close, self.look, self.prepay,
            self.limit,
        )  # fmt: skip
        while True:
            await self.chance.choice(deeds)()

    async def command(self, *arguments: str) -> Any:
        """Run a command, which must succeed."""
        self.commands[" ".join(arguments[:2])] += 1
        done = await self.here.command(*arguments)
        assert done.returncode == 0, (arguments, done.stdout[-2000:], done.stderr[-2000:])
        assert not done.stderr, done.stderr
        return json.loads(done.stdout) if "--json" in arguments else None

    async def set_cap(self) -> None:
        """A cap that is used up, or that leaves a little, or much, or none at all."""
        room = self.chance.choice((None, *ROOMS))
        if room is not None:
            usd = f"{max(0, self.here.rows(SPENT)[0][0] + room) / NUSD_PER_USD:.9f}"
            await self.command("caps", "set", "--account", "agents", "--usd", usd)
        if room is None or room < 10**9:
            await trio.sleep(self.chance.uniform(0, 0.3))
            await self.command("caps", "set", "--account", "agents", "--usd", "1000")
            await self.command("caps", "remove", "--account", "agents")

    async def new_key(self) -> None:
        """A key, of the account or of a new one below it."""
        account = "agents"
        if self.chance.random() < 0.5:
            account = f"team-{self.commands.total()}"
            await self.command("accounts", "create", account, "--parent", "agents")
        if self.chance.random() < 0.5:
            await self.command("caps", "set", "--account", account, "--usd", "0.0005")
        style = self.chance.choice(("extended", "strict", "loud"))
        made = await self.command("keys", "create", "--account", account, "--finish-reasons", style, "--json")
        self.ring.add(made["key"], account)

    async def revoke(self) -> None:
        """A key alone, or with all that were made in its name."""
        if (key := self.ring.any_but_first()) is not None:
            more = ("--with-made",) if self.chance.random() < 0.7 else ()
            revoked = await self.command("keys", "revoke", key_id(key), *more, "--json")
            self.ring.drop([each["key_id"] for each in revoked])

    async def close(self) -> None:
        """Close an account below the first."""
        teams = sorted({account for account in self.ring.keys.values() if account != "agents"})
        if teams:
            team = self.chance.choice(teams)
            await self.command("accounts", "close", team)
            self.ring.drop([key_id(key) for key, account in self.ring.keys.items() if account == team])

    async def prepay(self) -> None:
        """Let an account of its own be prepaid, and correct it, before the bookkeeper hears of it."""
        account = f"prepaid-{self.commands.total()}"
        await self.command("accounts", "create", account, "--parent", "agents")
        await self.command("balances", "open", "--account", account, "--usd", "0.001")
        await self.command("balances", "top-up", "--account", account, "--usd", "1")
        await self.command("balances", "adjust", "--account", account, "--usd=-0.5")
        made = await self.command("keys", "create", "--account", account, "--json")
        self.ring.add(made["key"], account)

    async def limit(self) -> None:
        """Give a key a limit that it meets, and lift it."""
        if (key := self.ring.any_but_first()) is not None:
            name = self.chance.choice(("requests-per-minute", "tokens-per-minute", "concurrent-streams"))
            await self.command("keys", "limit", key_id(key), f"--{name}", "1")
            await self.command("keys", "limit", key_id(key), f"--{name}", "none")

    async def look(self) -> None:
        """The books are sound at every moment, also while they are written."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.command, "ledger", "verify")
            nursery.start_soon(self.command, "audit", "verify")


@attrs.define
class Bookkeeper:
    """Does what commands do, without their start: many changes a second. What cannot be done is refused."""

    here: Deployment
    chance: random.Random
    ring: KeyRing
    done: Counter[str] = attrs.field(factory=Counter)

    async def run(self) -> None:
        deeds = (self.cap, self.cap, self.cap_for_no_time, self.balance, self.limit, self.make)
        while True:
            deed = self.chance.choice(deeds)
            await deed()
            await trio.sleep(self.chance.uniform(0, 0.08))

    async def write(self, name: str, operation: Callable[[Transaction], Any]) -> None:
        try:
            await write_books(self.here.books, operation, now=wall_clock)
            self.done[name] += 1
        except DownstreamError:
            self.done["refused"] += 1

    def account(self) -> str:
        return self.chance.choice(sorted({*self.ring.keys.values(), "agents"}))

    def scope(self) -> Scope:
        """Any but the one that the operator sets and removes."""
        ids: dict[str, str] = dict(self.here.rows("SELECT name, account_id FROM accounts"))
        subject = Subject("account", ids[self.account()])
        if self.chance.random() < 0.5:
            subject = Subject("key", key_id(self.ring.any()))
        window = self.chance.choice(list(Window))
        patterns = ("sim-*", "*pace*", "*tokens*s", "sim-tokens-300-pace-3ms", "*-*-*", "drained")
        return Scope(subject, window, self.chance.choice(patterns if window is Window.LIFETIME else ("*", *patterns)))

    async def cap(self) -> None:
        """A cap that holds for a while: what runs is over it, or can be extended a little, or much."""
        scope, cap_id = self.scope(), new_id("cap")
        room = self.chance.choice((-(10**6), 10**5, 3 * 10**5, 10**6, *[10**12] * 4))

        def set_now(tx: Transaction) -> str:
            at = wall_clock()
            total = count(tx, scope, at)
            limit = max(0, total.settled_nusd + total.held_nusd + room)
            return set_cap(tx, cap_id=cap_id, scope=scope, limit_nusd=limit, at=at)

        await self.write("cap", set_now)
        await trio.sleep(self.chance.uniform(0, 0.1))
        if self.chance.random() < 0.9:
            await self.write("uncap", lambda tx: remove_cap(tx, scope=scope, at=wall_clock()))

    async def cap_for_no_time(self) -> None:
        """A cap that is set and removed at one moment, while others run."""
        scope, cap_id, at = self.scope(), new_id("cap"), wall_clock()
        deeds = [
            partial(set_cap, cap_id=cap_id, scope=scope, limit_nusd=0, at=at), partial(remove_cap, scope=scope, at=at),
        ]  # fmt: skip
        if self.chance.random() < 0.7:
            await self.write("cap for no time", lambda tx: [deed(tx) for deed in deeds])
        else:
            for deed in deeds:
                await self.write("cap for no time", deed)

    async def balance(self) -> None:
        """A balance that is opened with much or nothing, changed, and mostly closed again."""
        account = self.account()
        first = NewCredit(new_id("cr"), CreditKind.TOP_UP, self.chance.choice((1, 10**6, *[10**12] * 4)))
        cap_id = new_id("cap")
        await self.write(
            "balance", lambda tx: open_balance(tx, cap_id=cap_id, account=account, at=wall_clock(), first=first)
        )
        for amount in (self.chance.choice((5, 10**6, 10**12)), -self.chance.choice((5, 10**6, 10**12))):
            kind = CreditKind.TOP_UP if amount > 0 else CreditKind.ADJUSTMENT
            new = NewCredit(new_id("cr"), kind, amount)
            await self.write("credit", partial(credit, account=account, new=new, at=wall_clock()))
            await trio.sleep(self.chance.uniform(0, 0.05))
        if account == "agents" or self.chance.random() < 0.5:
            await self.write("close", lambda tx: close_balance(tx, account=account, at=wall_clock()))

    async def limit(self) -> None:
        """Any limit of any key but the first."""
        if (key := self.ring.any_but_first()) is not None:
            name = self.chance.choice([field.name for field in attrs.fields(KeyLimits)])
            change = {name: self.chance.choice((None, 1, 50, 10**6, 2**53))}
            await self.write("limit", partial(admin.limit_key, key_id=key_id(key), change=change, at=wall_clock()))

    async def make(self) -> None:
        """A key in another one's name, with some of its models."""
        maker = self.ring.any()
        account = self.ring.keys[maker]
        key = admin.key_text(self.chance.randbytes(6).hex(), self.chance.randbytes(25))
        models = self.chance.choice((None, ("sim-*",), ("sim-tokens-300-pace-3ms", "drained", "*held*")))
        limits = KeyLimits(concurrent_streams=self.chance.choice((None, 1, 4)))
        rights = admin.KeyRights(models=models, limits=limits, inject_cost=self.chance.random() < 0.5)
        operation = partial(
            admin.create_key, key_id=key_id(key), digest=admin.digest_of(key), account=account, rights=rights,
            at=wall_clock(), maker_key_id=key_id(maker),
        )  # fmt: skip
        before = self.done["key"]
        await self.write("key", operation)
        if self.done["key"] > before:
            self.ring.add(key, account)

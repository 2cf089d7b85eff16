"""What caps, balances and holds must be after every step, reckoned anew each time from what happened.

It knows nothing of how the store does it: no entries, no counters, no window arithmetic of ours. An exchange is what
it holds and what it was charged; a cap sums up the exchanges under it.
"""

from datetime import UTC, datetime
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Any

import attrs

WINDOWS = ("hour", "day", "week", "month", "lifetime")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@lru_cache(maxsize=10_000)
def period(window: str, at: int) -> tuple[int, ...]:
    """Name the calendar period that holds a moment: equal for two moments exactly when they are in the same one."""
    moment = datetime.fromtimestamp(at // 1_000_000, UTC)
    week = moment.isocalendar()
    return {
        "hour": (moment.year, moment.month, moment.day, moment.hour),
        "day": (moment.year, moment.month, moment.day),
        "week": (week.year, week.week),
        "month": (moment.year, moment.month),
        "lifetime": (),
    }[window]


@attrs.define
class Account:
    account_id: str
    parent: "Account | None"
    closed_at: int | None = None

    def path(self) -> list["Account"]:
        """The account, and those above it, the nearest first."""
        return [self, *([] if self.parent is None else self.parent.path())]


@attrs.define
class Key:
    key_id: str
    account: Account
    expires_at: int | None
    revoked_at: int | None = None

    def is_valid(self, at: int) -> bool:
        ends = [self.expires_at, self.revoked_at, *(account.closed_at for account in self.account.path())]
        return all(end is None or at < end for end in ends)


@attrs.define(eq=False)
class Cap:
    cap_id: str
    kind: str
    subject: Account | Key
    window: str
    pattern: str
    limit: int
    set_at: int
    past: int = 0
    """What was charged in its first period before it was set, to exchanges that had ended."""
    removed: bool = False

    def covers(self, key: Key, model: str) -> bool:
        return (self.subject is key or self.subject in key.account.path()) and fnmatchcase(model, self.pattern)

    def counts_period_of(self, at: int) -> bool:
        """A cap counts no period before the one in which it was set."""
        return at >= self.set_at or period(self.window, at) == period(self.window, self.set_at)


@attrs.define(eq=False)
class Exchange:
    inference_id: str
    key: Key
    model: str
    opened_at: int
    estimate: int
    """What its estimated input costs."""
    under: list[Cap]
    held: int = 0
    charged: int = 0
    state: str = "open"
    progress: int | None = None
    adjusted: bool = False


@attrs.frozen
class Ask:
    base: int
    rate: int
    """Nano-dollars per million tokens."""
    first: int
    worst: int
    least: int

    def cost(self, tokens: int) -> int:
        return -(-tokens * self.rate // 1_000_000)


@attrs.frozen
class Verdict:
    """What must come of an opening or extension; ``by`` are the caps of which one must be named."""

    word: str
    amount: int = 0
    clamp: int | None = None
    by: frozenset[str] = frozenset()


@attrs.define
class Model:
    caps: list[Cap] = attrs.field(factory=list)
    exchanges: list[Exchange] = attrs.field(factory=list)

    def totals(self) -> dict[tuple[str, tuple[int, ...]], tuple[int, int]]:
        """What every cap has charged and holds, by its id and period; periods without anything are left out."""
        found: dict[tuple[str, tuple[int, ...]], tuple[int, int]] = {}
        for cap in self.caps:
            found[cap.cap_id, period(cap.window, cap.set_at)] = (cap.past, 0)
        for exchange in self.exchanges:
            for cap in exchange.under:
                name = cap.cap_id, period(cap.window, exchange.opened_at)
                charged, held = found.get(name, (0, 0))
                found[name] = charged + exchange.charged, held + exchange.held
        return {name: amounts for name, amounts in found.items() if amounts != (0, 0)}

    def in_force(self, **named: Any) -> list[Cap]:
        """The caps that are not removed and have these attributes."""
        return [
            cap
            for cap in self.caps
            if not cap.removed and all(getattr(cap, name) == is_ for name, is_ in named.items())
        ]

    def applying(self, key: Key, model: str, at: int) -> list[Cap]:
        """The caps that an exchange opened at this moment falls under, and the balance that pays for it."""
        caps = [cap for cap in self.in_force(kind="cap") if cap.covers(key, model) and cap.counts_period_of(at)]
        for account in key.account.path():
            balance = self.in_force(kind="balance", subject=account)
            if balance:
                return [*caps, *balance]
        return caps

    def tightest(self, caps: list[Cap], at: int) -> tuple[int, frozenset[str]] | None:
        """What caps leave in the periods of a moment, and which of them leave no more than that."""
        totals = self.totals()
        left = {cap.cap_id: cap.limit - sum(totals.get((cap.cap_id, period(cap.window, at)), (0, 0))) for cap in caps}
        if not left:
            return None
        least = min(left.values())
        return least, frozenset(cap_id for cap_id, amount in left.items() if amount == least)

    def opening(self, key: Key, model: str, at: int, ask: Ask) -> Verdict:
        if not key.is_valid(at):
            return Verdict("invalid")
        found = self.tightest(self.applying(key, model, at), at)
        fits = ask.worst
        if found is not None:
            left, by = found
            if left < ask.base + ask.cost(min(ask.least, ask.worst)):
                return Verdict("refused", by=by)
            while ask.base + ask.cost(fits) > left:
                fits -= 1
        held = ask.base + ask.cost(min(ask.first, fits))
        if fits < ask.worst:
            assert found is not None
            return Verdict("granted", held, fits, found[1])
        return Verdict("granted", held)

    def opened(self, exchange: Exchange, held: int) -> None:
        exchange.held = held
        self.exchanges.append(exchange)

    def extending(self, exchange: Exchange, at: int, want: int, least: int) -> Verdict:
        if exchange.state != "open":
            return Verdict("granted", 0)
        if not exchange.key.is_valid(at):
            return Verdict("invalid")
        found = self.tightest([cap for cap in exchange.under if not cap.removed], exchange.opened_at)
        if found is None or found[0] >= want:
            return Verdict("granted", want)
        left, by = found
        return Verdict("granted", left if left >= max(least, 1) else 0, by=by)

    def close(self, exchange: Exchange, cost: int | None, *, abandoned: bool = False) -> None:
        if exchange.state == "open":
            exchange.charged = exchange.held if cost is None else cost
            exchange.held = 0
            exchange.state = "abandoned" if abandoned else "closed"
        elif exchange.state == "abandoned" and cost is not None and not exchange.adjusted:
            exchange.adjusted = cost != exchange.charged
            exchange.charged = cost

    def set_cap(self, cap: Cap) -> None:
        for exchange in self.exchanges:
            if cap.covers(exchange.key, exchange.model) and (
                period(cap.window, exchange.opened_at) == period(cap.window, cap.set_at)
            ):
                if exchange.state == "open":
                    exchange.under.append(cap)
                else:
                    cap.past += exchange.charged
        self.caps.append(cap)

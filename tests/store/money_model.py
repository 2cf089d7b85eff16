"""What caps, balances and holds must be after every step, reckoned anew each time from what happened.

It knows nothing of how the store does it: no entries, no counters, no window arithmetic of ours. An exchange calls one
model after, or beside, another; each attempt is what is held for it and what it was charged, and a cap sums up the
attempts under it.
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
class Attempt:
    model: str
    opened_at: int
    estimate: int
    """What its estimated input costs."""
    under: list[Cap]
    held: int = 0
    was_held: int = 0
    """When its exchange was settled."""
    charged: int = 0
    ended: int | None = None
    """What it cost, where it ended before another one was opened."""


@attrs.define(eq=False)
class Exchange:
    inference_id: str
    key: Key
    opened_at: int
    is_routed: bool
    attempts: list[Attempt]
    state: str = "open"
    progress: tuple[Attempt, int] | None = None
    adjusted: bool = False
    outcome: str | None = None

    @property
    def held(self) -> int:
        return sum(attempt.held for attempt in self.attempts)

    @property
    def charged(self) -> int:
        return sum(attempt.charged for attempt in self.attempts)

    @property
    def live(self) -> list[Attempt]:
        """The attempts that have not ended; the newest is one of them."""
        return [attempt for attempt in self.attempts if attempt.ended is None]


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
            for attempt in exchange.attempts:
                for cap in attempt.under:
                    name = cap.cap_id, period(cap.window, exchange.opened_at)
                    charged, held = found.get(name, (0, 0))
                    found[name] = charged + attempt.charged, held + attempt.held
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

    def applying_later(self, exchange: Exchange, model: str) -> list[Cap]:
        """The caps that another attempt of an exchange falls under, and the balance that paid for the first.

        What the first one fell under and is for this model too stays, though it was removed.
        """
        at = exchange.opened_at
        caps = [
            cap for cap in self.in_force(kind="cap") if cap.covers(exchange.key, model) and cap.counts_period_of(at)
        ]
        first = [cap for cap in exchange.attempts[0].under if cap.covers(exchange.key, model)]
        return [*caps, *(cap for cap in first if cap not in caps)]

    def opening(self, key: Key, model: str, at: int, ask: Ask) -> Verdict:
        if not key.is_valid(at):
            return Verdict("invalid")
        return _fitted(self.tightest(self.applying(key, model, at), at), ask)

    def opening_later(
        self, exchange: Exchange, model: str, at: int, ask: Ask, ended: dict[int, int]
    ) -> tuple[Verdict, list[Cap]]:
        """What must come of another attempt, where these (by number) ended at these costs; and what it falls under."""
        under = self.applying_later(exchange, model)
        if exchange.state != "open":
            return Verdict("closed"), under
        if not exchange.key.is_valid(at):
            return Verdict("invalid"), under
        before = [attempt.held for attempt in exchange.attempts]
        self._end(exchange, ended)
        left = self.tightest([cap for cap in under if not cap.removed], exchange.opened_at)
        grown = [
            cap
            for attempt, held in zip(exchange.attempts, before, strict=True)
            for cap in attempt.under
            if attempt.held > held and not cap.removed
        ]
        passed = self.tightest(grown, exchange.opened_at)
        for attempt, held in zip(exchange.attempts, before, strict=True):
            attempt.held = held
        verdict = _fitted(left, ask)
        if verdict.word == "granted" and passed is not None and passed[0] < 0:
            return Verdict("refused", by=passed[1]), under
        return verdict, under

    def opened_later(self, exchange: Exchange, attempt: Attempt, ended: dict[int, int]) -> None:
        self._end(exchange, ended)
        for number, cost in ended.items():
            exchange.attempts[number - 1].ended = cost
        exchange.attempts.append(attempt)

    def _end(self, exchange: Exchange, ended: dict[int, int]) -> None:
        for number, cost in ended.items():
            exchange.attempts[number - 1].held = cost

    def extending(self, exchange: Exchange, attempt: Attempt, at: int, want: int, least: int) -> Verdict:
        if exchange.state != "open":
            return Verdict("closed")
        if not exchange.key.is_valid(at):
            return Verdict("invalid")
        found = self.tightest([cap for cap in attempt.under if not cap.removed], exchange.opened_at)
        if found is None or found[0] >= want:
            return Verdict("granted", want)
        left, by = found
        return Verdict("granted", left if left >= max(least, 1) else 0, by=by)

    def close(self, exchange: Exchange, costs: list[int | None], outcome: str) -> None:
        """End an exchange: each attempt at its cost, or at what is held for it where nobody knows."""
        if exchange.state == "open":
            for attempt, cost in zip(exchange.attempts, costs, strict=True):
                attempt.charged = attempt.held if cost is None else cost
                attempt.was_held, attempt.held = attempt.held, 0
            exchange.state = "abandoned" if outcome == "abandoned" else "closed"
            exchange.outcome = outcome if exchange.is_routed else None
        elif exchange.state == "abandoned" and not exchange.adjusted:
            for attempt, cost in zip(exchange.attempts, costs, strict=True):
                charged = attempt.was_held if cost is None else cost
                exchange.adjusted |= attempt.charged != charged
                attempt.charged = charged

    def abandon(self, exchange: Exchange) -> None:
        """End an exchange as recovery must: by what is durable of each attempt."""
        known = exchange.progress or (None, 0)
        costs: list[int | None] = [
            attempt.ended if attempt.ended is not None else known[1] if attempt is known[0] else attempt.estimate
            for attempt in exchange.attempts
        ]
        self.close(exchange, costs, "abandoned")

    def set_cap(self, cap: Cap) -> None:
        for exchange in self.exchanges:
            if period(cap.window, exchange.opened_at) != period(cap.window, cap.set_at):
                continue
            for attempt in exchange.attempts:
                if not cap.covers(exchange.key, attempt.model):
                    continue
                if exchange.state == "open":
                    attempt.under.append(cap)
                else:
                    cap.past += attempt.charged
        self.caps.append(cap)


def _fitted(found: tuple[int, frozenset[str]] | None, ask: Ask) -> Verdict:
    """What is granted under the tightest caps (None: there are none): as much as fits, or nothing."""
    fits = ask.worst
    if found is not None:
        left, by = found
        if left < ask.base + ask.cost(min(ask.least, ask.worst)):
            return Verdict("refused", by=by)
        while ask.base + ask.cost(fits) > left:
            fits -= 1
    held = ask.base + ask.cost(min(ask.first, fits))
    if found is not None and fits < ask.worst:
        return Verdict("granted", held, fits, found[1])
    return Verdict("granted", held)

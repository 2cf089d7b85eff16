"""Accounts in a tree, with caps on all that they spend, on keys, on one model or a pattern; and the ledger, replayed.

What the caps must have counted is reckoned here once more, from the tables as they were written: which attempt called
which model for whom, and what was set aside, given back and charged for it.
"""

import random
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any, Final

import apsw
import attrs

from ainf.ledger import Window
from ainf.simulator import Entry
from ainf.store import admin, balances, caps
from ainf.store.balances import CreditKind, NewCredit
from ainf.store.counting import Scope
from ainf.store.transaction import Transaction
from tests.gateway.fickle import MODELS

TEAMS: Final = 3
ROOT: Final = "org"
_ANSWER_NUSD: Final = MODELS["small-a"].answer_nusd

ENTRIES: Final = """
    SELECT e.seq, e.kind, e.amount_nusd, i.key_id, e.inference_id, e.attempt, coalesce(l.model, i.model)
    FROM entries AS e JOIN inferences AS i ON i.inference_id = e.inference_id
    LEFT JOIN later_attempts AS l ON l.inference_id = e.inference_id AND l.number = e.attempt
    ORDER BY e.seq
"""
LINES: Final = """
    SELECT i.key_id, a.model, a.cost_nusd FROM attempts AS a JOIN inferences AS i ON i.inference_id = a.inference_id
"""


_OPENED: Final = """
    SELECT 1 FROM inferences WHERE (inference_id, upstream_model) = (?1, ?2)
    UNION ALL SELECT 1 FROM later_attempts WHERE (inference_id, upstream_model) = (?1, ?2)
"""


@attrs.frozen
class Limit:
    """A cap, or the balance of an account."""

    cap_id: str
    on: str
    """An account's name, or a key's id."""
    limit_nusd: int
    pattern: str = "*"
    is_balance: bool = False


@attrs.frozen
class Spenders:
    """Who may spend, and how much."""

    teams: Mapping[str, str]
    """The team of each agent."""
    limits: Mapping[str, Limit]
    """By id."""

    @classmethod
    def drawn(cls, chance: random.Random, agents: int, answers: int) -> "Spenders":
        """Draw limits for so many agents, each of which may have about so many answers."""
        teams = {f"agent-{number}": f"team-{number % TEAMS}" for number in range(agents)}
        found: list[Limit] = []
        whole: dict[str, int] = defaultdict(int)
        for number, (agent, team) in enumerate(teams.items()):
            budget = int(answers * _ANSWER_NUSD * chance.uniform(0.8, 1.2))
            whole[team] += budget
            found.append(Limit(f"cap_{agent}", key_of(agent) if number % 2 else agent, budget))
            if number % 4 == 0:
                found.append(Limit(f"cap_{agent}_small", key_of(agent), int(budget * 0.35), "small-a"))
        for team, budget in whole.items():
            # Some leave less than those below may spend, some more.
            limit = int(budget * chance.uniform(0.8, 1.2))
            found.append(Limit(f"cap_{team}", team, limit, is_balance=team == "team-1"))
        found += [
            Limit("cap_team-0_large", "team-0", int(whole["team-0"] * 0.2), "large-*"),
            Limit("cap_team-2_small", "team-2", int(whole["team-2"] * 0.15), "small-b"),
            Limit("cap_org_large", ROOT, int(sum(whole.values()) * 0.1), "large-b"),
            Limit("cap_org", ROOT, int(sum(whole.values()) * 1.05)),
        ]
        return cls(teams, {limit.cap_id: limit for limit in found})

    def plant(self, tx: Transaction, at: int) -> dict[str, str]:
        """Make the accounts with their limits and a key for each agent; return the keys (an operation)."""
        parents = {ROOT: None} | dict.fromkeys(self.teams.values(), ROOT) | self.teams
        for name, parent in parents.items():
            admin.create_account(tx, account_id=f"acc_{name}", name=name, parent=parent, at=at)
        keys = {}
        for agent in self.teams:
            key_id = key_of(agent)
            keys[agent] = key = admin.key_text(key_id, key_id.encode() * 4)
            digest = admin.digest_of(key)
            admin.create_key(tx, key_id=key_id, digest=digest, account=agent, rights=admin.KeyRights(), at=at)
        for limit in self.limits.values():
            self._set(tx, limit, at)
        return keys

    def _set(self, tx: Transaction, limit: Limit, at: int) -> None:
        if limit.is_balance:
            first = NewCredit(f"crd_{limit.on}", CreditKind.TOP_UP, limit.limit_nusd)
            balances.open_balance(tx, cap_id=limit.cap_id, account=limit.on, at=at, first=first)
            return
        is_key = limit.on not in {ROOT, *self.teams, *self.teams.values()}
        subject = caps.subject_of(tx, key_id=limit.on) if is_key else caps.subject_of(tx, account=limit.on)
        window = Window.MONTH if is_key else Window.LIFETIME
        scope = Scope(subject, window, limit.pattern)
        caps.set_cap(tx, cap_id=limit.cap_id, scope=scope, limit_nusd=limit.limit_nusd, at=at)

    def over(self, key_id: str, model: str) -> list[Limit]:
        """Return the limits that what a key spends on a model counts on."""
        agent = next(agent for agent in self.teams if key_of(agent) == key_id)
        names = {key_id, agent, self.teams[agent], ROOT}
        return [limit for limit in self.limits.values() if limit.on in names and fnmatchcase(model, limit.pattern)]

    def charged(self, lines: Iterable[tuple[str, str, int]]) -> dict[str, int]:
        """Return what each limit must have counted, from attempts: whose key, which model, at what cost."""
        sums = dict.fromkeys(self.limits, 0)
        for key_id, model, cost in lines:
            for limit in self.over(key_id, model):
                sums[limit.cap_id] += cost
        return sums


def key_of(agent: str) -> str:
    """Return the id of an agent's key."""
    return f"spend{int(agent.rpartition('-')[2]):05d}"


_CHANGES: Final[Mapping[str, Callable[[int], int]]] = {
    "hold": int, "extend": int, "overrun": int, "adjustment": int, "release": int.__neg__, "settle": lambda _: 0,
}  # fmt: skip


class Replay:
    """What was settled and held under each limit, at every entry of the ledger.

    Attributes:
        passed: the entries that set more aside than a limit left, which must be none.
        models: whose key called which model, by exchange and attempt.
        overrun: what was charged beyond what was held, under each limit.
    """

    def __init__(self, spenders: Spenders, entries: Iterable[tuple[Any, ...]]) -> None:
        self.passed: list[tuple[int, str]] = []
        self.models: dict[tuple[str, int], tuple[str, str]] = {}
        self.overrun: Counter[str] = Counter()
        self._held: dict[tuple[str, int], list[tuple[int, int]]] = defaultdict(lambda: [(0, 0)])
        self._limits = spenders.limits
        self._totals: dict[str, list[tuple[int, int]]] = defaultdict(lambda: [(0, 0)])
        for seq, kind, amount, key_id, inference_id, attempt, model in entries:
            change, called = _CHANGES[kind](amount), (inference_id, attempt)
            self.models[called] = key_id, model
            if kind in {"hold", "extend", "release", "settle"}:
                held = self._held[called][-1][1] + (-amount if kind == "settle" else change)
                self._held[called].append((seq, held))
            for limit in spenders.over(key_id, model):
                total = self._totals[limit.cap_id][-1][1] + change
                self._totals[limit.cap_id].append((seq, total))
                self.overrun[limit.cap_id] += amount if kind == "overrun" else 0
                if kind in {"hold", "extend"} and total > limit.limit_nusd:
                    self.passed.append((seq, limit.cap_id))

    def left(self, cap_id: str, after: int, before: int) -> int:
        """Return the least that a limit left at some moment between two entries."""
        totals = self._totals[cap_id]
        first, last = bisect_right(totals, (after, 1 << 62)) - 1, bisect_right(totals, (before, 1 << 62))
        return self._limits[cap_id].limit_nusd - max(total for _, total in totals[first:last])

    def held_at(self, inference_id: str, attempt: int, seq: int) -> int:
        """Return what was held for an attempt behind an entry."""
        held = self._held[inference_id, attempt]
        return held[bisect_right(held, (seq, 1 << 62)) - 1][1]


@attrs.define
class Calls:
    """What the provider was asked, each looked up in the books of that moment."""

    books: apsw.Connection
    made: list[tuple[str, str]] = attrs.field(factory=list)
    undurable: list[tuple[str, str]] = attrs.field(factory=list)

    def note(self, entry: Entry) -> None:
        """Note a call, and whether the books know nothing of it."""
        called = entry.headers["x-client-request-id"], entry.model or ""
        self.made.append(called)
        if self.books.execute(_OPENED, called).fetchone() is None:
            self.undurable.append(called)

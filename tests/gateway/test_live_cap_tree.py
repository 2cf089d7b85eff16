"""Five hundred streams at once, fifty accounts in a tree of four levels, caps at each: used up, never passed.

Clients ask until nothing more fits anywhere above them. Afterwards the ledger is replayed entry by entry: no hold and
no extension ever took a cap above its limit, no request was refused while its whole worst case fitted, and what is too
full for another request is used up.
"""

import json
import random
from bisect import bisect_right
from collections import Counter, defaultdict
from decimal import Decimal
from itertools import pairwise

import apsw
import attrs
import pytest
import trio

from ainf.app import wall_clock
from ainf.inference.money import NANO_PER_USD, format_usd
from ainf.ledger import Window
from ainf.simulator import Simulator
from ainf.store import admin, caps
from ainf.store.beside import path_of
from ainf.store.counting import Scope
from ainf.store.sqlite import connect
from tests.extent import FULL, SEED
from tests.gateway.backends import INPUT_RATE, OUTPUT_RATE
from tests.gateway.live import Live, live
from tests.gateway.live_client import Answer, finish_reasons

BRANCHES = (1, 4, 15, 30)
"""Accounts of each level: fifty in all."""
WINDOWS = (Window.LIFETIME, Window.MONTH, Window.WEEK, Window.LIFETIME)
CLIENTS_OF_EACH = 10
TOKENS = 200
MODEL = f"sim-tokens-{TOKENS}-per-frame-8-pace-20ms"
INPUT_TOKENS = 11
STREAM_NUSD = TOKENS * OUTPUT_RATE + INPUT_TOKENS * INPUT_RATE
STREAMS_OF_EACH = 100 if FULL else 24
"""What an account of the lowest level may spend, in whole streams."""
LEAST_TOKENS = 1
PATIENT = "wait_s = 60"
"""Five hundred openings at once may wait longer than usual for the store of a busy machine; that refuses no money."""
WOKEN = 3
"""Clients that ask again when a stream has ended."""


@attrs.frozen
class Tree:
    """The accounts and what caps them."""

    parents: dict[str, str | None]
    limits: dict[str, int]
    """By account, in nano-dollars."""

    @classmethod
    def grown(cls, chance: random.Random) -> "Tree":
        levels = [[f"level{depth}-{n}" for n in range(count)] for depth, count in enumerate(BRANCHES)]
        parents: dict[str, str | None] = {levels[0][0]: None}
        for above, level in pairwise(levels):
            parents |= {name: above[n % len(above)] for n, name in enumerate(level)}
        limits: dict[str, int] = {}
        for level in reversed(levels):
            for name in level:
                below = sum(limits[child] for child, parent in parents.items() if parent == name)
                # Some leave less than those below may spend, some more; the root more, so that others bind too.
                share = chance.uniform(0.7, 1.2) if parents[name] else 1.1
                limits[name] = int((below or STREAMS_OF_EACH * STREAM_NUSD) * share)
        return cls(parents, limits)

    def path(self, name: str) -> list[str]:
        """An account and all above it."""
        path, at = [], self.parents[name]
        while at is not None:
            path.append(at)
            at = self.parents[at]
        return [name, *path]


async def plant(here: Live, tree: Tree) -> dict[str, str]:
    """Make the accounts, with a cap and a key each; return the keys."""
    keys = {}
    for number, (name, parent) in enumerate(tree.parents.items()):
        depth = len(tree.path(name)) - 1

        def write(tx, name=name, parent=parent, number=number, depth=depth):
            admin.create_account(tx, account_id=f"acc_{name}", name=name, parent=parent, at=wall_clock())
            scope = Scope(caps.subject_of(tx, account=name), WINDOWS[depth], "sim-*" if depth == 1 else "*")
            caps.set_cap(tx, cap_id=f"cap_{name}", scope=scope, limit_nusd=tree.limits[name], at=wall_clock())

        await here.running.store.write(write)
        keys[name] = await here.new_key(name, key_id=f"tree{number:06d}")
    return keys


@attrs.frozen
class Refusal:
    """A refused request, and between which entries of the ledger it was decided."""

    account: str
    cap: dict
    after_seq: int
    before_seq: int

    @property
    def needs_nusd(self) -> int:
        """The least that it would have been admitted with."""
        return int(Decimal(self.cap["needs"]) * NANO_PER_USD)


@attrs.define
class Crowd:
    """The clients: each asks again and again, and waits for a stream to end where it is refused.

    One that is refused while nothing at all is held is refused for good.
    """

    here: Live
    chance: random.Random
    books: apsw.Connection
    most_running: int = 0
    streams: int = 0
    refusals: list[Refusal] = attrs.field(factory=list)
    waiting: list[trio.Event] = attrs.field(factory=list)
    endings: Counter = attrs.field(factory=Counter)

    def look(self) -> tuple[int, bool]:
        """The newest entry, and whether anything is held; five hundred at a time would wait long for the store."""
        newest = "SELECT (SELECT coalesce(max(seq), 0) FROM entries), EXISTS (SELECT 1 FROM holds)"
        seq, is_held = self.books.execute(newest).fetchone()
        return seq, bool(is_held)

    async def client(self, account: str, key: str) -> None:
        while True:
            after, was_held = self.look()
            self.most_running = max(self.most_running, len(self.here.running.gateway.inflight))
            taken = await self.here.ask(MODEL, key=key, max_tokens=TOKENS)
            before, is_held = self.look()
            if taken.status == 200:
                self.streams += 1
                self.endings[_ending(taken)] += 1
                self.wake(WOKEN if is_held else len(self.waiting))
                continue
            assert (taken.status, taken.headers["x-should-retry"]) == (402, "false")
            cap = json.loads(taken.body)["error"]["cap"]
            self.refusals.append(Refusal(account, cap, after, before))
            if before == after and not was_held:
                return
            if is_held:
                event = trio.Event()
                self.waiting.append(event)
                await event.wait()

    def wake(self, count: int) -> None:
        for _ in range(min(count, len(self.waiting))):
            self.waiting.pop(self.chance.randrange(len(self.waiting))).set()


def _ending(taken: Answer) -> str:
    (reason,) = finish_reasons(taken)
    return reason


class Headroom:
    """What the caps left at every entry of the ledger, replayed."""

    def __init__(self, tree: Tree, entries: list[tuple[int, str, int, str]]) -> None:
        self.passed: list[tuple[int, str]] = []
        self._steps: dict[str, list[tuple[int, int]]] = defaultdict(lambda: [(0, 0)])
        for seq, kind, amount, account_id in entries:
            change = {"hold": amount, "extend": amount, "overrun": amount, "release": -amount}.get(kind, 0)
            for name in tree.path(account_id.removeprefix("acc_")):
                total = self._steps[name][-1][1] + change
                self._steps[name].append((seq, total))
                if kind in {"hold", "extend"} and total > tree.limits[name]:
                    self.passed.append((seq, name))
        self._tree = tree

    def least(self, account: str, after: int, before: int) -> int:
        """The least that the path of an account left at some moment between two entries."""
        path = self._tree.path(account)
        seqs = {after, *(seq for name in path for seq, _ in self._between(name, after, before))}
        return min(min(self._tree.limits[name] - self._at(name, seq) for name in path) for seq in seqs)

    def _between(self, name: str, after: int, before: int) -> list[tuple[int, int]]:
        steps = self._steps[name]
        return steps[bisect_right(steps, (after, 1 << 62)) : bisect_right(steps, (before, 1 << 62))]

    def _at(self, name: str, seq: int) -> int:
        steps = self._steps[name]
        return steps[bisect_right(steps, (seq, 1 << 62)) - 1][1]


@pytest.mark.law
async def test_a_tree_of_caps_is_used_up_and_never_passed(tmp_path, tell):
    """L6 holds at every entry, binding caps are used to 98 %, and nobody was refused whose worst case fitted."""
    chance = random.Random(SEED)
    tree = Tree.grown(chance)
    more = f"slice_tokens = 32\nmin_output_tokens = {LEAST_TOKENS}"
    async with live(tmp_path, MODEL, more=more, store=PATIENT, simulator=Simulator(), within_s=300) as here:
        keys = await plant(here, tree)
        crowd = Crowd(here, chance, connect(path_of(here.books), read_only=True))
        started_at = trio.current_time()
        async with trio.open_nursery() as nursery:
            for account, key in keys.items():
                for _ in range(CLIENTS_OF_EACH):
                    nursery.start_soon(crowd.client, account, key)
        took_s = trio.current_time() - started_at
        entries = await here.rows("SELECT seq, kind, amount_nusd, account_id FROM entries ORDER BY seq")
        listed = await here.running.store.read(lambda tx: caps.list_caps(tx, wall_clock()))
        crowd.books.close()

    headroom = Headroom(tree, entries)
    assert headroom.passed == []
    for refusal in crowd.refusals:
        least = headroom.least(refusal.account, refusal.after_seq, refusal.before_seq)
        assert least < refusal.needs_nusd, "not even the least was left, so the whole worst case was not either"
        assert Decimal(refusal.cap["left"]) < Decimal(refusal.cap["needs"])
    assert all(cap.held_nusd == 0 for cap in listed)
    needs = max(refusal.needs_nusd for refusal in crowd.refusals)
    used = {cap.name: cap.settled_nusd / cap.limit_nusd for cap in listed if cap.left_nusd < needs}
    assert all(used.keys() & tree.path(account) for account in keys), "everybody was refused for good by some cap"
    levels = Counter(len(tree.path(name)) for name in used)
    spent = format_usd(sum(cap.settled_nusd for cap in listed if tree.parents[cap.name] is None))
    tell(
        f"{crowd.streams:,} streams of {len(keys)} accounts, at most {crowd.most_running} at once,"
        f" {len(crowd.refusals):,} refused, {spent} USD in {took_s:.0f} s (AINF_SEED={SEED}); {dict(crowd.endings)};"
        f" {len(used)} caps are used up (by level {dict(sorted(levels.items()))}), to {100 * min(used.values()):.2f} %"
        f" at least; {len(entries):,} entries, none above a cap"
    )
    assert crowd.most_running >= 0.4 * len(keys) * CLIENTS_OF_EACH  # a busy machine starts them more slowly
    assert set(crowd.endings) == {"stop", "spend_cap_exceeded"}
    assert len(levels) >= 2
    assert min(used.values()) >= 0.98

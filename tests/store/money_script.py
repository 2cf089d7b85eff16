"""Sequences of what happens to money: made by chance, told one step a line, and cut down where one fails.

A step names what it is about by a number, taken modulo what there is, so that any part of a sequence is a sequence too.
"""

import random
from collections.abc import Callable, Sequence
from typing import Any

import attrs

from tests.store.money_model import WINDOWS, Ask

MODELS = ("gpt-5", "gpt-5-mini", "opus", "o4-mini")
PATTERNS = ("*", "*", "*", "*", "*", "gpt-*", "*-mini", "opus", "g*5*", "nothing")
SECOND, HOUR = 1_000_000, 3_600_000_000


@attrs.frozen
class Step:
    """One thing that happens: the name of a ``Player``'s method, and its arguments."""

    name: str
    arguments: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.name}({', '.join(f'{name}={value!r}' for name, value in self.arguments.items())})"


def random_script(seed: int, length: int = 50) -> list[Step]:
    """Return a tree of accounts and keys, and what happens to it."""
    rng = random.Random(seed)
    start = 1_640_995_200_000_000 + rng.randrange(5 * 365 * 24) * HOUR + rng.randrange(HOUR)
    steps = [Step("begin", {"at": start})]
    steps += [Step("make_account", {"parent": rng.randrange(100)}) for _ in range(rng.randint(1, 6))]
    steps += [_key(rng) for _ in range(rng.randint(1, 3))]
    steps += [Step("set_cap", _ARGUMENTS["set_cap"](rng)) for _ in range(rng.randint(0, 3))]
    names, weights = zip(*_WEIGHTS.items(), strict=True)
    for name in rng.choices(names, weights, k=rng.randint(length // 2, length)):
        steps += [Step("pass_time", _passed(rng)), Step(name, _ARGUMENTS[name](rng))]
    return steps


def _key(rng: random.Random) -> Step:
    lives = rng.randrange(1, 48 * HOUR) if rng.random() < 0.1 else None
    return Step("make_key", {"account": rng.randrange(100), "lives": lives})


def _passed(rng: random.Random) -> dict[str, Any]:
    if rng.random() < 0.85:
        return {"us": rng.choice([0, 1, rng.randrange(SECOND), rng.randrange(600 * SECOND)]), "border": None}
    return {
        "us": rng.choice([-1, 0, 0, 1, rng.randrange(SECOND)]),
        "border": rng.choice(("hour", "hour", "day", "week", "month")),
    }


def _call(rng: random.Random) -> dict[str, Any]:
    worst = rng.choice([0, rng.randrange(1, 30), rng.randrange(1, 400), rng.randrange(1, 400)])
    return {
        "model": rng.choice(MODELS),
        "ask": Ask(
            base=rng.randrange(60),
            rate=rng.choice([1_000_000, 1_000_000, 2_500_000, 333_333, 0]),
            first=rng.randint(1, min(worst, rng.choice([60, worst]))) if worst else 0,
            worst=worst,
            least=rng.randrange(30),
        ),
        "tokens": rng.randrange(40),
    }


def _opening(rng: random.Random) -> dict[str, Any]:
    return {
        "key": rng.randrange(100),
        "routed": rng.random() < 0.7,
        "lag": rng.choice([0, 0, 0, rng.randrange(2 * SECOND)]),
        **_call(rng),
    }


def _later(rng: random.Random) -> dict[str, Any]:
    """Another attempt, and what each of those that run before it ended at (None: it goes on)."""
    ends = [rng.choice([None, 0, 0, rng.randrange(60), rng.randrange(150)]) for _ in range(3)]
    return {"exchange": rng.randrange(100), "ends": ends, **_call(rng)}


def _extension(rng: random.Random) -> dict[str, Any]:
    want = rng.randrange(1, 120)
    return {
        "exchange": rng.randrange(100),
        "want": want,
        "least": rng.choice([1, want, rng.randint(1, want)]),
        "attempt": rng.randrange(100),
        "progress": rng.choice([None, rng.randrange(150)]),
    }


def _closing(rng: random.Random) -> dict[str, Any]:
    """The end: which attempt answered, what it cost and what each other live one did, and what the caller forgot.

    Now and then an attempt that had ended turns out to have cost something else, and the last one that was opened is
    not known to who closes.
    """
    return {
        "exchange": rng.randrange(100),
        "ending": rng.choice(("completed", "completed", "completed", "left", "capped", "failed", "late")),
        "served": rng.randrange(100),
        "cost": rng.choice([None, 0, 1, *(rng.randrange(120) for _ in range(5))]),
        "others": rng.choice([0, rng.randrange(120)]),
        "more": rng.choice([0, 0, 0, rng.randrange(9)]),
        "forgets": rng.random() < 0.1,
    }


def _scope(rng: random.Random) -> dict[str, Any]:
    return {
        "on": rng.choice(["account", "account", "key"]),
        "subject": rng.randrange(100),
        "window": rng.choice(WINDOWS),
        "pattern": rng.choice(PATTERNS),
    }


_WEIGHTS = {
    "open": 52, "open_later": 40, "extend": 34, "progress": 8, "close": 30, "recover": 6, "close_late": 8, "reject": 2,
    "set_cap": 22, "change_cap": 12, "remove_cap": 8, "open_balance": 7, "put": 10, "close_balance": 4, "make_key": 3,
    "revoke": 1, "close_account": 1,
}  # fmt: skip
_ARGUMENTS: dict[str, Callable[[random.Random], dict[str, Any]]] = {
    "open": _opening,
    "open_later": _later,
    "extend": _extension,
    "progress": lambda rng: {
        "exchange": rng.randrange(100),
        "attempt": rng.randrange(100),
        "cost": rng.randrange(150),
    },
    "close": _closing,
    "recover": lambda rng: {"first": rng.randrange(4)},
    "close_late": _closing,
    "reject": lambda rng: {"key": rng.randrange(100), "status": rng.choice(("rejected_floor", "rejected_money"))},
    "set_cap": lambda rng: {
        **_scope(rng),
        "limit": rng.choice([rng.randrange(40), rng.randrange(300), rng.randrange(900)]),
    },
    "change_cap": lambda rng: {"cap": rng.randrange(100), "limit": rng.randrange(400)},
    "remove_cap": lambda rng: {"cap": rng.randrange(100)},
    "open_balance": lambda rng: {"account": rng.randrange(100), "amount": rng.choice([None, rng.randrange(1, 400)])},
    "put": lambda rng: {"balance": rng.randrange(100), "amount": rng.choice([rng.randrange(1, 300), -50])},
    "close_balance": lambda rng: {"balance": rng.randrange(100)},
    "make_key": lambda rng: _key(rng).arguments,
    "revoke": lambda rng: {"key": rng.randrange(100)},
    "close_account": lambda rng: {"account": rng.randrange(100)},
}


def shrunk(steps: Sequence[Step], fails: Callable[[Sequence[Step]], bool]) -> list[Step]:
    """Leave out what a failing sequence fails without: ever smaller parts of it, until no single step can go."""
    left, size = list(steps), len(steps) // 2
    while size:
        cuts = [left[:at] + left[at + size :] for at in range(0, len(left), size)]
        shorter = next((cut for cut in cuts if fails(cut)), None)
        if shorter is not None:
            left = shorter
        else:
            size = size // 2
    return left

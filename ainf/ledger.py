"""The arithmetic of holds, caps and settlements. Pure: the store reads the numbers, asks here, writes the answer.

Words: a hold is money set aside for an exchange; its *base* pays for the input and the request, the rest for output.
Headroom is what the caps on the path of a request still leave: the least of ``limit - (settled + overrun + held)``.
"""

import functools
import re
from collections.abc import Iterable
from datetime import timedelta
from enum import StrEnum
from typing import Final

import attrs

from ainf.inference.moments import HOUR_US, datetime_of, moment_of
from ainf.inference.money import NanoUSD, format_usd
from ainf.pricing import tokens_cost, tokens_within


@attrs.frozen
class HoldAsk:
    """What an opening asks the ledger to set aside."""

    base_nusd: int
    """The bound of the input's cost, and the request's own fee."""
    output_rate: int
    """The dearest output token, nano-dollars per million."""
    first_tokens: int
    """Output tokens to hold now: a slice for a visible stream, everything for the rest."""
    worst_tokens: int
    """The most output tokens that the request may produce: the client's limit or the model's, 0 for embeddings."""
    min_tokens: int
    """Fewer than this are not worth a call: refuse instead. May be more than ``worst_tokens``."""

    def __attrs_post_init__(self) -> None:
        assert 0 <= self.first_tokens <= self.worst_tokens
        assert self.first_tokens or not self.worst_tokens, "a stream begins with a slice"
        assert self.min_tokens >= 0
        assert self.base_nusd >= 0
        assert self.output_rate >= 0

    @property
    def least_nusd(self) -> int:
        """The headroom below which the request is refused: its base and ``min_tokens`` (or all, if that is less)."""
        return self.base_nusd + tokens_cost(min(self.min_tokens, self.worst_tokens), self.output_rate)


@attrs.frozen
class Grant:
    """What the ledger sets aside for an opening."""

    held_nusd: NanoUSD
    clamp_tokens: int | None
    """The output limit to send upstream when the worst case does not fit, else None."""


def fit(ask: HoldAsk, headroom: int | None) -> Grant | None:
    """Return the hold that fits the headroom (None: no cap applies), or None where ``ask.least_nusd`` does not fit.

    When the worst case does not fit, the output is clamped to what does; the provider then stops by itself inside the
    cap instead of being cut.
    """
    fitting = ask.worst_tokens
    if headroom is not None:
        if headroom < ask.least_nusd:
            return None
        if ask.output_rate:
            fitting = min(fitting, tokens_within(headroom - ask.base_nusd, ask.output_rate))
    held = ask.base_nusd + tokens_cost(min(ask.first_tokens, fitting), ask.output_rate)
    return Grant(NanoUSD(held), fitting if fitting < ask.worst_tokens else None)


def extension(want: int, least: int, headroom: int | None) -> int:
    """Return how much of ``want`` an extension gets: all, what fits if that is ``least`` or more, or nothing."""
    if headroom is None or headroom >= want:
        return want
    return headroom if headroom >= least else 0


class Window(StrEnum):
    """The time that a cap counts: calendar periods in UTC, weeks from Monday."""

    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    LIFETIME = "lifetime"


LIFETIME_START: Final = 0
"""Where the window of a lifetime cap begins: before everything."""


def window_start(window: Window, at: int) -> int:
    """Return when the window began that holds ``at``; both in microseconds since 1970 UTC."""
    if window is Window.LIFETIME:
        return LIFETIME_START
    return _start_of(window, at // HOUR_US) if window is not Window.HOUR else at // HOUR_US * HOUR_US


def window_starts(at: int) -> tuple[int, int, int, int]:
    """Return when the hour, the day, the week and the month began that hold ``at``: asked for in every opening."""
    return _starts_of(at // HOUR_US)


@functools.lru_cache(maxsize=4096)
def _starts_of(hour: int) -> tuple[int, int, int, int]:
    at = hour * HOUR_US
    return at, window_start(Window.DAY, at), window_start(Window.WEEK, at), window_start(Window.MONTH, at)


@functools.lru_cache(maxsize=4096)
def _start_of(window: Window, hour: int) -> int:
    """Return the start of a window by the hour (since 1970) that it holds."""
    moment = datetime_of(hour * HOUR_US).replace(hour=0)
    if window is Window.WEEK:
        moment -= timedelta(days=moment.weekday())
    elif window is Window.MONTH:
        moment = moment.replace(day=1)
    return moment_of(moment)


def window_end(window: Window, start: int) -> int | None:
    """Return when the window that begins at ``start`` ends and the next begins; None for a lifetime."""
    moment = datetime_of(start)
    match window:
        case Window.LIFETIME:
            return None
        case Window.HOUR:
            moment += timedelta(hours=1)
        case Window.DAY:
            moment += timedelta(days=1)
        case Window.WEEK:
            moment += timedelta(days=7)
        case Window.MONTH:
            moment = (moment.replace(day=1) + timedelta(days=32)).replace(day=1)
    return moment_of(moment)


def covers(pattern: str, model: str) -> bool:
    """Whether a cap on a pattern of model names (``*`` stands for any characters) is one on this model."""
    return pattern == "*" or _pattern(pattern).fullmatch(model) is not None


@functools.lru_cache(maxsize=1024)
def _pattern(pattern: str) -> re.Pattern[str]:
    first, *others = map(re.escape, pattern.split("*"))
    # Each part but the last is best found where it comes first, and is never looked for again: else a pattern of many
    # parts takes for ever.
    between = "".join(f"(?>.*?{part})" for part in others[:-1])
    return re.compile(first + between + "".join(f".*{part}" for part in others[-1:]), re.DOTALL)


@attrs.frozen
class CapState:
    """One cap in one window, or one balance, as the store reads it.

    A balance is a cap whose limit is what was paid in, and of which only the nearest on a request's path applies.
    """

    cap_id: str
    window_start: int
    """The start of the window that the counter counts, in microseconds since 1970 UTC."""
    limit_nusd: int
    settled_nusd: int
    """Settled, overrun and adjustments together."""
    held_nusd: int
    window: Window
    whose: str
    """What it is a cap of, in words for the client that it refuses: "key k1", "account research"."""
    model: str = "*"
    """The pattern of model names that it is for."""
    kind: str = "cap"
    """"cap" or "balance"."""

    @property
    def headroom(self) -> int:
        """What is left under this cap; negative when overrun or a lowered limit left the total above it."""
        return self.limit_nusd - self.settled_nusd - self.held_nusd

    @property
    def resets_at(self) -> int | None:
        """When its window ends, in microseconds since 1970 UTC; None where it never does."""
        return window_end(self.window, self.window_start)

    @property
    def code(self) -> str:
        """The error code of its refusal."""
        return "spend_cap_exceeded" if self.kind == "cap" else "insufficient_funds"

    def describe(self) -> str:
        """Return what it is, in words: ``The day cap of account research on models gpt-*``."""
        if self.kind == "balance":
            return f"The balance of {self.whose}"
        models = "" if self.model == "*" else f" on models {self.model}"
        return f"The {self.window} cap of {self.whose}{models}"

    def describe_limit(self) -> str:
        """Return the same with its limit: ``The day cap of account research (5 USD)``."""
        return f"{self.describe()} ({format_usd(self.limit_nusd)} USD)"

    def remedy(self) -> str:
        """Return what brings more money, as a sentence; empty where only an operator can."""
        if self.resets_at is not None:
            return f"It resets at {datetime_of(self.resets_at):%Y-%m-%dT%H:%M:%SZ}."
        return "Top it up." if self.kind == "balance" else ""

    def used_up(self) -> str:
        """Return what a client is told whose running answer this ends."""
        return f"{self.describe_limit()} is used up. {self.remedy()}".rstrip()


def binding(caps: Iterable[CapState]) -> CapState | None:
    """Return the cap with the least headroom, or None where no cap applies."""
    return min(caps, key=lambda cap: cap.headroom, default=None)


class EntryKind(StrEnum):
    """What a ledger entry is; each moves an amount between the key's account and the provider."""

    HOLD = "hold"
    EXTEND = "extend"
    SETTLE = "settle"
    RELEASE = "release"
    OVERRUN = "overrun"
    ADJUSTMENT = "adjustment"


@attrs.frozen
class Division:
    """How a hold is divided when its exchange closes: ``held = settled + released``; ``cost = settled + overrun``."""

    settled_nusd: NanoUSD
    released_nusd: NanoUSD
    overrun_nusd: NanoUSD


def divide(held: int, cost: int | None) -> Division:
    """Divide a hold by the exchange's cost; an unknown cost (None) takes the whole hold."""
    if cost is None:
        cost = held
    settled = min(cost, held)
    return Division(NanoUSD(settled), NanoUSD(held - settled), NanoUSD(cost - settled))

"""What was used and spent in a period, summed by what is asked: over settlements and adjustments, in one transaction.

An exchange counts at the time of its admission, as on caps; an adjustment, which may come much later, when it was
posted. What still runs is not in the sums: it is held.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import attrs

from ainf.inference.errors import DownstreamError
from ainf.inference.moments import DAY_US
from ainf.store.period import Period, date_of
from ainf.store.transaction import Row, Transaction

_GROUPS: Final[Mapping[str, str]] = {
    "day": f"{{at}} / {DAY_US}",
    "model": "i.model",
    "provider": "i.provider",
    "key": "i.key_id",
    "account": "i.account_id",
    "ending": "s.ending",
    "evidence": "s.evidence",
}
DIMENSIONS: Final = tuple(_GROUPS)
"""What usage may be summed by."""

_SUMMED: Final = (
    "input_tokens", "cached_input_tokens", "cache_write_tokens", "long_cache_write_tokens", "output_tokens",
    "reasoning_tokens", "audio_input_tokens", "audio_output_tokens", "settled_nusd", "overrun_nusd",
)  # fmt: skip

_SETTLED = """
    SELECT {groups}, count(*), {sums} FROM inferences AS i JOIN settlements AS s ON s.inference_id = i.inference_id
    WHERE {whose} AND i.opened_at >= ? AND i.opened_at < ? GROUP BY {numbers}
"""
# Joined in this order: there are few adjustments, but what plans the query does not know.
_ADJUSTED = """
    SELECT {groups}, sum(e.amount_nusd)
    FROM entries AS e CROSS JOIN inferences AS i CROSS JOIN settlements AS s
    WHERE {whose} AND e.kind = 'adjustment' AND e.at >= ? AND e.at < ?
        AND i.inference_id = e.inference_id AND s.inference_id = i.inference_id
    GROUP BY {numbers}
"""
_HELD = """
    SELECT count(*), coalesce(sum(h.held_nusd), 0)
    FROM holds AS h JOIN inferences AS i ON i.inference_id = h.inference_id
    WHERE {whose}
"""


@attrs.frozen
class Whose:
    """Of whom something is asked."""

    account_id: str | None = None
    """None: of all accounts."""
    with_below: bool = True
    """Whether the accounts below it count too."""

    @property
    def where(self) -> str:
        """The condition on ``inferences AS i``; its parameters are ``parameters``."""
        if self.account_id is None:
            return "i.account_id IN (SELECT w.account_id FROM accounts AS w)"
        if self.with_below:
            return "i.account_id IN (SELECT w.account_id FROM accounts AS w WHERE instr(w.path, '\"' || ? || '\"') > 0)"
        return "i.account_id = ?"

    @property
    def parameters(self) -> tuple[str, ...]:
        """What stands for the marks in ``where``."""
        return () if self.account_id is None else (self.account_id,)


@attrs.frozen
class UsageAsk:
    """What is asked."""

    whose: Whose
    period: Period
    by: tuple[str, ...] = ("day",)
    """Of ``DIMENSIONS``, at least one."""
    most_rows: int | None = None
    """More are refused, since none must be missing in silence."""


@attrs.frozen
class Sums:
    """What some exchanges used and spent. The words for tokens are those of ``inference.usage``."""

    exchanges: int = 0
    input_tokens: int = 0
    cached_input_tokens: int = 0
    cache_write_tokens: int = 0
    long_cache_write_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    audio_input_tokens: int = 0
    audio_output_tokens: int = 0
    settled_nusd: int = 0
    overrun_nusd: int = 0
    adjustments_nusd: int = 0
    """May be negative."""

    @property
    def spent_nusd(self) -> int:
        """What it comes to: settled, overrun and adjustments together."""
        return self.settled_nusd + self.overrun_nusd + self.adjustments_nusd

    def __add__(self, other: "Sums") -> "Sums":
        """Return the sums of both together."""
        return Sums(*map(int.__add__, attrs.astuple(self), attrs.astuple(other)))


@attrs.frozen
class UsageRow:
    """The sums of one group."""

    group: tuple[str, ...]
    """A day, a model's name, ...: one for each of what was asked by."""
    sums: Sums


@attrs.frozen
class UsageReport:
    """The answer; its rows in the order of their groups."""

    ask: UsageAsk
    rows: tuple[UsageRow, ...]
    totals: Sums
    running: int
    """Exchanges that are open now, whenever they were admitted."""
    held_nusd: int
    """What these hold."""


def usage(tx: Transaction, ask: UsageAsk) -> UsageReport:
    """Return what was used and spent (an operation that only reads).

    It takes time in proportion to the exchanges of the period: some 2 seconds a million.

    Raises:
        DownstreamError: ``invalid_value``: more rows than are allowed.
    """
    found: dict[Row, Sums] = {}
    for group, (exchanges, *sums) in _grouped(tx, ask, _SETTLED, at="i.opened_at"):
        found[group] = Sums(exchanges, *sums)
    for group, (adjusted,) in _grouped(tx, ask, _ADJUSTED, at="e.at"):
        found[group] = found.get(group, Sums()) + Sums(adjustments_nusd=adjusted)
    if ask.most_rows is not None and len(found) > ask.most_rows:
        raise DownstreamError(
            "invalid_value",
            f"This asks for {len(found)} rows, and {ask.most_rows} is the limit: ask for less time, or by less.",
            param="by",
        )
    names = _names(tx, ask.by)
    rows = sorted(
        (UsageRow(tuple(map(_named, names, group)), sums) for group, sums in found.items()), key=lambda row: row.group
    )
    held = tx.one(_HELD.format(whose=ask.whose.where), ask.whose.parameters)
    assert held is not None
    return UsageReport(ask, tuple(rows), sum(found.values(), Sums()), *held)


def _grouped(tx: Transaction, ask: UsageAsk, sql: str, *, at: str) -> Iterable[tuple[Row, Row]]:
    """Yield each group with its sums."""
    assert ask.by
    assert set(ask.by) <= set(DIMENSIONS)
    count = len(ask.by)
    statement = sql.format(
        groups=", ".join(_GROUPS[name].format(at=at) for name in ask.by),
        sums=", ".join(f"sum(s.{name})" for name in _SUMMED),
        numbers=", ".join(map(str, range(1, count + 1))),
        whose=ask.whose.where,
    )
    for row in tx.execute(statement, (*ask.whose.parameters, ask.period.since, ask.period.until)):
        yield row[:count], row[count:]


def _names(tx: Transaction, by: tuple[str, ...]) -> list[Callable[[Any], str]]:
    """Return, for each part of a group, how its value in the database is told."""
    told: dict[str, Callable[[Any], str]] = {"day": date_of}
    if "account" in by:
        told["account"] = dict(tx.execute("SELECT account_id, name FROM accounts")).__getitem__
    return [told.get(name, str) for name in by]


def _named(name: Callable[[Any], str], value: object) -> str:
    return name(value)

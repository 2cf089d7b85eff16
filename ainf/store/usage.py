"""What was used and spent in a period, summed by what is asked: over settlements and adjustments, in one transaction.

An exchange counts at the time of its admission, as on caps; an adjustment, which may come much later, when it was
posted. What still runs is not in the sums: it is held.

By model and provider, the tokens and the money of an exchange that called several are parted: what each attempt used
and was charged stands with the model and provider that it called, though nothing of it was used, and the exchange is
counted once, with those that answered, or were tried last. All else is the exchange's: its ending and evidence too.

Strategy: most exchanges have one attempt, and their settlement says all. Those that have more are left out there where
their attempts are asked for, and summed over the entries and lines of these.
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
    "model": "coalesce(l.model, i.model)",
    "provider": "coalesce(l.provider, i.provider)",
    "key": "i.key_id",
    "account": "i.account_id",
    "ending": "s.ending",
    "evidence": "s.evidence",
}
DIMENSIONS: Final = tuple(_GROUPS)
"""What usage may be summed by."""
_OF_ATTEMPTS: Final = frozenset({"model", "provider"})

_TOKENS: Final = (
    "input_tokens", "cached_input_tokens", "cache_write_tokens", "long_cache_write_tokens", "output_tokens",
    "reasoning_tokens", "audio_input_tokens", "audio_output_tokens",
)  # fmt: skip

_SETTLED: Final = """
    SELECT {groups}, count(*), {settled_tokens}, sum(s.settled_nusd), sum(s.overrun_nusd)
    FROM inferences AS i JOIN settlements AS s ON s.inference_id = i.inference_id {where}
        {whose} AND i.opened_at >= ? AND i.opened_at < ? GROUP BY {numbers}
"""
_WHERE_ALONE: Final = """
    LEFT JOIN later_attempts AS l ON l.inference_id = i.inference_id AND l.number = 2 WHERE l.number IS NULL AND
"""
# Joined in this order: the exchanges that have several attempts are found by indexes alone, and are few. Each attempt
# has one entry `settle`. Those of one model and provider are in one group, in which their exchange is counted once.
_BY_ATTEMPT: Final = """
    SELECT {groups},
        count(DISTINCT CASE WHEN (coalesce(l.model, i.model), coalesce(l.provider, i.provider))
            = (coalesce(o.model, i.model), coalesce(o.provider, i.provider)) THEN i.inference_id END),
        {attempt_tokens},
        sum(CASE e.kind WHEN 'settle' THEN e.amount_nusd ELSE 0 END),
        sum(CASE e.kind WHEN 'overrun' THEN e.amount_nusd ELSE 0 END)
    FROM (
        SELECT i.inference_id FROM inferences AS i
        CROSS JOIN later_attempts AS n ON n.inference_id = i.inference_id AND n.number = 2
        WHERE {whose} AND i.opened_at >= ? AND i.opened_at < ?
    ) AS several
    CROSS JOIN inferences AS i ON i.inference_id = several.inference_id
    CROSS JOIN settlements AS s ON s.inference_id = i.inference_id
    CROSS JOIN entries AS e ON e.inference_id = i.inference_id AND e.kind IN ('settle', 'overrun')
    LEFT JOIN later_attempts AS l ON l.inference_id = i.inference_id AND l.number = e.attempt
    LEFT JOIN attempts AS a ON a.inference_id = i.inference_id AND a.number = e.attempt AND e.kind = 'settle'
    LEFT JOIN routing_outcomes AS o ON o.inference_id = i.inference_id
    GROUP BY {numbers}
"""
# Joined in this order: there are few adjustments, but what plans the query does not know.
_ADJUSTED: Final = """
    SELECT {groups}, sum(e.amount_nusd)
    FROM entries AS e CROSS JOIN inferences AS i CROSS JOIN settlements AS s
    LEFT JOIN later_attempts AS l ON l.inference_id = i.inference_id AND l.number = e.attempt
    WHERE {whose} AND e.kind = 'adjustment' AND e.at >= ? AND e.at < ?
        AND i.inference_id = e.inference_id AND s.inference_id = i.inference_id
    GROUP BY {numbers}
"""
_HELD: Final = """
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
    """By model and provider: those that were answered there. Others may have called it too, and have spent there."""
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

    It takes time in proportion to the exchanges of the period: some 2 seconds a million. By model or provider, those
    that called several take longer: some 12 seconds a million.

    Raises:
        DownstreamError: ``invalid_value``: more rows than are allowed.
    """
    found = {group: Sums(*sums) for group, sums in _grouped(tx, ask, _SETTLED, at="i.opened_at")}
    if _OF_ATTEMPTS & set(ask.by):
        for group, sums in _grouped(tx, ask, _BY_ATTEMPT, at="i.opened_at"):
            found[group] = found.get(group, Sums()) + Sums(*sums)
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
    statement = _statement(ask, sql, at)
    for row in tx.execute(statement, (*ask.whose.parameters, ask.period.since, ask.period.until)):
        yield row[:count], row[count:]


def _statement(ask: UsageAsk, sql: str, at: str) -> str:
    return sql.format(
        groups=", ".join(_GROUPS[name].format(at=at) for name in ask.by),
        settled_tokens=", ".join(f"sum(s.{name})" for name in _TOKENS),
        attempt_tokens=", ".join(f"coalesce(sum(a.usage ->> '{name}'), 0)" for name in _TOKENS),
        numbers=", ".join(map(str, range(1, len(ask.by) + 1))),
        whose=ask.whose.where,
        where=_WHERE_ALONE if _OF_ATTEMPTS & set(ask.by) else "WHERE",
    )


def _names(tx: Transaction, by: tuple[str, ...]) -> list[Callable[[Any], str]]:
    """Return, for each part of a group, how its value in the database is told."""
    told: dict[str, Callable[[Any], str]] = {"day": date_of}
    if "account" in by:
        told["account"] = dict(tx.execute("SELECT account_id, name FROM accounts")).__getitem__
    return [told.get(name, str) for name in by]


def _named(name: Callable[[Any], str], value: object) -> str:
    return name(value)

"""What became of the requests that named a routing target, in a period: each outcome, and sums by status."""

from typing import Final

import attrs

from ainf.store.period import Period
from ainf.store.transaction import Transaction

_LINES: Final = """
    SELECT o.outcome_id, o.inference_id, o.at, a.name, o.key_id, o.path, o.stream, o.requested_model, o.target,
        o.ruleset, o.status, o.code, o.model, o.provider, o.attempts, o.first_byte_us, o.cost_nusd
    FROM routing_outcomes AS o JOIN accounts AS a ON a.account_id = o.account_id
    WHERE {asked} ORDER BY o.at DESC, o.outcome_id DESC LIMIT ?
"""
_MOST_DIGITS: Final = 18
"""Of an outcome's number: more are no row's."""
_SUMS: Final = """
    SELECT o.status, count(*), sum(o.attempts), sum(o.cost_nusd) FROM routing_outcomes AS o
    WHERE {asked} GROUP BY o.status ORDER BY count(*) DESC, o.status
"""


@attrs.frozen
class OutcomesAsk:
    """What is asked."""

    period: Period
    """Of the end, or of the refusal."""
    target: str | None = None
    """Only of this one, or, where it is an alias, of those who asked by it."""
    status: str | None = None
    most: int = 100
    """Outcomes that are listed: the newest. The sums are of all."""

    @property
    def where(self) -> str:
        """The condition on ``routing_outcomes AS o``; its parameters are ``parameters``."""
        of_target = " AND ? IN (o.target, o.requested_model)" if self.target is not None else ""
        of_status = " AND o.status = ?" if self.status is not None else ""
        return f"o.at >= ? AND o.at < ?{of_target}{of_status}"

    @property
    def parameters(self) -> tuple[str | int, ...]:
        """What stands for the marks in ``where``."""
        named = (name for name in (self.target, self.status) if name is not None)
        return self.period.since, self.period.until, *named


@attrs.frozen
class RoutedRequest:
    """The outcome of one request that named a routing target."""

    outcome_id: int
    inference_id: str | None
    """None: it was not admitted."""
    at: int
    account: str
    key_id: str
    path: str
    stream: bool = attrs.field(converter=bool)
    requested_model: str
    """The name that was asked for: the target's, or an alias."""
    target: str
    ruleset: str
    status: str
    code: str | None
    """Of the error that the client was told."""
    model: str | None
    """That answered, or was tried last; None where nothing was admitted."""
    provider: str | None
    attempts: int
    first_byte_us: int | None
    """From the opening to the first content."""
    cost_nusd: int
    """Without later adjustments."""


@attrs.frozen
class StatusSums:
    """All outcomes of one status."""

    status: str
    requests: int
    attempts: int
    cost_nusd: int


@attrs.frozen
class OutcomesReport:
    """The answer: the newest outcome last; the most frequent status first."""

    ask: OutcomesAsk
    outcomes: tuple[RoutedRequest, ...]
    sums: tuple[StatusSums, ...]

    @property
    def totals(self) -> StatusSums:
        """The sums over every status; it bears no name."""
        requests, attempts, cost = (
            sum(getattr(of_one, name) for of_one in self.sums) for name in ("requests", "attempts", "cost_nusd")
        )
        return StatusSums("", requests, attempts, cost)


def routing_outcomes(tx: Transaction, ask: OutcomesAsk) -> OutcomesReport:
    """Return what became of routed requests (an operation that only reads).

    It takes time in proportion to the outcomes of the period.
    """
    rows = tx.execute(_LINES.format(asked=ask.where), (*ask.parameters, ask.most))
    lines = [RoutedRequest(*row) for row in reversed(rows)]
    sums = [StatusSums(*row) for row in tx.execute(_SUMS.format(asked=ask.where), ask.parameters)]
    return OutcomesReport(ask, tuple(lines), tuple(sums))


def routed_request(tx: Transaction, named: str) -> RoutedRequest | None:
    """Return the outcome of one request, by its own number or its inference id; None where there is none (yet)."""
    if named.isascii() and named.isdecimal() and len(named) <= _MOST_DIGITS:
        rows = tx.execute(_LINES.format(asked="o.outcome_id = ?"), (int(named), 1))
    else:
        rows = tx.execute(_LINES.format(asked="o.inference_id = ?"), (named, 1))
    return RoutedRequest(*rows[0]) if rows else None

"""A provider's invoice beside the ledger: what both have and agree on, what differs, and what only one of them has.

Nothing is posted: which of two numbers is right is for people to decide.

What is compared are attempts, since an exchange may have called several providers, and each bills its own. Where lines
name an exchange and not which of its attempts, all of them together are compared that the invoice is of.

Strategy: an invoice may have as many lines as there are exchanges, so it goes into temporary tables, which spill to the
disk and are gone with the transaction. Lines are joined with attempts there, by one pass for each kind of id; what is
compared is read in pages, and of what differs only the largest are kept. The number of an attempt is 0 there where a
line is of all that its exchange has.
"""

# ruff: noqa: S608 - the statements are made of this file's constants and of numbers

import heapq
from collections.abc import Iterable, Iterator
from itertools import count, islice
from typing import Final, Generic, TypeVar

import attrs

from ainf.store.paging import walk
from ainf.store.period import Period
from ainf.store.transaction import Transaction

T = TypeVar("T")

RUNNING: Final = "running"
"""Stands for the ending of an exchange that has none yet."""

_BATCH_LINES: Final = 1000
_TABLES: Final = (
    """
    CREATE TEMP TABLE invoice (
        line INTEGER PRIMARY KEY, inference_id TEXT, provider_request_id TEXT, response_id TEXT,
        cost_nusd INTEGER, input_tokens INTEGER, output_tokens INTEGER,
        matched TEXT, attempt INTEGER, is_ambiguous INTEGER NOT NULL DEFAULT 0
    )
    """,
    """
    CREATE TEMP TABLE named (
        id TEXT PRIMARY KEY, first_id TEXT NOT NULL, last_id TEXT NOT NULL, attempt INTEGER NOT NULL
    )
    """,
    """
    CREATE TEMP TABLE theirs (
        inference_id TEXT NOT NULL, attempt INTEGER NOT NULL, lines INTEGER NOT NULL, line INTEGER NOT NULL,
        cost_nusd INTEGER, input_tokens INTEGER, output_tokens INTEGER,
        PRIMARY KEY (inference_id, attempt)
    ) WITHOUT ROWID
    """,
    "CREATE TEMP TABLE asked (provider TEXT)",
)
_ASKED: Final = "coalesce((SELECT provider FROM asked), {of}.provider) = {of}.provider"
"""Whether the invoice is of the provider of ``of``."""
_LINE: Final = """
    INSERT INTO invoice (line, inference_id, provider_request_id, response_id, cost_nusd, input_tokens, output_tokens)
    VALUES (?, ?, ?, ?, ?, ?, ?)
"""
_MATCH_OURS: Final = f"""
    UPDATE invoice SET matched = inference_id, attempt = 0
    WHERE EXISTS (
        SELECT 1 FROM inferences AS i WHERE i.inference_id = invoice.inference_id AND {_ASKED.format(of="i")}
    ) OR EXISTS (
        SELECT 1 FROM later_attempts AS l WHERE l.inference_id = invoice.inference_id AND {_ASKED.format(of="l")}
    )
"""
_INDEX: Final = "CREATE INDEX temp.invoice_by_{name} ON invoice ({name})"
# What an id names is told by its first and last exchange: one and the same, unless the provider gave it twice.
_NAMED: Final = f"""
    INSERT INTO named SELECT a.{{name}}, min(a.inference_id), max(a.inference_id),
        CASE WHEN min(a.number) = max(a.number) THEN min(a.number) ELSE 0 END
    FROM attempts AS a
    WHERE a.{{name}} IN (SELECT v.{{name}} FROM invoice AS v WHERE v.matched IS NULL AND v.{{name}} IS NOT NULL)
        AND {_ASKED.format(of="a")}
    GROUP BY a.{{name}}
"""
_MATCH_THEIRS: Final = """
    UPDATE invoice SET matched = CASE WHEN n.first_id = n.last_id THEN n.first_id END, attempt = n.attempt,
        is_ambiguous = (n.first_id <> n.last_id)
    FROM named AS n WHERE invoice.matched IS NULL AND n.id = invoice.{name}
"""
_THEIR_IDS: Final = ("provider_request_id", "response_id")
# Lines of one exchange are parted by its attempts only where each of them says of which it is.
_TOGETHER: Final = """
    UPDATE invoice SET attempt = 0
    WHERE attempt <> 0 AND matched IN (SELECT v.matched FROM invoice AS v WHERE v.attempt = 0)
"""
_SUM_UP: Final = """
    INSERT INTO theirs
    SELECT matched, attempt, count(*), min(line), sum(cost_nusd), sum(input_tokens), sum(output_tokens)
    FROM invoice WHERE matched IS NOT NULL GROUP BY matched, attempt
"""
_CHARGED: Final = "sum(c.amount_nusd) FROM entries AS c WHERE c.kind IN ('settle', 'overrun', 'adjustment')"
_MATCHED: Final = f"""
    SELECT t.inference_id, t.attempt, CASE count(a.number) WHEN 1 THEN a.number END, t.line, t.lines, s.ending,
        CASE count(a.number) WHEN 1 THEN a.evidence ELSE s.evidence END,
        (SELECT {_CHARGED} AND c.inference_id = t.inference_id AND t.attempt IN (0, c.attempt)
            AND {_ASKED.format(of="c")}),
        t.cost_nusd, sum(a.usage ->> 'input_tokens'), t.input_tokens, sum(a.usage ->> 'output_tokens'), t.output_tokens
    FROM theirs AS t
    LEFT JOIN settlements AS s ON s.inference_id = t.inference_id
    LEFT JOIN attempts AS a ON a.inference_id = t.inference_id AND t.attempt IN (0, a.number)
        AND {_ASKED.format(of="a")}
    WHERE (t.inference_id, t.attempt) > (?, ?)
    GROUP BY t.inference_id, t.attempt ORDER BY t.inference_id, t.attempt LIMIT ?
"""
_UNKNOWN: Final = """
    SELECT line, coalesce(inference_id, provider_request_id, response_id), is_ambiguous, coalesce(cost_nusd, 0)
    FROM invoice WHERE matched IS NULL AND line > ? ORDER BY line LIMIT ?
"""
# Each attempt of what is settled has one entry `settle`.
_MISSING: Final = f"""
    SELECT e.seq, e.inference_id, e.attempt, e.provider, coalesce(l.model, i.model), s.ending,
        coalesce(a.evidence, s.evidence),
        (SELECT {_CHARGED} AND c.inference_id = e.inference_id AND c.attempt = e.attempt)
    FROM entries AS e CROSS JOIN inferences AS i CROSS JOIN settlements AS s
    LEFT JOIN later_attempts AS l ON l.inference_id = e.inference_id AND l.number = e.attempt
    LEFT JOIN attempts AS a ON a.inference_id = e.inference_id AND a.number = e.attempt
    WHERE e.seq > ? AND e.kind = 'settle' AND {_ASKED.format(of="e")} AND i.inference_id = e.inference_id
        AND s.inference_id = e.inference_id AND i.opened_at >= {{since}} AND i.opened_at < {{until}}
        AND NOT EXISTS (
            SELECT 1 FROM theirs AS t WHERE t.inference_id = e.inference_id AND t.attempt IN (0, e.attempt)
        )
    ORDER BY e.seq LIMIT ?
"""


@attrs.frozen(kw_only=True)
class InvoiceLine:
    """One line of an invoice: what it names, and what it says of that. None is what it does not say."""

    line: int
    """Its place in the file, from 1."""
    inference_id: str | None = None
    provider_request_id: str | None = None
    response_id: str | None = None
    cost_nusd: int | None = None
    input_tokens: int | None = None
    """Cached ones included, as everywhere here."""
    output_tokens: int | None = None


@attrs.frozen
class ReconcileAsk:
    """What of ours should be on the invoice, and how much is listed."""

    period: Period
    """What was admitted in it."""
    provider: str | None
    """Whose invoice it is, by its configured name: only attempts there are looked at; None: all."""
    most: int
    """The most of each kind that are listed, the largest amounts first."""


@attrs.frozen(kw_only=True)
class Match:
    """An attempt that the invoice has too; the lines of one attempt are added up.

    Where they are of an exchange, and do not say which of its attempts, it is all of these.
    """

    inference_id: str
    attempt: int | None
    """Its number; None where there are several, or none is known of."""
    line: int
    """The first that names it."""
    lines: int
    ending: str
    """Of the exchange, or ``RUNNING``."""
    evidence: str | None
    """Of the attempt; where there are several, of the exchange."""
    ours_nusd: int
    """Settled, overrun and adjustments."""
    theirs_nusd: int | None
    our_input_tokens: int
    their_input_tokens: int | None
    our_output_tokens: int
    their_output_tokens: int | None

    @property
    def difference_nusd(self) -> int:
        """What the provider bills beyond what was charged; 0 where the invoice has no amount."""
        return 0 if self.theirs_nusd is None else self.theirs_nusd - self.ours_nusd

    @property
    def is_equal(self) -> bool:
        """Whether all that the invoice says is what the ledger says."""
        return (
            self.ending != RUNNING
            and self.theirs_nusd in {None, self.ours_nusd}
            and self.their_input_tokens in {None, self.our_input_tokens}
            and self.their_output_tokens in {None, self.our_output_tokens}
        )


@attrs.frozen
class Unknown:
    """A line that belongs to no attempt that was looked at."""

    line: int
    id: str
    is_ambiguous: bool
    """Whether its id names several exchanges, so that it cannot be told to which it belongs."""
    theirs_nusd: int


@attrs.frozen
class Missing:
    """An attempt that was charged and is not on the invoice."""

    inference_id: str
    attempt: int
    provider: str
    model: str
    ending: str
    """Of the exchange."""
    evidence: str
    ours_nusd: int


@attrs.define
class Sums:
    """Attempts, or lines, and their amounts in nano-dollars; what the invoice has no amount of counts as ours."""

    count: int = 0
    ours_nusd: int = 0
    theirs_nusd: int = 0

    def add(self, ours_nusd: int, theirs_nusd: int) -> None:
        """Add one."""
        self.count += 1
        self.ours_nusd += ours_nusd
        self.theirs_nusd += theirs_nusd


class Largest(Generic[T]):
    """The largest of what is added, and how much was added in all."""

    def __init__(self, most: int) -> None:
        self.count = 0
        self._most = most
        self._kept: list[tuple[int, int, T]] = []
        self._order = count(0, -1)  # of equals the first are kept

    def add(self, size: int, value: T) -> None:
        """Add one of a size; amounts below nothing count as much as those above."""
        self.count += 1
        heapq.heappush(self._kept, (abs(size), next(self._order), value))
        if len(self._kept) > self._most:
            heapq.heappop(self._kept)

    def rows(self) -> list[T]:
        """Return what was kept, the largest first."""
        return [value for _, _, value in sorted(self._kept, key=lambda kept: kept[:2], reverse=True)]


@attrs.define
class Reconciliation:
    """What came of it."""

    lines: int
    """That were read."""
    equal: Sums
    differing: Sums
    by_ending: dict[str, Sums]
    """The differing ones."""
    differences: Largest[Match]
    unknown_sums: Sums
    unknown: Largest[Unknown]
    missing_sums: Sums
    missing: Largest[Missing]

    @property
    def agrees(self) -> bool:
        """Whether nothing differs."""
        return not (self.differing.count or self.unknown_sums.count or self.missing_sums.count)


def reconcile(tx: Transaction, ask: ReconcileAsk, lines: Iterable[InvoiceLine]) -> Reconciliation:
    """Lay an invoice beside the ledger (an operation that only reads; its tables are temporary).

    A line belongs to what its first known id names: our own an exchange, then the provider's for the request, then that
    for the response an attempt.
    """
    for table in _TABLES:
        tx.execute(table)
    tx.execute("INSERT INTO asked VALUES (?)", (ask.provider,))
    found = Reconciliation(
        _load(tx, lines), Sums(), Sums(), {}, Largest(ask.most), Sums(), Largest(ask.most), Sums(), Largest(ask.most)
    )
    _match(tx)
    _compare(tx, found)
    for line, id_, is_ambiguous, theirs in walk(tx, _UNKNOWN, (0,)):
        found.unknown_sums.add(0, theirs)
        found.unknown.add(theirs, Unknown(line, id_, bool(is_ambiguous), theirs))
    for missing in _missing(tx, ask):
        found.missing_sums.add(missing.ours_nusd, 0)
        found.missing.add(missing.ours_nusd, missing)
    return found


def _load(tx: Transaction, lines: Iterable[InvoiceLine]) -> int:
    rows = map(attrs.astuple, lines)
    loaded = 0
    while batch := list(islice(rows, _BATCH_LINES)):
        tx.executemany(_LINE, batch)
        loaded += len(batch)
    return loaded


def _match(tx: Transaction) -> None:
    tx.execute(_MATCH_OURS)
    for name in _THEIR_IDS:
        tx.execute(_INDEX.format(name=name))
        tx.execute("DELETE FROM named")
        tx.execute(_NAMED.format(name=name))
        tx.execute(_MATCH_THEIRS.format(name=name))
    tx.execute(_TOGETHER)
    tx.execute(_SUM_UP)


def _compare(tx: Transaction, found: Reconciliation) -> None:
    for row in walk(tx, _MATCHED, ("", 0)):
        inference_id, _, attempt, line, lines, ending, evidence, ours, theirs, *tokens = row
        match = Match(
            inference_id=inference_id,
            attempt=attempt,
            line=line,
            lines=lines,
            ending=ending or RUNNING,
            evidence=evidence,
            ours_nusd=ours or 0,
            theirs_nusd=theirs,
            our_input_tokens=tokens[0] or 0,
            their_input_tokens=tokens[1],
            our_output_tokens=tokens[2] or 0,
            their_output_tokens=tokens[3],
        )
        amounts = match.ours_nusd, match.ours_nusd + match.difference_nusd
        if match.is_equal:
            found.equal.add(*amounts)
            continue
        found.differing.add(*amounts)
        found.by_ending.setdefault(match.ending, Sums()).add(*amounts)
        found.differences.add(match.difference_nusd, match)


def _missing(tx: Transaction, ask: ReconcileAsk) -> Iterator[Missing]:
    sql = _MISSING.format(since=int(ask.period.since), until=int(ask.period.until))
    for _, *row in walk(tx, sql, (0,)):
        missing = Missing(*row)
        if missing.ours_nusd:
            yield missing

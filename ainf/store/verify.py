"""``verify``: every invariant of the ledger over the whole database, as seen by one reading transaction.

Memory stays bounded: large tables are walked in pages, and of each invariant only so many breaking rows are kept.
"""

import functools
from collections.abc import Callable, Iterator, Mapping
from itertools import groupby, islice
from typing import Any, Final, TypeAlias

import attrs
import msgspec

from ainf.inference.outcome import Evidence
from ainf.inference.usage import Usage
from ainf.ledger import LIFETIME_START
from ainf.pricing import Price, cost, price_from_canonical
from ainf.store.chain import chain_faults
from ainf.store.invariants import QUERIES, Query
from ainf.store.paging import walk
from ainf.store.transaction import Transaction

MOST_ROWS = 100


@attrs.frozen
class Finding:
    """One row that breaks an invariant."""

    invariant: str
    meaning: str
    """What holds where nothing is wrong."""
    row: Mapping[str, Any]


@attrs.frozen
class Invariant:
    """Something that must hold, and how the rows that break it are found."""

    name: str
    meaning: str
    breaking: Callable[[Transaction], Iterator[Mapping[str, Any]]]


def verify(tx: Transaction, most: int = MOST_ROWS) -> list[Finding]:
    """Return what breaks the ledger's invariants, at most ``most`` rows of each; nothing where all hold.

    It is an operation for a reading transaction, since it takes as long as the ledger is large.
    """
    return [
        Finding(invariant.name, invariant.meaning, row)
        for invariant in INVARIANTS
        for row in islice(invariant.breaking(tx), most)
    ]


def _by_query(query: Query) -> Invariant:
    def breaking(tx: Transaction) -> Iterator[Mapping[str, Any]]:
        for row in tx.execute(f"SELECT * FROM ({query.sql}) AS breaking LIMIT {MOST_ROWS}"):  # noqa: S608 - constants
            yield dict(zip(query.columns, row, strict=True))

    return Invariant(query.name, query.meaning, breaking)


# --- I4, C1: caps, replayed entry by entry ---

_ENTRIES = """
    SELECT e.seq, e.inference_id, e.kind, e.amount_nusd, i.key_id, i.account_path
    FROM entries AS e JOIN inferences AS i ON i.inference_id = e.inference_id
    WHERE e.seq > ? ORDER BY e.seq LIMIT ?
"""
_LIMITS = "SELECT after_seq, limit_nusd FROM cap_limits WHERE cap_id = ? ORDER BY after_seq DESC, at DESC"


class _CapReplay:
    """A cap's total as the entries move it, and the limit that is in force meanwhile."""

    def __init__(self, tx: Transaction, cap_id: str) -> None:
        self.cap_id = cap_id
        self.limit: int | None = None
        self.held = 0
        self.settled = 0
        self._later: list[tuple[int, int | None]] = [(row[0], row[1]) for row in tx.execute(_LIMITS, (cap_id,))]

    def broken_by(self, seq: int, kind: str, amount: int) -> bool:
        """Take the next entry; return whether it breaks the cap: only what sets money aside can."""
        while self._later and self._later[-1][0] < seq:
            self.limit = self._later.pop()[1]
        if kind in {"hold", "extend"}:
            self.held += amount
            return self.limit is not None and self.held + self.settled > self.limit
        if kind in {"settle", "release"}:
            self.held -= amount
        if kind in {"settle", "overrun", "adjustment"}:
            self.settled += amount
        return self.held < 0 or self.settled < 0


_Replays: TypeAlias = dict[tuple[str, str], _CapReplay]
"""By subject."""


def _replays(tx: Transaction) -> _Replays:
    caps = tx.execute("SELECT cap_id, subject, subject_id FROM caps")
    return {(subject, subject_id): _CapReplay(tx, cap_id) for cap_id, subject, subject_id in caps}


def _replay(tx: Transaction, replays: _Replays) -> Iterator[Mapping[str, Any]]:
    """Play the whole ledger, and yield every entry that breaks a cap."""
    for seq, inference_id, kind, amount, key_id, account_path in walk(tx, _ENTRIES, (0,)):
        for subject in (("key", key_id), *_accounts(account_path)):
            replay = replays.get(subject)
            if replay is not None and replay.broken_by(seq, kind, amount):
                yield {
                    "cap_id": replay.cap_id,
                    "seq": seq,
                    "inference_id": inference_id,
                    "total_nusd": replay.held + replay.settled,
                    "limit_nusd": replay.limit,
                }


def _over_caps(tx: Transaction) -> Iterator[Mapping[str, Any]]:
    return _replay(tx, _replays(tx))


def _wrong_counters(tx: Transaction) -> Iterator[Mapping[str, Any]]:
    replays = _replays(tx)
    for _ in _replay(tx, replays):
        pass  # whether a limit held is another question
    counters = {
        cap_id: (settled, held)
        for cap_id, settled, held in tx.execute(
            "SELECT c.cap_id, coalesce(n.settled_nusd, 0), coalesce(n.held_nusd, 0) FROM caps AS c"
            " LEFT JOIN counters AS n ON n.cap_id = c.cap_id AND n.window_start = ? WHERE c.removed_at IS NULL",
            (LIFETIME_START,),
        )
    }
    for replay in replays.values():
        settled, held = counters.get(replay.cap_id, (replay.settled, replay.held))
        if (settled, held) != (replay.settled, replay.held):
            yield {
                "cap_id": replay.cap_id,
                "settled_nusd": settled,
                "right_settled_nusd": replay.settled,
                "held_nusd": held,
                "right_held_nusd": replay.held,
            }


@functools.lru_cache(maxsize=4096)
def _accounts(path: str) -> tuple[tuple[str, str], ...]:
    try:
        return tuple(("account", account_id) for account_id in msgspec.json.decode(path, type=list[str]))
    except msgspec.DecodeError:
        return ()  # D1 tells of it


# --- I7: costs, recomputed from the prices ---

_TOKENS: Final = tuple(field.name for field in attrs.fields(Usage))
_TOKEN_COLUMNS: Final = ", ".join(f"s.{name}" for name in _TOKENS)
_ATTEMPTS = f"""
    SELECT a.inference_id, a.number, a.usage, a.evidence, a.cost_nusd, p.body, s.evidence, {_TOKEN_COLUMNS}
    FROM attempts AS a
    JOIN prices AS p ON p.price_version = a.price_version
    JOIN settlements AS s ON s.inference_id = a.inference_id
    WHERE (a.inference_id, a.number) > (?, ?) ORDER BY a.inference_id, a.number LIMIT ?
"""  # noqa: S608 - only names of columns are put in
_usage_decoder = msgspec.json.Decoder(Usage)


def _wrong_costs(tx: Transaction) -> Iterator[Mapping[str, Any]]:
    for inference_id, group in groupby(walk(tx, _ATTEMPTS, ("", 0)), key=lambda row: row[0]):
        total, settled, settled_evidence = Usage(), Usage(), Evidence.NONE
        for _, number, usage_json, evidence, cost_nusd, price_body, settled_evidence, *tokens in group:  # noqa: B007 - the same in all rows of the group
            settled = Usage(*tokens)
            usage, price = _usage(usage_json), _price(price_body)
            right = None if usage is None or price is None else cost(price, usage)
            if evidence == Evidence.REPORTED and cost_nusd != right:
                yield {"inference_id": inference_id, "attempt": number, "cost_nusd": cost_nusd, "right_nusd": right}
            total += usage or Usage()
        if settled_evidence != Evidence.NONE and total != settled:
            yield {"inference_id": inference_id, "usage": attrs.asdict(settled), "attempts": attrs.asdict(total)}


def _usage(text: str) -> Usage | None:
    try:
        return _usage_decoder.decode(text)
    except msgspec.DecodeError:
        return None


@functools.lru_cache(maxsize=4096)
def _price(body: str) -> Price | None:
    try:
        return price_from_canonical(body.encode())
    except (ValueError, TypeError):  # not JSON of integers; not the fields of a price
        return None


def _wrong_prices(tx: Transaction) -> Iterator[Mapping[str, Any]]:
    for version, body in walk(
        tx, "SELECT price_version, body FROM prices WHERE price_version > ? ORDER BY price_version LIMIT ?", ("",)
    ):
        price = _price(body)
        if price is None or price.version != version:
            yield {"price_version": version, "body": body}


# --- what the audit trail says, and what the tables say ---

_SAID: Final = (
    "settled_at", "ending", "error_code", "finish_reason", "evidence", "held_nusd", "settled_nusd", "overrun_nusd",
    "output_bytes", "received_bytes", "key_id", "account_id",
)  # fmt: skip
_SETTLEMENTS = f"""
    SELECT s.inference_id, e.body, {_TOKEN_COLUMNS}, s.settled_at, s.ending, s.error_code, s.finish_reason, s.evidence,
        s.held_nusd, s.settled_nusd, s.overrun_nusd, s.output_bytes, s.received_bytes, i.key_id, i.account_id
    FROM settlements AS s
    JOIN inferences AS i ON i.inference_id = s.inference_id
    JOIN audit_events AS e ON e.inference_id = s.inference_id AND e.kind = 'inference.closed'
    WHERE s.inference_id > ? ORDER BY s.inference_id LIMIT ?
"""  # noqa: S608 - only names of columns are put in


def _differing_events(tx: Transaction) -> Iterator[Mapping[str, Any]]:
    for inference_id, body, *columns in walk(tx, _SETTLEMENTS, ("",)):
        try:
            event = msgspec.json.decode(body, type=dict[str, Any])
            # Kinds of tokens that an older version did not know were none.
            usage = msgspec.convert(event["usage"], Usage)
            said = [*attrs.astuple(usage), *(event[name] for name in _SAID)]
        except (msgspec.DecodeError, KeyError):
            yield {"inference_id": inference_id, "differs": "the event cannot be read"}
            continue
        differing = [name for name, one, other in zip((*_TOKENS, *_SAID), said, columns, strict=True) if one != other]
        if differing:
            yield {"inference_id": inference_id, "differs": ", ".join(differing)}


def _broken_chains(tx: Transaction) -> Iterator[Mapping[str, Any]]:
    return ({"fault": fault} for fault in chain_faults(tx))


INVARIANTS: Final = (
    *map(_by_query, QUERIES),
    Invariant("I4", "no hold or extension takes a cap above the limit in force; no total is negative", _over_caps),
    Invariant("I7", "reported usage costs what its price says, and attempts' usage adds up", _wrong_costs),
    Invariant("I11", "the audit chains are gapless, linked and whole", _broken_chains),
    Invariant("C1", "a cap's counter is the sum of the entries under it", _wrong_counters),
    Invariant("P1", "a price is stored under the digest of its content", _wrong_prices),
    Invariant("A1", "a closing event says what the settlement says", _differing_events),
)

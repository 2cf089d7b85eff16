"""The receipt of an exchange: what an account may read of it, open or settled.

A settled one is told from its closing event, so that what the receipt says is what the audit chain's hash covers.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import attrs
import msgspec

from ainf.inference.moments import rfc3339
from ainf.inference.usage import Usage
from ainf.ledger import LIFETIME_START
from ainf.store import attempts, burn, counters
from ainf.store.attempts import OpenedAttempt
from ainf.store.counters import CounterKey
from ainf.store.decisions import Decided, decision_of
from ainf.store.spooled import SpooledClosing
from ainf.store.transaction import Row, Transaction

_CLOSED = "SELECT body, hash, prev_hash FROM audit_events WHERE inference_id = ? AND kind = 'inference.closed'"

_ADJUSTED = "SELECT amount_nusd, at FROM entries WHERE inference_id = ? AND kind = 'adjustment' ORDER BY seq"

_OPEN_NAMES: Final = (
    "opened_at", "key_id", "account", "account_id", "protocol", "path", "stream", "requested_model", "clamp_tokens",
    "labels", "caps", "held_nusd", "output_bytes",
)  # fmt: skip
_OPEN = """
    SELECT h.attempt, h.progress_usage, h.progress_nusd, i.opened_at, i.key_id, a.name, i.account_id, i.protocol,
        i.path, i.stream, i.requested_model, i.clamp_tokens, i.labels, i.caps, h.held_nusd, h.output_bytes
    FROM holds AS h
    JOIN inferences AS i ON i.inference_id = h.inference_id
    JOIN accounts AS a ON a.account_id = i.account_id
    WHERE h.inference_id = ?
"""
_ENDED = "SELECT ended FROM later_attempts WHERE inference_id = ?"

_FROM_EVENT: Final = (
    "inference_id", "account", "account_id", "key_id", "protocol", "path", "stream", "requested_model", "router",
    "model", "provider", "ending", "error_code", "finish_reason", "evidence", "usage", "held_nusd", "settled_nusd",
    "released_nusd", "overrun_nusd", "output_bytes", "received_bytes", "price_version", "clamp_tokens", "labels",
    "notes", "retry_of", "is_empty",
)  # fmt: skip
_FROM_ATTEMPT: Final = (
    "model", "upstream_model", "provider", "status", "error_code", "evidence", "usage", "cost_nusd", "price_version",
    "provider_request_id", "response_id", "raw_finish_reason", "redials", "aborted_billing",
)  # fmt: skip
_FROM_CLOSING: Final = (
    "ending", "error_code", "finish_reason", "evidence", "usage", "output_bytes", "received_bytes", "notes",
)  # fmt: skip
_FROM_RECORD: Final = (
    "account_id", "key_id", "protocol", "path", "stream", "requested_model", "router", "held_nusd", "clamp_tokens",
    "labels",
)  # fmt: skip
_FROM_ROUTING: Final = ("status", "served", "decision_sha256")
_NO_USAGE: Final = attrs.asdict(Usage())
# What earlier versions did not write into their events.
_OLD_EVENT: Final[Mapping[str, Any]] = {"retry_of": None, "is_empty": False, "router": None, "routing": {}}
_OLD_ATTEMPT: Final[Mapping[str, Any]] = {"aborted_billing": None}

_CAP_NAMES: Final = ("cap_id", "kind", "of", "window", "model")
_CAPS = """
    SELECT c.cap_id, c.kind, c.subject || ' ' || coalesce(a.name, c.subject_id), c."window", c.model
    FROM caps AS c LEFT JOIN accounts AS a ON c.subject = 'account' AND a.account_id = c.subject_id
    WHERE c.cap_id IN ({marks})
"""


def receipt(tx: Transaction, inference_id: str) -> dict[str, Any] | None:
    """Return the receipt of an exchange, or None where there is no such exchange (an operation).

    Its keys are the wire's: amounts are nano-dollars, qualities thousandths, times RFC 3339 in UTC. ``account_id`` is
    whose it is: others must not see it. Of an open one, ``usage`` and ``output_bytes`` are its last durable progress,
    and what only an end can say is None; its ``attempts`` are those that were opened, with what is known of them.

    ``router`` is the routing target that the model was chosen from, or "direct" where the request named the model; None
    where a version ended it that knew no targets. ``routing``, None but for those that were chosen, is the decision as
    ``decisions.Decided`` has it, without what the key may not use: it does not learn of that. With it stand ``status``
    (a ``routing.outcome.RoutingStatus``), ``served`` (the number of the attempt that answered, or was tried last) and
    ``decision_sha256``, by which ``hash`` covers the decision too; these three are None while it is open.

    ``spooled`` is set where it ended and the database has yet to take it: see ``spooled_receipt``.
    """
    row = tx.one(_CLOSED, (inference_id,))
    if row is not None:
        return _settled(tx, inference_id, *row)
    row = tx.one(_OPEN, (inference_id,))
    return None if row is None else _open(tx, inference_id, row)


def spooled_receipt(record: SpooledClosing, found: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the receipt of an exchange whose closing waits in the spool: settled, and in no audit chain yet.

    Args:
        record: what waits.
        found: the receipt that the database gives; None where that cannot be read: then its caps and its routing are
            not known, and of what is held only what its own process knew.
    """
    if found is not None and found["state"] == "settled":
        return dict(found)
    closing = record.told
    known = _known(record) if found is None else found
    division = record.division(known["held_nusd"])
    told: dict[str, Any] = msgspec.to_builtins(closing)
    return {
        **known,
        **{name: told[name] for name in _FROM_CLOSING},
        "state": "settled",
        "spooled": True,
        "model": record.model,
        "provider": record.provider,
        "price_version": record.price_version,
        "settled_nusd": division.settled_nusd,
        "released_nusd": division.released_nusd,
        "overrun_nusd": division.overrun_nusd,
        "is_empty": burn.is_empty(closing, division),
        "attempts": [_attempt(line) for line in told["attempts"]],
        "settled_at": rfc3339(closing.at),
    }


def _known(record: SpooledClosing) -> dict[str, Any]:
    """Return what a record tells of its exchange besides its end."""
    return {
        **dict.fromkeys(_FROM_EVENT),
        **{name: getattr(record, name) for name in _FROM_RECORD},
        "inference_id": record.closing.inference_id,
        "account": record.account_name,
        "caps": [],
        "routing": None,
        "adjustments": [],
        "opened_at": rfc3339(record.opened_at),
        "hash": None,
        "prev_hash": None,
    }


def _settled(tx: Transaction, inference_id: str, body: str, hash_: str, prev_hash: str) -> dict[str, Any]:
    event = {**_OLD_EVENT, **msgspec.json.decode(body, type=dict[str, Any])}
    adjusted = tx.execute(_ADJUSTED, (inference_id,))
    return {
        "state": "settled",
        "spooled": False,
        **{name: event[name] for name in _FROM_EVENT},
        "usage": _usage(event["usage"]),
        "caps": _caps(tx, event["caps"]),
        "routing": _routing(decision_of(tx, inference_id), event["routing"]),
        "attempts": [_attempt(line) for line in event["attempts"]],
        "adjustments": [{"amount_nusd": amount, "at": rfc3339(at)} for amount, at in adjusted],
        "opened_at": rfc3339(event["opened_at"]),
        "settled_at": rfc3339(event["settled_at"]),
        "hash": hash_,
        "prev_hash": prev_hash,
    }


def _routing(decided: Decided | None, told: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return what an account may read of a decision, with what the closing event told of it."""
    if decided is None:
        return None
    made: dict[str, Any] = msgspec.to_builtins(decided)
    del made["barred"]
    return {**{name: told.get(name) for name in _FROM_ROUTING}, **made}


def _attempt(line: Mapping[str, Any]) -> dict[str, Any]:
    line = {**_OLD_ATTEMPT, **line}
    return {
        **{name: line[name] for name in _FROM_ATTEMPT},
        "usage": _usage(line["usage"]),
        "started_at": rfc3339(line["started_at"]),
        "ended_at": rfc3339(line["ended_at"]),
    }


def _open(tx: Transaction, inference_id: str, row: Row) -> dict[str, Any]:
    progress = _Progress(*row[:3])
    known = dict(zip(_OPEN_NAMES, row[3:], strict=True))
    opened = attempts.opened(tx, inference_id)
    last = opened[-1]
    decided = decision_of(tx, inference_id)
    return {
        "state": "open",
        "spooled": False,
        **dict.fromkeys(_FROM_EVENT),
        **known,
        "inference_id": inference_id,
        "stream": bool(known["stream"]),
        "router": "direct" if decided is None else decided.target,
        "model": last.model,
        "provider": last.provider,
        "price_version": last.price_version,
        "usage": progress.usage,
        "labels": msgspec.json.decode(known["labels"]),
        "caps": _caps(tx, counters.from_json(known["caps"])),
        "notes": {},
        "routing": _routing(decided, {}),
        "attempts": _opened_attempts(tx, inference_id, opened, progress),
        "adjustments": [],
        "opened_at": rfc3339(known["opened_at"]),
        "settled_at": None,
        "hash": None,
        "prev_hash": None,
    }


class _Progress(msgspec.Struct, frozen=True, gc=False):
    """The last durable progress of an open exchange."""

    attempt: int
    usage_json: str | None
    """None: there is none yet."""
    cost_nusd: int | None

    def is_of(self, attempt: OpenedAttempt) -> bool:
        return self.usage_json is not None and attempt.number == self.attempt

    @property
    def usage(self) -> dict[str, int]:
        return _usage({} if self.usage_json is None else msgspec.json.decode(self.usage_json))


def _opened_attempts(
    tx: Transaction, inference_id: str, opened: Sequence[OpenedAttempt], progress: _Progress
) -> list[dict[str, Any]]:
    """Return the attempts of an open exchange: what was known before their dial, and the costs known since."""
    costs = {progress.attempt: progress.cost_nusd}
    for (ended,) in tx.execute(_ENDED, (inference_id,)):
        costs.update(msgspec.json.decode(ended, type=list[tuple[int, int]]))
    return [
        {
            **dict.fromkeys(_FROM_ATTEMPT),
            "model": attempt.model,
            "upstream_model": attempt.upstream_model,
            "provider": attempt.provider,
            "usage": progress.usage if progress.is_of(attempt) else None,
            "cost_nusd": costs.get(attempt.number),
            "price_version": attempt.price_version,
            "started_at": rfc3339(attempt.opened_at),
            "ended_at": None,
        }
        for attempt in opened
    ]


def _caps(tx: Transaction, counted: Sequence[CounterKey]) -> list[dict[str, Any]]:
    """Return the caps and the balance that an exchange counts on, each with the start of the window it counts in."""
    if not counted:
        return []
    rows = tx.execute(_CAPS.format(marks=", ".join("?" * len(counted))), [cap_id for cap_id, _ in counted])
    caps = {row[0]: dict(zip(_CAP_NAMES, row, strict=True)) for row in rows}
    return [
        {**caps[cap_id], "window_start": None if start == LIFETIME_START else rfc3339(start)}
        for cap_id, start in counted
    ]


def _usage(told: Mapping[str, int]) -> dict[str, int]:
    """Return usage with every kind of token: those that an older version did not write down were none."""
    return {**_NO_USAGE, **told}

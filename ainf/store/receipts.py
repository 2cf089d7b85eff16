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
from ainf.store import counters
from ainf.store.counters import CounterKey
from ainf.store.transaction import Row, Transaction

_CLOSED = "SELECT body, hash, prev_hash FROM audit_events WHERE inference_id = ? AND kind = 'inference.closed'"

_ADJUSTED = "SELECT amount_nusd, at FROM entries WHERE inference_id = ? AND kind = 'adjustment' ORDER BY seq"

_OPEN_NAMES: Final = (
    "opened_at", "key_id", "account", "account_id", "protocol", "path", "stream", "requested_model", "model",
    "provider", "price_version", "clamp_tokens", "labels", "caps", "held_nusd", "usage", "output_bytes",
)  # fmt: skip
_OPEN = """
    SELECT i.opened_at, i.key_id, a.name, i.account_id, i.protocol, i.path, i.stream, i.requested_model, i.model,
        i.provider, i.price_version, i.clamp_tokens, i.labels, i.caps, h.held_nusd, h.progress_usage, h.output_bytes
    FROM holds AS h
    JOIN inferences AS i ON i.inference_id = h.inference_id
    JOIN accounts AS a ON a.account_id = i.account_id
    WHERE h.inference_id = ?
"""

_FROM_EVENT: Final = (
    "inference_id", "account", "account_id", "key_id", "protocol", "path", "stream", "requested_model", "model",
    "provider", "ending", "error_code", "finish_reason", "evidence", "usage", "held_nusd", "settled_nusd",
    "released_nusd", "overrun_nusd", "output_bytes", "received_bytes", "price_version", "clamp_tokens", "labels",
    "notes", "retry_of", "is_empty",
)  # fmt: skip
_FROM_ATTEMPT: Final = (
    "model", "upstream_model", "provider", "status", "error_code", "evidence", "usage", "cost_nusd", "price_version",
    "provider_request_id", "response_id", "raw_finish_reason", "redials", "aborted_billing",
)  # fmt: skip
_NO_USAGE: Final = attrs.asdict(Usage())
# What earlier versions did not write into their events.
_OLD_EVENT: Final[Mapping[str, Any]] = {"retry_of": None, "is_empty": False}
_OLD_ATTEMPT: Final[Mapping[str, Any]] = {"aborted_billing": None}

_CAP_NAMES: Final = ("cap_id", "kind", "of", "window", "model")
_CAPS = """
    SELECT c.cap_id, c.kind, c.subject || ' ' || coalesce(a.name, c.subject_id), c."window", c.model
    FROM caps AS c LEFT JOIN accounts AS a ON c.subject = 'account' AND a.account_id = c.subject_id
    WHERE c.cap_id IN ({marks})
"""


def receipt(tx: Transaction, inference_id: str) -> dict[str, Any] | None:
    """Return the receipt of an exchange, or None where there is no such exchange (an operation).

    Its keys are the wire's: amounts are nano-dollars, times RFC 3339 in UTC. ``account_id`` is whose it is: others
    must not see it. Of an open one, ``usage`` and ``output_bytes`` are its last durable progress, and what only an end
    can say is None.
    """
    row = tx.one(_CLOSED, (inference_id,))
    if row is not None:
        return _settled(tx, inference_id, *row)
    row = tx.one(_OPEN, (inference_id,))
    return None if row is None else _open(tx, inference_id, row)


def _settled(tx: Transaction, inference_id: str, body: str, hash_: str, prev_hash: str) -> dict[str, Any]:
    event = {**_OLD_EVENT, **msgspec.json.decode(body, type=dict[str, Any])}
    adjusted = tx.execute(_ADJUSTED, (inference_id,))
    return {
        "state": "settled",
        **{name: event[name] for name in _FROM_EVENT},
        "usage": _usage(event["usage"]),
        "caps": _caps(tx, event["caps"]),
        "attempts": [_attempt(line) for line in event["attempts"]],
        "adjustments": [{"amount_nusd": amount, "at": rfc3339(at)} for amount, at in adjusted],
        "opened_at": rfc3339(event["opened_at"]),
        "settled_at": rfc3339(event["settled_at"]),
        "hash": hash_,
        "prev_hash": prev_hash,
    }


def _attempt(line: Mapping[str, Any]) -> dict[str, Any]:
    line = {**_OLD_ATTEMPT, **line}
    return {
        **{name: line[name] for name in _FROM_ATTEMPT},
        "usage": _usage(line["usage"]),
        "started_at": rfc3339(line["started_at"]),
        "ended_at": rfc3339(line["ended_at"]),
    }


def _open(tx: Transaction, inference_id: str, row: Row) -> dict[str, Any]:
    known = dict(zip(_OPEN_NAMES, row, strict=True))
    return {
        "state": "open",
        **dict.fromkeys(_FROM_EVENT),
        **known,
        "inference_id": inference_id,
        "stream": bool(known["stream"]),
        "usage": _usage({} if known["usage"] is None else msgspec.json.decode(known["usage"])),
        "labels": msgspec.json.decode(known["labels"]),
        "caps": _caps(tx, counters.from_json(known["caps"])),
        "notes": {},
        "attempts": [],
        "adjustments": [],
        "opened_at": rfc3339(known["opened_at"]),
        "settled_at": None,
        "hash": None,
        "prev_hash": None,
    }


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

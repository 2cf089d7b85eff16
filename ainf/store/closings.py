"""I7, A1, the amounts of I16 and R1's events: what was settled, beside prices, attempts, routing and the audit trail.

Strategy: settlements and attempts are walked side by side in the order of their exchanges, so that everything that is
known of one end is looked at together.
"""

import functools
from collections.abc import Iterator, Mapping
from itertools import groupby
from operator import itemgetter
from typing import Any, Final

import attrs
import msgspec

from ainf.inference.outcome import Ending, Evidence
from ainf.inference.usage import Usage
from ainf.pricing import Price, cost, price_from_canonical
from ainf.routing.outcome import status_of
from ainf.store.invariants import Breach, Check, Invariant, Reading
from ainf.store.routing import decision_digest
from ainf.store.transaction import Row

COSTS_AS_PRICED: Final = Invariant("I7", "reported usage costs what its price says, and attempts' usage adds up")
EVENTS_AGREE: Final = Invariant("A1", "a closing event says what the exchange, its settlement and its attempts say")
ROUTED_AS_TOLD: Final = Invariant(
    "R1",
    "a closing event says how its model was chosen: `direct`, or the target with status, attempt, ruleset, decision",
)
ADJUSTED_AS_TOLD: Final = Invariant("I16", "an adjusting event names the amount that was posted, over all attempts")
PRICES_BY_CONTENT: Final = Invariant("P1", "a price is stored under the digest of its content")

DIRECT: Final = "direct"
"""What stands for a router where a model was pinned."""
_ENDINGS: Final = frozenset(Ending)
_TOKENS: Final = tuple(field.name for field in attrs.fields(Usage))
# Columns of the settlement (s) and of the exchange (i), as the closing event names them too.
_SAID: Final = {
    "settled_at": "s.settled_at", "ending": "s.ending", "error_code": "s.error_code",
    "finish_reason": "s.finish_reason", "evidence": "s.evidence", "held_nusd": "s.held_nusd",
    "settled_nusd": "s.settled_nusd", "overrun_nusd": "s.overrun_nusd", "output_bytes": "s.output_bytes",
    "received_bytes": "s.received_bytes", "epoch": "s.epoch", "opened_at": "i.opened_at", "opened_in_epoch": "i.epoch",
    "key_id": "i.key_id", "account_id": "i.account_id", "protocol": "i.protocol", "path": "i.path",
    "stream": "i.stream", "requested_model": "i.requested_model", "input_bytes": "i.input_bytes",
    "input_estimate": "i.input_estimate", "clamp_tokens": "i.clamp_tokens", "sdk_retry_count": "i.sdk_retry_count",
}  # fmt: skip
_SAID_LATER: Final = {"retry_of": "s.retry_of", "is_empty": "s.is_empty"}
"""What events of older versions do not have: absent is nothing."""
_SAID_AS_JSON: Final = {
    "account_path": "i.account_path", "caps": "i.caps", "labels": "i.labels", "notes": "s.notes",
}  # fmt: skip
_SAID_OF_SERVED: Final = ("model", "provider", "price_version")
"""Said by an event of the attempt that answered or was tried last."""
_ROUTED: Final = {
    "target": "d.target", "ruleset": "d.ruleset", "decision": "d.body", "outcome_status": "o.status",
    "outcome_model": "o.model", "outcome_provider": "o.provider",
}  # fmt: skip
"""How it was routed, and what became of it; all null where its model was pinned."""
_COLUMNS: Final = (
    *(f"s.{name}" for name in _TOKENS), *_SAID.values(), *_SAID_LATER.values(), *_SAID_AS_JSON.values(),
    *(f"i.{name}" for name in _SAID_OF_SERVED), *_ROUTED.values(), "i.fingerprint", "e.body",
)  # fmt: skip
_NAMES: Final = (
    "inference_id", *_TOKENS, *_SAID, *_SAID_LATER, *_SAID_AS_JSON, *_SAID_OF_SERVED, *_ROUTED, "fingerprint", "event",
)  # fmt: skip
_CLOSINGS: Final = f"""
    SELECT s.inference_id, {", ".join(_COLUMNS)}
    FROM settlements AS s
    JOIN inferences AS i ON i.inference_id = s.inference_id
    LEFT JOIN routing_decisions AS d ON d.inference_id = s.inference_id
    LEFT JOIN routing_outcomes AS o ON o.inference_id = s.inference_id
    LEFT JOIN audit_events AS e ON e.inference_id = s.inference_id AND e.kind = 'inference.closed'
    WHERE s.inference_id > ? ORDER BY s.inference_id LIMIT ?
"""  # noqa: S608 - only names of columns are put in
_ATTEMPT: Final = (
    "inference_id", "number", "model", "upstream_model", "provider", "price_version", "started_at", "ended_at",
    "status", "error_code", "provider_request_id", "response_id", "raw_usage", "raw_finish_reason", "evidence",
    "cost_nusd", "redials", "aborted_billing", "usage",
)  # fmt: skip
_SAID_OF_ATTEMPT: Final = _ATTEMPT[2:-1]
_ATTEMPTS: Final = f"""
    SELECT {", ".join(f"a.{name}" for name in _ATTEMPT)}, p.body
    FROM attempts AS a LEFT JOIN prices AS p ON p.price_version = a.price_version
    WHERE (a.inference_id, a.number) > (?, ?) ORDER BY a.inference_id, a.number LIMIT ?
"""  # noqa: S608 - as above
_ADJUSTED: Final = """
    SELECT e.inference_id, e.body, sum(n.amount_nusd)
    FROM audit_events AS e JOIN entries AS n ON n.inference_id = e.inference_id AND n.kind = 'adjustment'
    WHERE e.kind = 'inference.adjusted' AND e.inference_id > ?
    GROUP BY e.inference_id, e.body ORDER BY e.inference_id LIMIT ?
"""
_PRICES: Final = "SELECT price_version, body FROM prices WHERE price_version > ? ORDER BY price_version LIMIT ?"

_usage_decoder = msgspec.json.Decoder(Usage)
_object_decoder = msgspec.json.Decoder(dict[str, Any])
_json_decoder = msgspec.json.Decoder()


@attrs.frozen
class _Attempt:
    """An attempt's row: its columns by name, its usage as far as it can be read, and the body of its price."""

    columns: Mapping[str, Any]
    usage: Usage | None
    price_body: str | None

    @classmethod
    def of(cls, row: Row) -> "_Attempt":
        columns = dict(zip(_ATTEMPT, row[:-1], strict=True))
        return cls(columns, _usage(columns["usage"]), row[-1])

    def breaches(self) -> Iterator[Breach]:
        """Yield the breach where its reported usage does not cost what the price says."""
        price = None if self.price_body is None else _price(self.price_body)
        right = None if self.usage is None or price is None else cost(price, self.usage)
        if self.columns["evidence"] == Evidence.REPORTED and self.columns["cost_nusd"] != right:
            yield (
                COSTS_AS_PRICED,
                {
                    "inference_id": self.columns["inference_id"],
                    "attempt": self.columns["number"],
                    "cost_nusd": self.columns["cost_nusd"],
                    "right_nusd": right,
                },
            )

    def is_told_by(self, told: object) -> bool:
        """Whether an event says of this attempt what its row says."""
        return (
            isinstance(told, dict)
            and all(told.get(name) == self.columns[name] for name in _SAID_OF_ATTEMPT)
            and self.usage is not None
            and _tells_usage(told.get("usage"), attrs.astuple(self.usage))
        )


def _end_breaches(closing: Mapping[str, Any], attempts: list[_Attempt]) -> Iterator[Breach]:
    inference_id = closing["inference_id"]
    for attempt in attempts:
        yield from attempt.breaches()
    settled = {name: closing[name] for name in _TOKENS}
    total = attrs.asdict(sum((attempt.usage or Usage() for attempt in attempts), Usage()))
    if attempts and closing["evidence"] != Evidence.NONE and total != settled:
        yield COSTS_AS_PRICED, {"inference_id": inference_id, "usage": settled, "attempts": total}
    if closing["event"] is not None:  # I1 tells of one that is not there
        told = _object(closing["event"])
        differing = ["the event cannot be read"] if told is None else _differences(told, closing, attempts)
        if differing:
            yield EVENTS_AGREE, {"inference_id": inference_id, "differs": ", ".join(differing)}
        if not _tells_routing(told or {}, closing):
            yield ROUTED_AS_TOLD, {"inference_id": inference_id, "target": closing["target"] or "direct"}


def _differences(told: Mapping[str, Any], closing: Mapping[str, Any], attempts: list[_Attempt]) -> list[str]:
    """Return the names of what the closing event says otherwise than the tables."""
    differing = [name for name in _SAID if name not in told or told[name] != closing[name]]
    differing += [name for name in _SAID_LATER if (told.get(name) or None) != (closing[name] or None)]
    differing += [name for name in _SAID_AS_JSON if name not in told or told[name] != _value(closing[name])]
    if told.get("fingerprint") != closing["fingerprint"].hex():
        differing.append("fingerprint")
    if not _tells_usage(told.get("usage"), [closing[name] for name in _TOKENS]):
        differing.append("usage")
    said = told.get("attempts")
    if not (
        isinstance(said, list)
        and len(said) == len(attempts)
        and all(attempt.is_told_by(one) for one, attempt in zip(said, attempts, strict=True))
    ):
        differing.append("attempts")
    served = [attempt.columns for attempt in attempts] or [closing]
    if not any(all(told.get(name) == one[name] for name in _SAID_OF_SERVED) for one in served):
        differing.append("who answered")
    return differing


def _tells_routing(told: Mapping[str, Any], closing: Mapping[str, Any]) -> bool:
    """Whether an event says how its exchange was routed; of a pinned one those of older versions say nothing."""
    if closing["target"] is None:
        return told.get("router", DIRECT) == DIRECT and "routing" not in told
    said = told.get("routing")
    if told.get("router") != closing["target"] or not isinstance(said, dict):
        return False
    served, ending = said.get("served"), closing["ending"]
    return (
        said.get("ruleset") == closing["ruleset"]
        and said.get("decision_sha256") == decision_digest(closing["decision"])
        and said.get("status") == closing["outcome_status"]
        and (told.get("model"), told.get("provider")) == (closing["outcome_model"], closing["outcome_provider"])
        and isinstance(served, int)
        and ending in _ENDINGS
        and said.get("status") == status_of(Ending(ending), served)
    )


def _tells_usage(told: object, tokens: tuple[int, ...] | list[int]) -> bool:
    """Whether an event's usage is this one; kinds of tokens that an older version did not know were none."""
    return isinstance(told, dict) and all(
        told.get(name, 0) == count for name, count in zip(_TOKENS, tokens, strict=True)
    )


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


def _object(text: str) -> dict[str, Any] | None:
    try:
        return _object_decoder.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return None


@functools.lru_cache(maxsize=4096)
def _value(text: str) -> object:
    try:
        return _json_decoder.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return None


def _breaches(reading: Reading) -> Iterator[Breach]:
    attempts = groupby(reading.walk(_ATTEMPTS, ("", 0)), key=itemgetter(0))
    group = next(attempts, None)
    for row in reading.walk(_CLOSINGS, ("",)):
        while group is not None and group[0] < row[0]:
            group = next(attempts, None)  # D1 tells of attempts without a settlement
        own = [_Attempt.of(one) for one in group[1]] if group is not None and group[0] == row[0] else []
        yield from _end_breaches(dict(zip(_NAMES, row, strict=True)), own)


def _wrong_adjustments(reading: Reading) -> Iterator[Breach]:
    for inference_id, body, amount in reading.walk(_ADJUSTED, ("",)):
        told = (_object(body) or {}).get("adjustment_nusd")
        if told != amount:
            yield ADJUSTED_AS_TOLD, {"inference_id": inference_id, "posted_nusd": amount, "told_nusd": told}


def _wrong_prices(reading: Reading) -> Iterator[Breach]:
    for version, body in reading.walk(_PRICES, ("",)):
        price = _price(body)
        if price is None or price.version != version:
            yield PRICES_BY_CONTENT, {"price_version": version, "body": body}


CLOSINGS: Final = Check((COSTS_AS_PRICED, EVENTS_AGREE, ROUTED_AS_TOLD), _breaches)
ADJUSTMENTS: Final = Check((ADJUSTED_AS_TOLD,), _wrong_adjustments)
PRICES: Final = Check((PRICES_BY_CONTENT,), _wrong_prices)

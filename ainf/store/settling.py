"""The operation that ends an exchange: settlement, entries, counters and audit event, once.

Exactly-once is structural: settlement and closing event have the inference id as their key, and a closing that finds a
settlement returns it. Only when recovery was first (``abandoned``) and the exchange turns out to have ended otherwise
is anything added: the difference, as one ``adjustment``, with an event ``inference.adjusted``.
"""

from typing import Any

import msgspec

from ainf import audit
from ainf.inference.outcome import Ending
from ainf.inference.usage import Usage
from ainf.ledger import Division, EntryKind, divide
from ainf.store import burn, claims, counters
from ainf.store.base import AttemptResult, Closing, Settlement
from ainf.store.transaction import Transaction

_FACTS = """
    SELECT h.held_nusd, i.opened_at, i.epoch, i.key_id, i.account_id, a.name, i.account_path, i.caps, i.protocol,
        i.path, i.stream, i.requested_model, i.model, i.provider, i.price_version, i.input_bytes, i.input_estimate,
        i.clamp_tokens, i.fingerprint, i.sdk_retry_count, i.labels,
        EXISTS (SELECT 1 FROM claims AS c WHERE c.inference_id = i.inference_id AND c.state = 'running'),
        EXISTS (
            SELECT 1 FROM inferences AS e WHERE e.account_id = i.account_id AND e.fingerprint = i.fingerprint
                AND e.opened_at BETWEEN i.opened_at - ? AND i.opened_at AND e.inference_id <> i.inference_id
        )
    FROM inferences AS i
    JOIN accounts AS a ON a.account_id = i.account_id
    LEFT JOIN holds AS h ON h.inference_id = i.inference_id
    WHERE i.inference_id = ?
"""

_SETTLED = """
    SELECT s.ending, s.held_nusd, s.settled_nusd, s.overrun_nusd, s.retry_of, s.is_empty, e.hash, e.prev_hash
    FROM settlements AS s
    JOIN audit_events AS e ON e.inference_id = s.inference_id AND e.kind = 'inference.closed'
    WHERE s.inference_id = ?
"""

_SETTLEMENT = """
    INSERT INTO settlements (inference_id, settled_at, epoch, ending, error_code, finish_reason, evidence, input_tokens,
        cached_input_tokens, output_tokens, reasoning_tokens, cache_write_tokens, long_cache_write_tokens,
        audio_input_tokens, audio_output_tokens, held_nusd, settled_nusd, overrun_nusd, output_bytes, received_bytes,
        notes, retry_of, is_empty)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""

_ATTEMPT = """
    INSERT INTO attempts (inference_id, number, model, upstream_model, provider, price_version, started_at, ended_at,
        status, error_code, provider_request_id, response_id, raw_usage, raw_finish_reason, usage, evidence, cost_nusd,
        redials, aborted_billing)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""


class _Facts(msgspec.Struct, frozen=True, gc=False):
    """An exchange as it was opened, and what it holds now (None: it is settled)."""

    held_nusd: int | None
    opened_at: int
    epoch: int
    key_id: str
    account_id: str
    account_name: str
    account_path: str
    caps: str
    protocol: str
    path: str
    stream: int
    requested_model: str
    model: str
    provider: str
    price_version: str
    input_bytes: int
    input_estimate: int
    clamp_tokens: int | None
    fingerprint: bytes
    sdk_retry_count: int | None
    labels: str
    is_claimed: int
    """An idempotency key names it."""
    is_repeated: int
    """The same account asked the same not long before: whether that was burnt is worth a closer look."""


def close_inference(tx: Transaction, closing: Closing) -> Settlement:
    """Settle an exchange; a repeated closing returns the first's settlement."""
    row = tx.one(_FACTS, (burn.SDK_RETRIED_WITHIN_US, closing.inference_id))
    assert row is not None, f"{closing.inference_id} was never opened"
    facts = _Facts(*row)
    if facts.held_nusd is None:
        return _already_settled(tx, closing, facts)
    division = divide(facts.held_nusd, closing.cost_nusd)
    tx.execute("DELETE FROM holds WHERE inference_id = ?", (closing.inference_id,))
    counters.move(
        tx,
        counters.from_json(facts.caps),
        held=-facts.held_nusd,
        settled=division.settled_nusd + division.overrun_nusd,
    )
    _insert_entries(tx, closing, facts, division)
    for number, attempt in enumerate(closing.attempts, 1):
        tx.execute(_ATTEMPT, _attempt_row(closing.inference_id, number, attempt))
    before = _asked_before(tx, closing, facts)
    retry_of = before.inference_id if before is not None else None
    is_empty = burn.is_empty(closing, division)
    _insert_settlement(tx, closing, facts.held_nusd, division, retry_of, is_empty=is_empty)
    body = _closed_body(closing, facts, division)
    body |= {"retry_of": retry_of, "is_empty": is_empty}
    link = tx.append_audit("inference.closed", closing.at, closing.inference_id, body)
    return Settlement(
        closing.inference_id,
        closing.ending,
        facts.held_nusd,
        division.settled_nusd,
        division.released_nusd,
        division.overrun_nusd,
        link.hash,
        link.prev_hash,
        retry_of,
        is_empty,
        burn.burnt_with(before, division.settled_nusd + division.overrun_nusd, is_empty=is_empty),
    )


def _asked_before(tx: Transaction, closing: Closing, facts: _Facts) -> burn.Earlier | None:
    """Free or keep the exchange's idempotency key, and return what it asked again: what the key says, or the body."""
    freed_by = claims.end(tx, closing) if facts.is_claimed else None
    if freed_by is not None:
        return burn.named(tx, freed_by)
    if not facts.is_repeated:
        return None
    asked = burn.Asked(
        closing.inference_id, facts.account_id, facts.fingerprint, facts.opened_at, facts.sdk_retry_count
    )
    return burn.earlier(tx, asked)


def _insert_entries(tx: Transaction, closing: Closing, facts: _Facts, division: Division) -> None:
    amounts = [(EntryKind.SETTLE, division.settled_nusd)]
    if division.released_nusd:
        amounts.append((EntryKind.RELEASE, division.released_nusd))
    if division.overrun_nusd:
        amounts.append((EntryKind.OVERRUN, division.overrun_nusd))
    rows = ", ".join(["(?, ?, ?, ?, ?, ?)"] * len(amounts))
    values = [
        part
        for kind, amount in amounts
        for part in (closing.inference_id, kind, facts.account_id, facts.provider, amount, closing.at)
    ]
    tx.execute(
        f"INSERT INTO entries (inference_id, kind, account_id, provider, amount_nusd, at) VALUES {rows}",  # noqa: S608 - only marks are put in
        values,
    )


def _attempt_row(inference_id: str, number: int, attempt: AttemptResult) -> tuple[Any, ...]:
    return (
        inference_id,
        number,
        attempt.model,
        attempt.upstream_model,
        attempt.provider,
        attempt.price_version,
        attempt.started_at,
        attempt.ended_at,
        attempt.status,
        attempt.error_code,
        attempt.provider_request_id,
        attempt.response_id,
        attempt.raw_usage,
        attempt.raw_finish_reason,
        audit.canonical(attempt.usage),
        attempt.evidence,
        attempt.cost_nusd,
        attempt.redials,
        attempt.aborted_billing,
    )


def _insert_settlement(
    tx: Transaction, closing: Closing, held: int, division: Division, retry_of: str | None, *, is_empty: bool
) -> None:
    usage: Usage = closing.usage
    tx.execute(
        _SETTLEMENT,
        (
            closing.inference_id,
            closing.at,
            tx.epoch,
            closing.ending,
            closing.error_code,
            closing.finish_reason,
            closing.evidence,
            usage.input_tokens,
            usage.cached_input_tokens,
            usage.output_tokens,
            usage.reasoning_tokens,
            usage.cache_write_tokens,
            usage.long_cache_write_tokens,
            usage.audio_input_tokens,
            usage.audio_output_tokens,
            held,
            division.settled_nusd,
            division.overrun_nusd,
            closing.output_bytes,
            closing.received_bytes,
            audit.canonical(closing.notes),
            retry_of,
            is_empty,
        ),
    )


def _closed_body(closing: Closing, facts: _Facts, division: Division) -> dict[str, Any]:
    """Return the event that tells an auditor everything: the receipt is made of it."""
    served = closing.attempts[-1] if closing.attempts else facts
    return {
        "opened_at": facts.opened_at,
        "opened_in_epoch": facts.epoch,
        "settled_at": closing.at,
        "key_id": facts.key_id,
        "account": facts.account_name,
        "account_id": facts.account_id,
        "account_path": msgspec.Raw(facts.account_path.encode()),
        "caps": msgspec.Raw(facts.caps.encode()),
        "protocol": facts.protocol,
        "path": facts.path,
        "stream": bool(facts.stream),
        "requested_model": facts.requested_model,
        "model": served.model,
        "provider": served.provider,
        "price_version": served.price_version,
        "input_bytes": facts.input_bytes,
        "input_estimate": facts.input_estimate,
        "clamp_tokens": facts.clamp_tokens,
        "fingerprint": facts.fingerprint.hex(),
        "sdk_retry_count": facts.sdk_retry_count,
        "labels": msgspec.Raw(facts.labels.encode()),
        "held_nusd": facts.held_nusd,
        "settled_nusd": division.settled_nusd,
        "released_nusd": division.released_nusd,
        "overrun_nusd": division.overrun_nusd,
        **_closing_body(closing),
    }


def _closing_body(closing: Closing) -> dict[str, Any]:
    return {
        "ending": closing.ending,
        "error_code": closing.error_code,
        "finish_reason": closing.finish_reason,
        "usage": closing.usage,
        "evidence": closing.evidence,
        "cost_nusd": closing.cost_nusd,
        "output_bytes": closing.output_bytes,
        "received_bytes": closing.received_bytes,
        "attempts": closing.attempts,
        "notes": closing.notes,
    }


def _already_settled(tx: Transaction, closing: Closing, facts: _Facts) -> Settlement:
    row = tx.one(_SETTLED, (closing.inference_id,))
    assert row is not None, f"{closing.inference_id} has neither hold nor settlement"
    ending, held, settled, overrun, retry_of, is_empty, hash_, prev_hash = row
    if ending == Ending.ABANDONED and closing.ending is not Ending.ABANDONED and closing.cost_nusd is not None:
        _adjust(tx, closing, facts, closing.cost_nusd - settled - overrun)
    before = burn.recalled(tx, closing.inference_id)
    return Settlement(
        closing.inference_id,
        Ending(ending),
        held,
        settled,
        held - settled,
        overrun,
        hash_,
        prev_hash,
        retry_of,
        bool(is_empty),
        burn.burnt_with(before, settled + overrun, is_empty=bool(is_empty)),
    )


def _adjust(tx: Transaction, closing: Closing, facts: _Facts, difference: int) -> None:
    """Post what recovery could not know, unless it was posted before."""
    known = tx.execute(
        "SELECT 1 FROM entries WHERE inference_id = ? AND kind = ?", (closing.inference_id, EntryKind.ADJUSTMENT)
    )
    if known or not difference:
        return
    tx.execute(
        "INSERT INTO entries (inference_id, kind, account_id, provider, amount_nusd, at) VALUES (?, ?, ?, ?, ?, ?)",
        (closing.inference_id, EntryKind.ADJUSTMENT, facts.account_id, facts.provider, difference, closing.at),
    )
    counters.move(tx, counters.from_json(facts.caps), settled=difference)
    body = {"account_id": facts.account_id, "adjustment_nusd": difference, **_closing_body(closing)}
    tx.append_audit("inference.adjusted", closing.at, closing.inference_id, body)

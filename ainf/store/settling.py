"""The operation that ends an exchange: settlement, entries, counters and audit event, once.

Exactly-once is structural: settlement and closing event have the inference id as their key, and a closing that finds a
settlement returns it. Only when recovery was first (``abandoned``) and the exchange turns out to have ended otherwise
is anything added: the difference, as one ``adjustment`` for each attempt, with an event ``inference.adjusted``.
"""

from collections.abc import Sequence
from typing import Any, Final

import attrs
import msgspec

from ainf import audit
from ainf.inference.money import NanoUSD
from ainf.inference.outcome import Ending
from ainf.inference.usage import Usage
from ainf.ledger import Division, EntryKind, divide
from ainf.routing.outcome import status_of
from ainf.store import attempts, burn, claims, counters, entries
from ainf.store.attempts import OpenedAttempt
from ainf.store.base import AttemptResult, Closing, Settlement
from ainf.store.counters import CounterKey
from ainf.store.routing import RoutingOutcome, decision_digest, note_outcome
from ainf.store.transaction import Transaction

_FACTS = """
    SELECT h.held_nusd, i.opened_at, i.epoch, i.key_id, i.account_id, a.name, i.account_path, i.caps, i.protocol,
        i.path, i.stream, i.requested_model, i.model, i.provider, i.price_version, i.input_bytes, i.input_estimate,
        i.clamp_tokens, i.fingerprint, i.sdk_retry_count, i.labels,
        r.target, r.ruleset, r.body, (SELECT count(*) FROM later_attempts AS l WHERE l.inference_id = i.inference_id),
        EXISTS (SELECT 1 FROM claims AS c WHERE c.inference_id = i.inference_id AND c.state = 'running'),
        EXISTS (
            SELECT 1 FROM inferences AS e WHERE e.account_id = i.account_id AND e.fingerprint = i.fingerprint
                AND e.opened_at BETWEEN i.opened_at - ? AND i.opened_at AND e.inference_id <> i.inference_id
        )
    FROM inferences AS i
    JOIN accounts AS a ON a.account_id = i.account_id
    LEFT JOIN holds AS h ON h.inference_id = i.inference_id
    LEFT JOIN routing_decisions AS r ON r.inference_id = i.inference_id
    WHERE i.inference_id = ?
"""

_SETTLED = """
    SELECT s.ending, s.held_nusd, s.settled_nusd, s.overrun_nusd, s.retry_of, s.is_empty, e.hash, e.prev_hash
    FROM settlements AS s
    JOIN audit_events AS e ON e.inference_id = s.inference_id AND e.kind = 'inference.closed'
    WHERE s.inference_id = ?
"""

_ADJUSTED = "SELECT 1 FROM entries WHERE inference_id = ? AND kind = ?"
_CHARGED = "SELECT attempt, sum(amount_nusd) FROM entries WHERE inference_id = ? AND kind IN (?, ?) GROUP BY attempt"
# What an attempt that had ended before gave back then is not among what was held at the end.
_WAS_HELD = """
    SELECT attempt, sum(amount_nusd) FROM entries
    WHERE inference_id = ? AND kind IN ('settle', 'release')
        AND seq >= (SELECT min(seq) FROM entries WHERE inference_id = ? AND kind = 'settle')
    GROUP BY attempt
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

OUTLIVED: Final = "outlived_epoch"
"""The note of an end that was settled in another epoch than its opening's, and which that was: its process had been
taken for dead meanwhile, or another one found it in a spool."""


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
    target: str | None
    """None: its model was pinned; then there is neither ruleset nor decision."""
    ruleset: str | None
    decision: str | None
    later_attempts: int
    """How many were opened after the first."""
    is_claimed: int
    """An idempotency key names it."""
    is_repeated: int
    """The same account asked the same not long before: whether that was burnt is worth a closer look."""


class _Share(msgspec.Struct, frozen=True, gc=False):
    """What one attempt has in a closing."""

    number: int
    provider: str
    counted_on: list[CounterKey]
    held_nusd: int
    division: Division


def close_inference(tx: Transaction, closing: Closing) -> Settlement:
    """Settle an exchange; a repeated closing returns the first's settlement."""
    row = tx.one(_FACTS, (burn.SDK_RETRIED_WITHIN_US, closing.inference_id))
    assert row is not None, f"{closing.inference_id} was never opened"
    facts = _Facts(*row)
    if facts.held_nusd is None:
        return _already_settled(tx, closing, facts)
    opened = attempts.opened(tx, closing.inference_id) if facts.later_attempts else ()
    closing = _in_order(closing, facts, opened)
    if tx.epoch != facts.epoch and closing.ending is not Ending.ABANDONED:
        closing = attrs.evolve(closing, notes={**closing.notes, OUTLIVED: facts.epoch})
    shares = _shares(closing, facts, opened)
    division = _total(shares)
    charged = division.settled_nusd + division.overrun_nusd
    tx.execute("DELETE FROM holds WHERE inference_id = ?", (closing.inference_id,))
    _post(tx, closing, facts, shares)
    for number, attempt in enumerate(closing.attempts, 1):
        tx.execute(_ATTEMPT, _attempt_row(closing.inference_id, number, attempt))
    before = _asked_before(tx, closing, facts)
    retry_of = before.inference_id if before is not None else None
    is_empty = burn.is_empty(closing, division)
    _insert_settlement(tx, closing, facts.held_nusd, division, retry_of, is_empty=is_empty)
    body = _closed_body(closing, facts, division)
    body |= {"retry_of": retry_of, "is_empty": is_empty}
    if facts.target is not None:
        body["routing"] = _capture(tx, closing, facts, charged)
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
        burn.burnt_with(before, charged, is_empty=is_empty),
        is_captured=facts.target is not None,
    )


def _in_order(closing: Closing, facts: _Facts, opened: Sequence[OpenedAttempt]) -> Closing:
    """Return a closing with no moment in it before the one that it follows: the wall clock may have been set back."""
    held_at = [one.opened_at for one in opened] or [facts.opened_at]
    lines = tuple(_line_in_order(line, at) for line, at in zip(closing.attempts, held_at, strict=False))
    lines += closing.attempts[len(lines) :]
    if closing.at >= facts.opened_at and lines == closing.attempts:
        return closing
    return attrs.evolve(closing, at=max(closing.at, facts.opened_at), attempts=lines)


def _line_in_order(line: AttemptResult, held_at: int) -> AttemptResult:
    if held_at <= line.started_at <= line.ended_at:
        return line
    started_at = max(held_at, line.started_at)
    return attrs.evolve(line, started_at=started_at, ended_at=max(started_at, line.ended_at))


def _shares(closing: Closing, facts: _Facts, opened: Sequence[OpenedAttempt]) -> list[_Share]:
    """Divide what is held for each attempt by what it costs; where that is not known, all of it is taken."""
    assert facts.held_nusd is not None
    charges = _charges(closing, 1 + facts.later_attempts)
    if len(charges) == 1:
        division = divide(facts.held_nusd, charges[0])
        return [_Share(1, facts.provider, counters.from_json(facts.caps), facts.held_nusd, division)]
    return [
        _Share(one.number, one.provider, one.counted_on, one.held_nusd, divide(one.held_nusd, charge))
        for one, charge in zip(opened, charges, strict=True)
    ]


def _charges(closing: Closing, opened: int) -> Sequence[int | None]:
    """Return what each attempt that was opened costs; None where that is not known."""
    if closing.cost_nusd is None:
        return (None,) * opened
    charges = closing.charges or (closing.cost_nusd,)
    assert sum(charges) == closing.cost_nusd, "the charges do not add up to the cost"
    assert not any(charges[opened:]), "an attempt is charged that was never opened"
    return (*charges[:opened], *(0,) * (opened - len(charges)))


def _total(shares: Sequence[_Share]) -> Division:
    if len(shares) == 1:
        return shares[0].division
    divisions = [share.division for share in shares]
    return Division(
        NanoUSD(sum(one.settled_nusd for one in divisions)),
        NanoUSD(sum(one.released_nusd for one in divisions)),
        NanoUSD(sum(one.overrun_nusd for one in divisions)),
    )


def _post(tx: Transaction, closing: Closing, facts: _Facts, shares: Sequence[_Share]) -> None:
    """Post the end of each attempt on its own counters."""
    postings: list[entries.Posting] = []
    for share in shares:
        number, provider, division = share.number, share.provider, share.division
        postings.append((EntryKind.SETTLE, number, provider, division.settled_nusd))
        if division.released_nusd:
            postings.append((EntryKind.RELEASE, number, provider, division.released_nusd))
        if division.overrun_nusd:
            postings.append((EntryKind.OVERRUN, number, provider, division.overrun_nusd))
        settled = division.settled_nusd + division.overrun_nusd
        counters.move(tx, share.counted_on, held=-share.held_nusd, settled=settled)
    entries.post(tx, closing.inference_id, facts.account_id, closing.at, postings)


def _served(closing: Closing, facts: _Facts) -> tuple[int, AttemptResult | _Facts]:
    """Return the attempt that answered, or was tried last: its number, and who tells of it."""
    if not closing.attempts:
        return 1, facts
    number = closing.served or len(closing.attempts)
    return number, closing.attempts[number - 1]


def _capture(tx: Transaction, closing: Closing, facts: _Facts, charged: int) -> dict[str, Any]:
    """Record what became of a routed exchange; return what its event says of it."""
    assert facts.target is not None
    assert facts.ruleset is not None
    assert facts.decision is not None
    number, served = _served(closing, facts)
    status = status_of(closing.ending, number)
    outcome = RoutingOutcome(
        inference_id=closing.inference_id,
        at=closing.at,
        key_id=facts.key_id,
        account_id=facts.account_id,
        path=facts.path,
        stream=bool(facts.stream),
        requested_model=facts.requested_model,
        target=facts.target,
        ruleset=facts.ruleset,
        status=status,
        code=closing.error_code,
        model=served.model,
        provider=served.provider,
        attempts=1 + facts.later_attempts,
        first_byte_us=closing.first_byte_us,
        cost_nusd=charged,
    )
    note_outcome(tx, outcome)
    digest = decision_digest(facts.decision)
    return {"status": status, "served": number, "ruleset": facts.ruleset, "decision_sha256": digest}


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
    _, served = _served(closing, facts)
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
        "router": facts.target or "direct",
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
    if ending == Ending.ABANDONED and closing.ending is not Ending.ABANDONED:
        claims.end_late(tx, closing)
        _adjust(tx, closing, facts)
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
        is_captured=facts.target is not None,
    )


def _adjust(tx: Transaction, closing: Closing, facts: _Facts) -> None:
    """Post what recovery could not know, for each attempt by itself, unless it was posted before."""
    if tx.execute(_ADJUSTED, (closing.inference_id, EntryKind.ADJUSTMENT)):
        return
    charged: dict[int, int] = dict(tx.execute(_CHARGED, (closing.inference_id, EntryKind.SETTLE, EntryKind.OVERRUN)))
    held: dict[int, int] = dict(tx.execute(_WAS_HELD, (closing.inference_id, closing.inference_id)))
    opened = attempts.opened(tx, closing.inference_id)
    charges = zip(opened, _charges(closing, len(opened)), strict=True)
    differences = [
        (one, (held[one.number] if charge is None else charge) - charged[one.number]) for one, charge in charges
    ]
    postings = [(EntryKind.ADJUSTMENT, one.number, one.provider, more) for one, more in differences if more]
    if not postings:
        return
    entries.post(tx, closing.inference_id, facts.account_id, closing.at, postings)
    for one, more in differences:
        if more:
            counters.move(tx, one.counted_on, settled=more)
    total = sum(more for _, more in differences)
    body = {"account_id": facts.account_id, "adjustment_nusd": total, **_closing_body(closing)}
    tx.append_audit("inference.adjusted", closing.at, closing.inference_id, body)

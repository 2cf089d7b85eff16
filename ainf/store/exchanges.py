"""The operations of a running exchange: its opening, later attempts and more money, the progress of all that run."""

from collections.abc import Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Any, TypeAlias

import attrs

from ainf import audit, ledger
from ainf.admission import invalid_key
from ainf.inference.errors import GatewayError, SpendError
from ainf.inference.moments import SECOND_US, rfc3339
from ainf.inference.money import format_usd
from ainf.ledger import CapState, EntryKind
from ainf.store import attempts, claims, counters, entries, routing
from ainf.store.attempts import OpenedAttempt
from ainf.store.base import (
    AttemptOpened,
    AttemptOpening,
    EndedAttempt,
    Extended,
    Extension,
    Opened,
    Opening,
    Progress,
    ProgressSeen,
)
from ainf.store.batch import OUT_OF_TOUCH
from ainf.store.counters import CounterKey
from ainf.store.standing import Owner, standing_of, standing_of_attempt, standing_of_running
from ainf.store.transaction import Transaction

_Change: TypeAlias = tuple[OpenedAttempt, int]
"""By how much what is held for an attempt grows; negative where it shrinks."""

_INFERENCE = """
    INSERT INTO inferences (inference_id, opened_at, epoch, key_id, account_id, account_path, caps, protocol, path,
        stream, requested_model, model, upstream_model, provider, price_version, input_bytes, input_estimate,
        clamp_tokens, fingerprint, sdk_retry_count, labels)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""

_LATER_ATTEMPT = """
    INSERT INTO later_attempts (inference_id, number, opened_at, caps, model, upstream_model, provider, price_version,
        input_estimate, clamp_tokens, ended)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""

_RUNNING = """
    SELECT h.key_id, i.account_id, i.opened_at, o.provider, o.caps
    FROM holds AS h
    JOIN inferences AS i ON i.inference_id = h.inference_id
    JOIN opened_attempts AS o ON o.inference_id = h.inference_id
    WHERE h.inference_id = ? AND o.number = ?
"""

_HOLD_MORE = "UPDATE holds SET held_nusd = held_nusd + ? WHERE inference_id = ?"

_PROGRESS = """
    UPDATE holds SET progress_at = ?, attempt = ?, progress_usage = ?, progress_nusd = ?, output_bytes = ?
    WHERE inference_id = ?
"""

# Every key with a running exchange, with each account above it; then those of them that have ended.
_ENDED = """
    WITH RECURSIVE above (key_id, account_id) AS (
        SELECT DISTINCT k.key_id, k.account_id FROM holds AS h JOIN keys AS k ON k.key_id = h.key_id WHERE h.epoch = ?
        UNION
        SELECT above.key_id, a.parent_id FROM above JOIN accounts AS a ON a.account_id = above.account_id
        WHERE a.parent_id IS NOT NULL
    ),
    ended (key_id) AS (
        SELECT above.key_id FROM above JOIN accounts AS a ON a.account_id = above.account_id WHERE a.closed_at <= ?
        UNION
        SELECT above.key_id FROM above JOIN keys AS k ON k.key_id = above.key_id
        WHERE k.revoked_at <= ? OR k.expires_at <= ?
    )
    SELECT h.inference_id FROM holds AS h JOIN ended ON ended.key_id = h.key_id WHERE h.epoch = ?
"""


def open_inference(tx: Transaction, opening: Opening) -> Opened:
    """Set the hold aside and record the opening.

    Raises:
        SpendError: ``spend_cap_exceeded``, ``insufficient_funds``; nothing was written.
        DownstreamError: ``invalid_api_key``, ``idempotency_in_progress``; nothing was written.
    """
    standing = standing_of(tx, opening.key_id, opening.at, model=opening.attempt.model)
    if not standing.valid:
        raise invalid_key()
    claims.check(tx, opening)  # before the money: what was answered is told again, whatever is left
    tightest = ledger.binding(standing.caps)
    grant = ledger.fit(opening.ask, tightest.headroom if tightest else None)
    if grant is None:
        assert tightest is not None, "only a cap refuses"
        raise refusal(tightest, opening.ask.least_nusd, opening.at)
    attempts.store_price(tx, opening.attempt.price)
    owner, keys = standing.owner, counters.keys_of(standing.caps)
    _insert_inference(tx, opening, owner, keys, grant.clamp_tokens)
    claims.take(tx, opening)
    tx.execute(
        "INSERT INTO holds (inference_id, epoch, key_id, held_nusd) VALUES (?, ?, ?, ?)",
        (opening.inference_id, tx.epoch, opening.key_id, grant.held_nusd),
    )
    posting = (EntryKind.HOLD, 1, opening.attempt.provider, grant.held_nusd)
    entries.post(tx, opening.inference_id, owner.account_id, opening.at, (posting,))
    counters.hold(tx, keys, grant.held_nusd)
    if opening.routing is not None:
        routing.note_decision(tx, opening.inference_id, opening.routing)
    clamped_by = tightest if grant.clamp_tokens is not None else None
    is_captured = opening.routing is not None
    return Opened(owner.account_id, owner.name, grant.held_nusd, grant.clamp_tokens, clamped_by, is_captured, tx.epoch)


def open_attempt(tx: Transaction, opening: AttemptOpening) -> AttemptOpened:
    """Set aside what another attempt of an open exchange needs, and record it.

    What is held for the attempts that ended becomes their cost with it, so that the new one may have what they leave.

    Raises:
        GatewayError: ``store_unavailable``: it is not open (any more).
    """
    row = tx.one(_RUNNING, (opening.inference_id, 1))
    if row is None:
        raise _not_open()
    key_id, account_id, admitted_at, _, _ = row
    before = attempts.opened(tx, opening.inference_id)
    assert opening.number == len(before) + 1, f"{opening.inference_id} has {len(before)} attempts"
    fixed, model = before[0].counted_on, opening.attempt.model
    standing = standing_of_attempt(tx, key_id, opening.at, model=model, opened_at=admitted_at, fixed=fixed)
    if not standing.valid:
        return AttemptOpened(None, key_revoked=True)
    changes = _changes(before, opening.ended)
    then = _with_changes(standing.in_force, changes)
    tightest = ledger.binding(then[key] for key in standing.counted_on if key in then)
    grant = ledger.fit(opening.ask, tightest.headroom - opening.spare_nusd if tightest else None)
    if grant is None:
        return AttemptOpened(None, refused_by=tightest)
    if (passed := _passed(then, changes)) is not None:
        return AttemptOpened(None, refused_by=passed)
    attempts.store_price(tx, opening.attempt.price)
    _insert_attempt(tx, opening, standing.counted_on, grant.clamp_tokens)
    _hold_attempt(tx, opening, account_id, changes, grant.held_nusd)
    counters.hold(tx, standing.counted_on, grant.held_nusd)
    return AttemptOpened(
        grant.held_nusd, grant.clamp_tokens, clamped_by=tightest if grant.clamp_tokens is not None else None
    )


def _changes(before: Sequence[OpenedAttempt], ended: Iterable[EndedAttempt]) -> list[_Change]:
    """Return by how much what is held for the attempts that ended changes; what is given back comes first."""
    changes = [(before[one.number - 1], one.cost_nusd - before[one.number - 1].held_nusd) for one in ended]
    return sorted((change for change in changes if change[1]), key=itemgetter(1))


def _with_changes(in_force: Mapping[CounterKey, CapState], changes: Iterable[_Change]) -> dict[CounterKey, CapState]:
    """Return the caps as they will have been moved by the changes."""
    then = dict(in_force)
    for attempt, more in changes:
        for key in attempt.counted_on:
            if key in then:
                then[key] = attrs.evolve(then[key], held_nusd=then[key].held_nusd + more)
    return then


def _passed(then: Mapping[CounterKey, CapState], changes: Iterable[_Change]) -> CapState | None:
    """Return the cap under which it does not fit that attempts cost more than was held for them, if there is one."""
    grown = dict.fromkeys(key for attempt, more in changes if more > 0 for key in attempt.counted_on)
    tightest = ledger.binding(then[key] for key in grown if key in then)
    return tightest if tightest is not None and tightest.headroom < 0 else None


def _hold_attempt(
    tx: Transaction, opening: AttemptOpening, account_id: str, changes: Sequence[_Change], held_nusd: int
) -> None:
    """Post what is held for a new attempt, behind what changes for those that ended."""
    postings = [
        (EntryKind.EXTEND if more > 0 else EntryKind.RELEASE, attempt.number, attempt.provider, abs(more))
        for attempt, more in changes
    ]
    postings.append((EntryKind.EXTEND, opening.number, opening.attempt.provider, held_nusd))
    entries.post(tx, opening.inference_id, account_id, opening.at, postings)
    for attempt, more in changes:
        counters.move(tx, attempt.counted_on, held=more)
    tx.execute(_HOLD_MORE, (held_nusd + sum(more for _, more in changes), opening.inference_id))


def extend_hold(tx: Transaction, extension: Extension) -> Extended:
    """Add to what is held for an attempt as far as its caps allow.

    Raises:
        GatewayError: ``store_unavailable``: it is not open (any more).
    """
    row = tx.one(_RUNNING, (extension.inference_id, extension.attempt))
    if row is None:
        raise _not_open()
    key_id, account_id, opened_at, provider, caps = row
    fixed = counters.from_json(caps)
    standing = standing_of_running(tx, key_id, extension.at, opened_at=opened_at, fixed=fixed)
    if not standing.valid:
        return Extended(0, key_revoked=True)
    tightest = ledger.binding(standing.caps)
    granted = ledger.extension(extension.want_nusd, extension.least_nusd, tightest.headroom if tightest else None)
    refused_by = tightest if granted < extension.want_nusd else None
    if granted <= 0:
        return Extended(0, refused_by=refused_by)
    tx.execute(_HOLD_MORE, (granted, extension.inference_id))
    if extension.progress is not None:
        tx.execute(_PROGRESS, _progress_row(extension.progress, extension.at))
    posting = (EntryKind.EXTEND, extension.attempt, provider, granted)
    entries.post(tx, extension.inference_id, account_id, extension.at, (posting,))
    counters.move(tx, fixed, held=granted)
    return Extended(granted, refused_by=refused_by)


def record_progress(tx: Transaction, progress: Sequence[Progress], at: int) -> ProgressSeen:
    """Note how far the running exchanges have come, and tell which of this process's must end.

    Progress of an exchange that is closed meanwhile is of no use and goes nowhere.
    """
    tx.executemany(_PROGRESS, [_progress_row(step, at) for step in progress])
    rows = tx.execute(_ENDED, (tx.epoch, at, at, at, tx.epoch))
    return ProgressSeen(frozenset(row[0] for row in rows))


def _not_open() -> GatewayError:
    """Return why a running exchange gets nothing of which nothing is held: it was closed as left by a dead process."""
    return GatewayError("store_unavailable", OUT_OF_TOUCH)


def _progress_row(progress: Progress, at: int) -> tuple[int, int, str, int, int, str]:
    usage = audit.canonical(progress.usage)
    return at, progress.attempt, usage, progress.cost_nusd, progress.output_bytes, progress.inference_id


def refusal(cap: CapState, least_nusd: int, at: int) -> SpendError:
    """Return what a client is told when a cap or balance refuses: which, what it leaves, and when it resets."""
    left = max(0, cap.headroom)
    if cap.headroom >= 0:
        why = f"has {format_usd(left)} USD left; this request needs at least {format_usd(least_nusd)} USD."
    else:
        why = f"is passed by {format_usd(-cap.headroom)} USD; nothing opens before it has something left."
    message = f"{cap.describe_limit()} {why} {cap.remedy()}"
    resets_at = cap.resets_at
    details: dict[str, Any] = {
        "cap": {
            "kind": cap.kind,
            "of": cap.whose,
            "window": cap.window.value,
            "model": cap.model,
            "limit": format_usd(cap.limit_nusd),
            "left": format_usd(left),
            "needs": format_usd(least_nusd),
            "resets_at": None if resets_at is None else rfc3339(resets_at),
            "resets_in_s": None if resets_at is None else max(0, -((at - resets_at) // SECOND_US)),
        }
    }
    return SpendError(cap.code, message.rstrip(), details=details)


def _insert_inference(
    tx: Transaction, opening: Opening, owner: Owner, keys: Sequence[CounterKey], clamp_tokens: int | None
) -> None:
    attempt = opening.attempt
    tx.execute(
        _INFERENCE,
        (
            opening.inference_id,
            opening.at,
            tx.epoch,
            opening.key_id,
            owner.account_id,
            owner.path_json,
            counters.to_json(keys),
            opening.protocol,
            opening.path,
            opening.stream,
            opening.requested_model,
            attempt.model,
            attempt.upstream_model,
            attempt.provider,
            attempt.price.version,
            opening.input_bytes,
            opening.input_tokens_estimate,
            clamp_tokens,
            opening.fingerprint,
            opening.sdk_retry_count,
            audit.canonical(opening.labels),
        ),
    )


def _insert_attempt(
    tx: Transaction, opening: AttemptOpening, keys: Sequence[CounterKey], clamp_tokens: int | None
) -> None:
    attempt = opening.attempt
    tx.execute(
        _LATER_ATTEMPT,
        (
            opening.inference_id,
            opening.number,
            opening.at,
            counters.to_json(keys),
            attempt.model,
            attempt.upstream_model,
            attempt.provider,
            attempt.price.version,
            opening.input_tokens_estimate,
            clamp_tokens,
            audit.canonical([(one.number, one.cost_nusd) for one in opening.ended]),
        ),
    )

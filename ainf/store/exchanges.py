"""The operations of a running exchange: its opening, the extension of its hold, the progress of all that run."""

from collections.abc import Sequence
from typing import Any

from ainf import audit, ledger
from ainf.admission import invalid_key
from ainf.inference.errors import SpendError
from ainf.inference.moments import SECOND_US, rfc3339
from ainf.inference.money import format_usd
from ainf.ledger import CapState, EntryKind
from ainf.pricing import Price
from ainf.store import claims, counters
from ainf.store.base import Extended, Extension, Opened, Opening, Progress, ProgressSeen
from ainf.store.standing import Standing, standing_of, standing_of_running
from ainf.store.transaction import Transaction

_ENTRY = "INSERT INTO entries (inference_id, kind, account_id, provider, amount_nusd, at) VALUES (?, ?, ?, ?, ?, ?)"

_INFERENCE = """
    INSERT INTO inferences (inference_id, opened_at, epoch, key_id, account_id, account_path, caps, protocol, path,
        stream, requested_model, model, upstream_model, provider, price_version, input_bytes, input_estimate,
        clamp_tokens, fingerprint, sdk_retry_count, labels)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""

_RUNNING = """
    SELECT h.held_nusd, h.key_id, i.account_id, i.provider, i.caps, i.opened_at
    FROM holds AS h JOIN inferences AS i ON i.inference_id = h.inference_id
    WHERE h.inference_id = ?
"""

_PROGRESS = """
    UPDATE holds SET progress_at = ?, progress_usage = ?, progress_nusd = ?, output_bytes = ? WHERE inference_id = ?
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
    _store_price(tx, opening.attempt.price)
    _insert_inference(tx, opening, standing, grant.clamp_tokens)
    claims.take(tx, opening)
    tx.execute(
        "INSERT INTO holds (inference_id, epoch, key_id, held_nusd) VALUES (?, ?, ?, ?)",
        (opening.inference_id, tx.epoch, opening.key_id, grant.held_nusd),
    )
    owner = standing.owner
    tx.execute(
        _ENTRY,
        (opening.inference_id, EntryKind.HOLD, owner.account_id, opening.attempt.provider, grant.held_nusd, opening.at),
    )
    counters.hold(tx, standing.caps, grant.held_nusd)
    clamped_by = tightest if grant.clamp_tokens is not None else None
    return Opened(owner.account_id, owner.name, grant.held_nusd, grant.clamp_tokens, clamped_by)


def extend_hold(tx: Transaction, extension: Extension) -> Extended:
    """Add to a hold as far as its caps allow; an exchange that is not open (any more) gets nothing."""
    row = tx.one(_RUNNING, (extension.inference_id,))
    if row is None:
        return Extended(0)
    _, key_id, account_id, provider, caps, opened_at = row
    fixed = counters.from_json(caps)
    standing = standing_of_running(tx, key_id, extension.at, opened_at=opened_at, fixed=fixed)
    if not standing.valid:
        return Extended(0, key_revoked=True)
    tightest = ledger.binding(standing.caps)
    granted = ledger.extension(extension.want_nusd, extension.least_nusd, tightest.headroom if tightest else None)
    refused_by = tightest if granted < extension.want_nusd else None
    if granted <= 0:
        return Extended(0, refused_by=refused_by)
    tx.execute("UPDATE holds SET held_nusd = held_nusd + ? WHERE inference_id = ?", (granted, extension.inference_id))
    if extension.progress is not None:
        tx.execute(_PROGRESS, _progress_row(extension.progress, extension.at))
    tx.execute(_ENTRY, (extension.inference_id, EntryKind.EXTEND, account_id, provider, granted, extension.at))
    counters.move(tx, fixed, held=granted)
    return Extended(granted, refused_by=refused_by)


def record_progress(tx: Transaction, progress: Sequence[Progress], at: int) -> ProgressSeen:
    """Note how far the running exchanges have come, and tell which of this process's must end.

    Progress of an exchange that is closed meanwhile is of no use and goes nowhere.
    """
    tx.executemany(_PROGRESS, [_progress_row(step, at) for step in progress])
    rows = tx.execute(_ENDED, (tx.epoch, at, at, at, tx.epoch))
    return ProgressSeen(frozenset(row[0] for row in rows))


def _progress_row(progress: Progress, at: int) -> tuple[int, str, int, int, str]:
    return at, audit.canonical(progress.usage), progress.cost_nusd, progress.output_bytes, progress.inference_id


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


def _store_price(tx: Transaction, price: Price) -> None:
    if (Price, price.version) not in tx.memo:
        tx.execute(
            "INSERT INTO prices (price_version, body) VALUES (?, ?) ON CONFLICT (price_version) DO NOTHING",
            (price.version, price.canonical().decode()),
        )
        tx.memo[Price, price.version] = True


def _insert_inference(tx: Transaction, opening: Opening, standing: Standing, clamp_tokens: int | None) -> None:
    attempt = opening.attempt
    tx.execute(
        _INFERENCE,
        (
            opening.inference_id,
            opening.at,
            tx.epoch,
            opening.key_id,
            standing.owner.account_id,
            standing.owner.path_json,
            counters.to_json(standing.caps),
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

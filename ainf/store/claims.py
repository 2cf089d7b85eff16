"""Idempotency keys: which exchange each names, and the answers that are kept for them. All functions are operations.

A claim is "running" from the opening of its exchange to the closing. Then its answer is "kept" to be told again, or was
"too_large" for that, or it is "freed": nothing was told that could be told again, and the key may be used at once. A
freed claim stays until it expires, so that the exchange that uses the key next is known to ask the same again. An
answer goes with its claim: when that is forgotten, or names another exchange.
"""

from typing import Final

import msgspec

from ainf.inference.errors import DownstreamError
from ainf.inference.moments import DAY_US
from ainf.inference.outcome import Ending, Evidence, Outcome, Verdict
from ainf.inference.usage import Usage
from ainf.store.base import Closing, FoundClaim, KeptAnswer, Opening
from ainf.store.transaction import Row, Transaction

FORGOTTEN_AFTER_US: Final = DAY_US
"""How long a key is remembered where its closing does not say."""

_CLAIM = """
    SELECT fingerprint, inference_id, state, expires_at FROM claims
    WHERE key_id = ? AND path = ? AND idempotency_key = ?
"""

_TAKE = """
    INSERT INTO claims (key_id, path, idempotency_key, fingerprint, inference_id, state, expires_at, retry_of)
    VALUES (?, ?, ?, ?, ?, 'running', NULL, ?)
    ON CONFLICT (key_id, path, idempotency_key) DO UPDATE SET fingerprint = excluded.fingerprint,
        inference_id = excluded.inference_id, state = 'running', expires_at = NULL, retry_of = excluded.retry_of
"""

_END = "UPDATE claims SET state = ?, expires_at = ? WHERE inference_id = ? AND state = ? RETURNING retry_of"

_KEEP = "INSERT INTO answers (inference_id, status, stream, headers, body) VALUES (?, ?, ?, ?, ?)"
_FORGET_ANSWER = "DELETE FROM answers WHERE inference_id = ?"

_FIND = """
    SELECT c.inference_id, c.fingerprint, c.state, a.status, a.stream, a.headers, a.body, s.ending, s.error_code,
        s.finish_reason, s.evidence, s.settled_nusd + s.overrun_nusd, (
            SELECT t.usage FROM attempts AS t LEFT JOIN routing_outcomes AS o ON o.inference_id = t.inference_id
            WHERE t.inference_id = c.inference_id AND t.model = coalesce(o.model, t.model)
        )
    FROM claims AS c
    LEFT JOIN answers AS a ON a.inference_id = c.inference_id
    LEFT JOIN settlements AS s ON s.inference_id = c.inference_id
    WHERE c.key_id = ? AND c.path = ? AND c.idempotency_key = ? AND (c.expires_at IS NULL OR c.expires_at > ?)
"""

_FORGET_CLAIMS = """
    DELETE FROM claims WHERE (key_id, path, idempotency_key) IN (
        SELECT key_id, path, idempotency_key FROM claims WHERE expires_at <= ? LIMIT ?
    ) RETURNING inference_id
"""
_HEADERS: Final = msgspec.json.Decoder(tuple[tuple[str, str], ...])
_USAGE: Final = msgspec.json.Decoder(Usage)


def check(tx: Transaction, opening: Opening) -> None:
    """Refuse an opening whose idempotency key is in use: its exchange runs, or its answer is not forgotten yet.

    Raises:
        DownstreamError: ``idempotency_in_progress``; ``find`` says what is to be told instead.
    """
    row = _claim(tx, opening)
    if row is None:
        return
    _, _, state, expires_at = row
    if state != "freed" and (expires_at is None or expires_at > opening.at):
        raise in_progress()


def take(tx: Transaction, opening: Opening) -> None:
    """Let an opening's idempotency key name it from now on; nothing where it has none. ``check`` came before."""
    claim = opening.claim
    if claim is None:
        return
    freed_by = None
    if (row := _claim(tx, opening)) is not None:
        fingerprint, inference_id, state, _ = row
        freed_by = inference_id if state == "freed" and fingerprint == claim.fingerprint else None
        tx.execute(_FORGET_ANSWER, (inference_id,))
    tx.execute(
        _TAKE,
        (
            opening.key_id,
            opening.path,
            claim.idempotency_key,
            claim.fingerprint,
            opening.inference_id,
            freed_by,
        ),
    )


def end(tx: Transaction, closing: Closing) -> str | None:
    """Free the idempotency key of an exchange that is being closed, or keep its answer under it.

    Returns:
        The exchange that had freed the key, where this one asked the same again.
    """
    return _end(tx, closing, "running")


def end_late(tx: Transaction, closing: Closing) -> None:
    """Take the key of an exchange back that recovery had freed, where its client was told its end, and keep the answer.

    Nothing where it was used again meanwhile: then it names another exchange.
    """
    if not closing.frees_claim:
        _end(tx, closing, "freed")


def _end(tx: Transaction, closing: Closing, state_before: str) -> str | None:
    expires_at = closing.claim_expires_at or closing.at + FORGOTTEN_AFTER_US
    state = "freed" if closing.frees_claim else "too_large" if closing.answer is None else "kept"
    row = tx.one(_END, (state, expires_at, closing.inference_id, state_before))
    if row is None:
        return None
    if state == "kept" and (answer := closing.answer) is not None:
        headers = msgspec.json.encode(answer.headers).decode()
        tx.execute(_KEEP, (closing.inference_id, answer.status, answer.stream, headers, answer.body))
    retry_of: str | None = row[0]
    return retry_of


def find(tx: Transaction, *, key_id: str, path: str, idempotency_key: str, at: int) -> FoundClaim | None:
    """Return what is known of an idempotency key at a time; None where it was not used, or is forgotten."""
    row = tx.one(_FIND, (key_id, path, idempotency_key, at))
    if row is None:
        return None
    inference_id, fingerprint, state, status, stream, headers, body, *settled = row
    answer = None
    if state == "kept" and status is not None:
        answer = KeptAnswer(status, bool(stream), _HEADERS.decode(headers), body)
    return FoundClaim(inference_id, fingerprint, state, answer, _outcome(tuple(settled)))


def purge(tx: Transaction, *, at: int, most: int) -> int:
    """Forget the claims that have expired by a time, at most so many, with their answers; return how many."""
    forgotten = tx.execute(_FORGET_CLAIMS, (at, most))
    tx.executemany(_FORGET_ANSWER, forgotten)
    return len(forgotten)


def in_progress() -> DownstreamError:
    """Return the refusal of a request whose idempotency key is in use."""
    return DownstreamError(
        "idempotency_in_progress",
        "The request with this `Idempotency-Key` runs, and cannot be joined from here; ask again for its answer.",
        param="idempotency-key",
    )


def _claim(tx: Transaction, opening: Opening) -> Row | None:
    if opening.claim is None:
        return None
    return tx.one(_CLAIM, (opening.key_id, opening.path, opening.claim.idempotency_key))


def _outcome(settled: Row) -> Outcome | None:
    """Return how an exchange was settled, with the usage of the attempt that answered: the others are not told of.

    None where it is not, or only recovery's word for it is known.
    """
    ending, error_code, finish_reason, evidence, billed, usage = settled
    if ending is None or ending == Ending.ABANDONED:
        return None
    told = Usage() if usage is None else _USAGE.decode(usage)
    return Outcome(Verdict(Ending(ending), error_code), finish_reason, told, Evidence(evidence), billed)

"""Idempotency keys: which exchange each names, and the answers that are kept for them. All functions are operations."""

from ainf.store.base import Closing, FoundClaim, Opening
from ainf.store.transaction import Transaction


def check(tx: Transaction, opening: Opening) -> None:
    """Refuse an opening whose idempotency key is in use."""
    assert opening.claim is None, "claims are written with the rest of them"
    del tx


def take(tx: Transaction, opening: Opening) -> None:
    """Let an opening's idempotency key name it from now on; nothing where it has none."""
    assert opening.claim is None, "claims are written with the rest of them"
    del tx


def end(tx: Transaction, closing: Closing) -> None:
    """Free the idempotency key of an exchange that is being closed, or keep its answer under it."""
    assert closing.answer is None
    del tx


def find(tx: Transaction, *, key_id: str, path: str, idempotency_key: str) -> FoundClaim | None:
    """Return what is known of an idempotency key."""
    del tx, key_id, path, idempotency_key
    return None

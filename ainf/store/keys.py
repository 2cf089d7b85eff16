"""Keys as authentication needs them, kept by their full digest so that a request costs no query.

What is kept may be a few seconds old. That decides nothing about money: whether the key may still spend is read in
every opening and extension.
"""

from collections import OrderedDict
from typing import Final

import msgspec

from ainf.store.base import KeyLimits, KeyRecord
from ainf.store.transaction import Transaction

KEEP_S: Final = 2.0
"""As long as the progress tick: what a command revokes ends running exchanges and reading routes alike within it."""
KEEP_KEYS: Final = 10_000

_FIND = """
    WITH RECURSIVE above (account_id, parent_id, closed_at) AS (
        SELECT a.account_id, a.parent_id, a.closed_at
        FROM keys AS k JOIN accounts AS a ON a.account_id = k.account_id
        WHERE k.digest = ?
        UNION ALL
        SELECT p.account_id, p.parent_id, p.closed_at FROM above AS c JOIN accounts AS p ON p.account_id = c.parent_id
    )
    SELECT (SELECT min(closed_at) FROM above), k.revoked_at, k.key_id, k.account_id, a.name, k.models, k.endpoints,
        k.expires_at, k.finish_reasons, k.money_refusal, k.requests_per_minute, k.tokens_per_minute,
        k.concurrent_streams, k.inject_cost
    FROM keys AS k JOIN accounts AS a ON a.account_id = k.account_id
    WHERE k.digest = ?
"""
_NAMES = msgspec.json.Decoder(tuple[str, ...])


def find_key(tx: Transaction, digest: bytes) -> KeyRecord | None:
    """Return the key with this SHA-256 digest (an operation); a closed account on its path counts as a revocation."""
    row = tx.one(_FIND, (digest, digest))
    if row is None:
        return None
    closed_at, revoked_at, key_id, account_id, account_name, models, endpoints, expires_at, *rest = row
    finish_reasons, money_refusal, requests, tokens, streams, inject_cost = rest
    ended_at = min((moment for moment in (closed_at, revoked_at) if moment is not None), default=None)
    return KeyRecord(
        key_id=key_id,
        account_id=account_id,
        account_name=account_name,
        models=_names(models),
        endpoints=_names(endpoints),
        expires_at=expires_at,
        revoked_at=ended_at,
        finish_reasons=finish_reasons,
        money_refusal=money_refusal,
        limits=KeyLimits(requests, tokens, streams),
        inject_cost=bool(inject_cost),
    )


def _names(text: str | None) -> tuple[str, ...] | None:
    return None if text is None else _NAMES.decode(text)


class KeyCache:
    """The keys looked up last, each for ``KEEP_S``. Unknown digests are not kept: they could be made without end."""

    def __init__(self) -> None:
        self._kept: OrderedDict[bytes, tuple[KeyRecord, float]] = OrderedDict()

    def get(self, digest: bytes, moment: float) -> KeyRecord | None:
        """Return the key if it was put in less than ``KEEP_S`` before ``moment`` (seconds of any steady clock)."""
        kept = self._kept.get(digest)
        if kept is None or kept[1] <= moment:
            return None
        return kept[0]

    def put(self, digest: bytes, record: KeyRecord, moment: float) -> None:
        """Keep a key that was read at ``moment``; beyond ``KEEP_KEYS`` the one put in longest ago is dropped."""
        self._kept[digest] = (record, moment + KEEP_S)
        self._kept.move_to_end(digest)
        if len(self._kept) > KEEP_KEYS:
            self._kept.popitem(last=False)

    def clear(self) -> None:
        """Forget all: a key or account was changed by this process."""
        self._kept.clear()

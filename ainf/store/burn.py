"""Silent burn: money that was charged for nothing, found when an exchange closes.

Burnt is what an exchange is charged though nothing visible came of it, and what one was charged that the same account
asked again with the same body within minutes, for it then was of no use. What is asked again while the first still runs
is another sample of it and no retry, unless the client had left that one.
"""

from enum import StrEnum
from typing import Final

import attrs

from ainf.inference.moments import HOUR_US, SECOND_US
from ainf.inference.outcome import Ending
from ainf.ledger import Division
from ainf.store.base import Closing
from ainf.store.transaction import Transaction


class Burn(StrEnum):
    """Why what an exchange was charged is burnt; the first that applies."""

    EMPTY = "empty"
    """Nothing visible came."""
    FAILED = "failed"
    """It ended otherwise than completed, and was asked again."""
    REPEATED = "repeated"
    """It was answered, and all the same asked again."""


RETRIED_WITHIN_US: Final = 10 * 60 * SECOND_US
"""An earlier exchange that was opened longer ago is not what is asked again."""
SDK_RETRIED_WITHIN_US: Final = HOUR_US
"""The same where the client's SDK says that it retries: it may have waited for its own time limit before."""
LEFT_WITHIN_US: Final = SECOND_US
"""How much later one may be settled whose client left it to ask again; where the SDK says so, whenever it is.

Not longer, for who asks several at once may leave the others as soon as one has answered.
"""
LOOKED_AT: Final = 32
"""Of a body that is asked in parallel more often, only the newest are looked at: a close must not cost more for it."""

_EARLIER = """
    SELECT e.inference_id, s.ending, s.is_empty, s.settled_nusd + s.overrun_nusd,
        EXISTS (SELECT 1 FROM settlements AS r WHERE r.retry_of = e.inference_id)
    FROM (
        SELECT i.inference_id AS inference_id, i.opened_at AS opened_at FROM inferences AS i
        WHERE i.account_id = ? AND i.fingerprint = ? AND i.opened_at >= ? AND i.opened_at <= ? AND i.inference_id <> ?
        ORDER BY i.opened_at DESC, i.inference_id DESC LIMIT ?
    ) AS e
    JOIN settlements AS s ON s.inference_id = e.inference_id
    WHERE s.settled_at <= ? OR (s.ending = ? AND s.settled_at <= ?)
    ORDER BY e.opened_at DESC, e.inference_id DESC LIMIT 1
"""

_NAMED = """
    SELECT s.inference_id, s.ending, s.is_empty, s.settled_nusd + s.overrun_nusd,
        EXISTS (SELECT 1 FROM settlements AS r WHERE r.retry_of = s.inference_id)
    FROM settlements AS s WHERE s.inference_id = ?
"""

_ASKED_AGAIN = """
    SELECT e.inference_id, e.ending, e.is_empty, e.settled_nusd + e.overrun_nusd, EXISTS (
            SELECT 1 FROM settlements AS r
            WHERE r.retry_of = e.inference_id AND r.inference_id <> s.inference_id AND r.settled_at <= s.settled_at
        )
    FROM settlements AS s JOIN settlements AS e ON e.inference_id = s.retry_of
    WHERE s.inference_id = ?
"""


@attrs.frozen
class Earlier:
    """The exchange that another one asked again."""

    inference_id: str
    ending: str
    is_empty: int
    charged_nusd: int
    was_asked_before: int
    """A third one asked it again too, and was closed before."""


@attrs.frozen
class Asked:
    """What an exchange asked, as its opening has it."""

    inference_id: str
    account_id: str
    fingerprint: bytes
    opened_at: int
    sdk_retry_count: int | None


def earlier(tx: Transaction, asked: Asked) -> Earlier | None:
    """Return what an exchange that is being closed asked again, if it did (an operation)."""
    opened_at = asked.opened_at
    within, left_within = RETRIED_WITHIN_US, LEFT_WITHIN_US
    if asked.sdk_retry_count:
        within = left_within = SDK_RETRIED_WITHIN_US
    row = tx.one(
        _EARLIER,
        (
            asked.account_id,
            asked.fingerprint,
            opened_at - within,
            opened_at,
            asked.inference_id,
            LOOKED_AT,
            opened_at,
            Ending.CLIENT_DISCONNECTED,
            opened_at + left_within,
        ),
    )
    return None if row is None else Earlier(*row)


def named(tx: Transaction, inference_id: str) -> Earlier | None:
    """Return the exchange that the client itself said is asked again, by its idempotency key (an operation)."""
    row = tx.one(_NAMED, (inference_id,))
    return None if row is None else Earlier(*row)


def recalled(tx: Transaction, inference_id: str) -> Earlier | None:
    """Return what ``earlier`` found when an exchange was closed (an operation)."""
    row = tx.one(_ASKED_AGAIN, (inference_id,))
    return None if row is None else Earlier(*row)


def is_empty(closing: Closing, division: Division) -> bool:
    """Whether an exchange is charged though nothing came of it: no visible output, no vectors, no sound."""
    if closing.received_bytes or closing.brought_vectors or closing.usage.audio_output_tokens:
        return False
    return division.settled_nusd + division.overrun_nusd > 0


def kind_of(ending: str, *, is_empty: bool) -> Burn:
    """Return why an exchange that was charged is burnt, where it is."""
    if is_empty:
        return Burn.EMPTY
    return Burn.REPEATED if ending == Ending.COMPLETED else Burn.FAILED


def burnt_with(before: Earlier | None, charged_nusd: int, *, is_empty: bool) -> dict[str, int]:
    """Return what is known to be burnt with a closing that was not before: kind -> nano-dollars.

    That is the exchange itself where it is empty, and the one that it asked again, unless that was empty (known with
    its own closing) or another one asked it again before: each is told once.
    """
    burnt: dict[str, int] = {}
    if is_empty:
        burnt[Burn.EMPTY] = charged_nusd
    if before is not None and before.charged_nusd and not before.is_empty and not before.was_asked_before:
        burnt[kind_of(before.ending, is_empty=False)] = before.charged_nusd
    return burnt

"""Silent burn: money that was charged for nothing, found when an exchange closes.

Two kinds: an exchange that is charged though nothing visible came, and one that the same account asked again with the
same body within minutes, for it then was of no use. What is asked again while the first still runs is another sample of
it and no retry, unless the client had left that one.
"""

from typing import Final

import attrs

from ainf.inference.outcome import Ending
from ainf.ledger import Division
from ainf.store.base import Closing
from ainf.store.transaction import Transaction

RETRIED_WITHIN_US: Final = 10 * 60 * 1_000_000
"""An earlier exchange that was opened longer ago is not what is asked again."""
SDK_RETRIED_WITHIN_US: Final = 60 * 60 * 1_000_000
"""The same where the client's SDK says that it retries: it may have waited for its own time limit before."""

_EARLIER = """
    SELECT i.inference_id, s.settled_nusd + s.overrun_nusd
    FROM inferences AS i JOIN settlements AS s ON s.inference_id = i.inference_id
    WHERE i.account_id = ? AND i.fingerprint = ? AND i.opened_at >= ? AND i.opened_at <= ? AND i.inference_id <> ?
        AND (s.settled_at <= ? OR s.ending = ?)
    ORDER BY i.opened_at DESC, i.inference_id DESC LIMIT 1
"""


@attrs.frozen
class Earlier:
    """The exchange that another one asked again, if there is one."""

    inference_id: str | None
    charged_nusd: int


_NONE: Final = Earlier(None, 0)


@attrs.frozen
class Asked:
    """What an exchange asked, as its opening has it."""

    account_id: str
    fingerprint: bytes
    opened_at: int
    sdk_retry_count: int | None


def earlier(tx: Transaction, inference_id: str, asked: Asked) -> Earlier:
    """Return what an exchange that is being closed asked again (an operation)."""
    within = SDK_RETRIED_WITHIN_US if asked.sdk_retry_count else RETRIED_WITHIN_US
    since = asked.opened_at - within
    row = tx.one(
        _EARLIER,
        (
            asked.account_id,
            asked.fingerprint,
            since,
            asked.opened_at,
            inference_id,
            asked.opened_at,
            Ending.CLIENT_DISCONNECTED,
        ),
    )
    return _NONE if row is None else Earlier(*row)


def is_empty(closing: Closing, division: Division) -> bool:
    """Whether an exchange is charged though nothing visible came of it."""
    return division.settled_nusd + division.overrun_nusd > 0 and not closing.received_bytes

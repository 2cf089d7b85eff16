"""What a provider keeps under a response id: which exchange gave it, looked up for one account."""

from ainf.inference.outcome import Ending
from ainf.store.base import StoredResponse
from ainf.store.transaction import Transaction

# An exchange's last attempt is the one whose answer the client got.
_RESPONSE = """
    SELECT a.provider, a.model, a.upstream_model, s.input_tokens, s.output_tokens
    FROM attempts AS a
    JOIN settlements AS s ON s.inference_id = a.inference_id
    JOIN inferences AS i ON i.inference_id = a.inference_id
    WHERE a.response_id = ? AND i.account_id = ? AND s.ending = ?
        AND NOT EXISTS (SELECT 1 FROM attempts AS b WHERE b.inference_id = a.inference_id AND b.number > a.number)
    ORDER BY s.settled_at DESC, a.inference_id DESC LIMIT 1
"""


def find_response(tx: Transaction, response_id: str, account_id: str) -> StoredResponse | None:
    """Return the exchange that an account completed with a provider's response id, or None (an operation).

    Of several it is the newest. Another account's is as unknown as one that never was, be it above or below this one.
    """
    row = tx.one(_RESPONSE, (response_id, account_id, Ending.COMPLETED))
    return None if row is None else StoredResponse(*row)

"""What a provider keeps under a response id: which exchange gave it, looked up for one account."""

from typing import Final

import msgspec

from ainf.inference.outcome import Ending
from ainf.inference.usage import Usage
from ainf.store.base import StoredResponse
from ainf.store.transaction import Transaction

# Of a routed exchange's attempts, the one whose answer the client got is the one that its outcome names.
_RESPONSE: Final = """
    SELECT a.provider, a.model, a.upstream_model, a.usage
    FROM attempts AS a
    JOIN settlements AS s ON s.inference_id = a.inference_id
    JOIN inferences AS i ON i.inference_id = a.inference_id
    LEFT JOIN routing_outcomes AS o ON o.inference_id = a.inference_id
    WHERE a.response_id = ? AND i.account_id = ? AND s.ending = ? AND a.model = coalesce(o.model, a.model)
    ORDER BY s.settled_at DESC, a.inference_id DESC LIMIT 1
"""
_USAGE: Final = msgspec.json.Decoder(Usage)


def find_response(tx: Transaction, response_id: str, account_id: str) -> StoredResponse | None:
    """Return the exchange that an account completed with a provider's response id, or None (an operation).

    Of several it is the newest. Another account's is as unknown as one that never was, be it above or below this one.
    """
    row = tx.one(_RESPONSE, (response_id, account_id, Ending.COMPLETED))
    if row is None:
        return None
    provider, model, upstream_model, told = row
    usage = _USAGE.decode(told)
    return StoredResponse(provider, model, upstream_model, usage.input_tokens, usage.output_tokens)

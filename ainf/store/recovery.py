"""What a process that died left open is closed as ``abandoned``, at its last durable progress.

Each exchange is an operation of its own and settles like any other, so running recovery twice, or dying in the middle
of it, changes nothing: what is settled has no hold any more.
"""

import msgspec

from ainf.inference.outcome import Ending, Evidence
from ainf.inference.usage import Usage
from ainf.pricing import cost, price_from_canonical
from ainf.store.base import AttemptResult, Closing, Settlement
from ainf.store.settling import close_inference
from ainf.store.transaction import Transaction

_LEFT = """
    SELECT h.progress_at, h.progress_usage, h.progress_nusd, h.output_bytes, i.opened_at, i.model, i.upstream_model,
        i.provider, i.price_version, i.input_estimate, p.body
    FROM holds AS h
    JOIN inferences AS i ON i.inference_id = h.inference_id
    JOIN prices AS p ON p.price_version = i.price_version
    WHERE h.inference_id = ? AND h.epoch <> ?
"""
_USAGE = msgspec.json.Decoder(Usage)


def left_open(tx: Transaction) -> list[str]:
    """Return the ids of the exchanges that earlier epochs left open, in the order of their opening (an operation)."""
    rows = tx.execute("SELECT inference_id FROM holds WHERE epoch <> ? ORDER BY inference_id", (tx.epoch,))
    return [row[0] for row in rows]


def abandon(tx: Transaction, inference_id: str, at: int) -> Settlement | None:
    """Close one exchange of a dead process (an operation); None where there is nothing left to close.

    Without durable progress it cannot be known whether the provider was called: it is settled at the estimated input.
    """
    row = tx.one(_LEFT, (inference_id, tx.epoch))
    if row is None:
        return None
    progress_at, usage_json, progress_nusd, output_bytes, opened_at, *attempt, input_estimate, price = row
    if usage_json is None:
        usage = Usage(input_tokens=input_estimate)
        amount: int = cost(price_from_canonical(price.encode()), usage)
    else:
        usage = _USAGE.decode(usage_json)
        amount = progress_nusd
    closing = Closing(
        inference_id=inference_id,
        at=at,
        ending=Ending.ABANDONED,
        error_code=None,
        finish_reason=None,
        usage=usage,
        evidence=Evidence.METERED,
        cost_nusd=amount,
        output_bytes=output_bytes,
        received_bytes=output_bytes,  # at least: what was read and not handed over went with the process
        attempts=(_attempt(attempt, opened_at, progress_at or opened_at, usage, amount),),
        notes={"progress_at": progress_at},
    )
    return close_inference(tx, closing)


def _attempt(names: list[str], started_at: int, ended_at: int, usage: Usage, amount: int) -> AttemptResult:
    model, upstream_model, provider, price_version = names
    return AttemptResult(
        model=model,
        upstream_model=upstream_model,
        provider=provider,
        price_version=price_version,
        started_at=started_at,
        ended_at=ended_at,
        status=None,
        error_code=None,
        provider_request_id=None,
        response_id=None,
        raw_usage=None,
        raw_finish_reason=None,
        usage=usage,
        evidence=Evidence.METERED,
        cost_nusd=amount,
    )

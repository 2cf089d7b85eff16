"""What the outcomes of routed exchanges say of the models that answered them: for who starts anew (an operation)."""

from collections import Counter
from typing import Any, Final

from ainf.formats.finish import meaning_of
from ainf.inference.outcome import Ending
from ainf.routing.observed import PastAttempt
from ainf.store.transaction import Transaction

LOOKED_AT: Final = 20_000
"""Only so many outcomes are looked at, the newest, so that what is read does not grow with the books. A model that is
rarely asked may so have fewer attempts told than there are."""

_NEWEST: Final = """
    SELECT o.inference_id, a.model, a.provider, a.model = o.model, a.error_code,
        a.raw_finish_reason, s.ending, s.error_code, s.received_bytes, s.is_empty,
        CASE WHEN o.stream THEN o.first_byte_us - (a.started_at - i.opened_at) END,
        EXISTS (SELECT 1 FROM settlements AS r WHERE r.retry_of = o.inference_id)
    FROM (
        SELECT inference_id, at, outcome_id, stream, model, first_byte_us FROM routing_outcomes
        WHERE at >= ? AND inference_id IS NOT NULL ORDER BY at DESC, outcome_id DESC LIMIT ?
    ) AS o
    JOIN inferences AS i ON i.inference_id = o.inference_id
    JOIN settlements AS s ON s.inference_id = o.inference_id
    JOIN attempts AS a ON a.inference_id = o.inference_id
    WHERE i.protocol <> 'count_tokens' -- who can count need not be able to answer
    ORDER BY o.at DESC, o.outcome_id DESC, a.number DESC
"""


def recent_outcomes(tx: Transaction, *, since: int, most: int) -> list[PastAttempt]:
    """Return how the attempts of routed exchanges went, newest first.

    Args:
        tx: the transaction.
        since: outcomes from this moment on (microseconds since 1970).
        most: at most so many of each model at a provider.
    """
    told: Counter[tuple[str, str]] = Counter()
    history = []
    last = None
    for inference_id, model, provider, may_have_served, *rest in tx.execute(_NEWEST, (since, LOOKED_AT)):
        # An outcome names the model that served; where that was tried more than once, it is the last try.
        has_served = bool(may_have_served) and inference_id != last
        if has_served:
            last = inference_id
        told[provider, model] += 1
        if told[provider, model] <= most:
            history.append(_past(provider, model, rest, has_served=has_served))
    return history


def _past(provider: str, model: str, row: list[Any], *, has_served: bool) -> PastAttempt:
    error, raw_finish, ending, exchange_error, received_bytes, is_empty, first_content_us, was_asked_again = row
    if not has_served:
        return PastAttempt(provider=provider, model=model, ending=None, error_code=error)
    return PastAttempt(
        provider=provider,
        model=model,
        ending=Ending(ending),
        error_code=error or exchange_error,
        finish=None if raw_finish is None else meaning_of(raw_finish),
        # Two clocks: one that was set back meanwhile leaves less than nothing.
        first_content_us=first_content_us if first_content_us is not None and first_content_us >= 0 else None,
        has_content=received_bytes > 0,
        is_empty=bool(is_empty),
        was_asked_again=bool(was_asked_again),
    )

"""Receipts: an exchange as its account may read of it, with its attempts and, where it was routed, the decision."""

from typing import Final

import attrs

from ainf.http.openapi.shapes import (
    Schema,
    anything,
    count,
    flag,
    items,
    mapping,
    moment,
    nullable,
    record,
    ref,
    text,
    whole,
    word,
)
from ainf.inference.outcome import Ending, Evidence
from ainf.inference.usage import Usage
from ainf.ledger import Window
from ainf.protocols.registry import PROTOCOLS
from ainf.routing.candidates import Filter
from ainf.routing.hint import PREFERENCES
from ainf.routing.outcome import RoutingStatus

NUSD: Final = "In nano-dollars (1e-9 USD)."
TOKENS: Final = {
    "input_tokens": "Everything that the model read, cached or not.",
    "cached_input_tokens": "The part that was read from a cache.",
    "cache_write_tokens": "The part that was written to a cache.",
    "long_cache_write_tokens": "The part of those that was written for longer than usual.",
    "output_tokens": "Everything that the model wrote.",
    "reasoning_tokens": "The part that is reasoning, shown or not.",
    "audio_input_tokens": "The part of the input that was sound.",
    "audio_output_tokens": "The part of the output that is sound.",
}

_QUALITY: Final = whole("In thousandths.", minimum=0, maximum=1000)
_UNKNOWN: Final = "Null while it runs."
_ERROR: Final = nullable(ref("ErrorCode"))
_EVIDENCE: Final = nullable(word(Evidence, "What it is founded on: the provider's usage, our own count, or nothing."))


def schemas() -> dict[str, Schema]:
    """Return the schemas of a receipt and its parts, by name."""
    return {
        "Receipt": _receipt(),
        "Attempt": _attempt(),
        "CountedCap": _cap(),
        "Routing": _routing(),
        "Candidate": _candidate(),
        "TokenUsage": record({field.name: count(TOKENS[field.name]) for field in attrs.fields(Usage)}),
    }


def _receipt() -> Schema:
    return record(
        {
            "state": word(("open", "settled")),
            "spooled": flag(
                "It is settled, and waits outside the database, which was away: until that has it, its hashes are null,"
                " and its caps and its routing may be missing."
            ),
            "inference_id": text(),
            "account": text("The name of the account that is charged."),
            "account_id": text(),
            "key_id": text(),
            "protocol": word(PROTOCOLS),
            "path": text(),
            "stream": flag("Whether a stream was asked for."),
            "requested_model": text(),
            "router": nullable(
                text("`direct`, or the routing target that its model was chosen from; null where it is too old to say.")
            ),
            "model": text("That answered, or was tried last."),
            "provider": text(),
            "ending": nullable(word(Ending, f"How it ended. {_UNKNOWN}")),
            "error_code": _ERROR,
            "finish_reason": nullable(text("What the client was told.")),
            "evidence": _EVIDENCE,
            "usage": ref("TokenUsage"),
            "held_nusd": count(f"What was set aside for it. {NUSD}"),
            "settled_nusd": nullable(count(f"What it is charged of that. {NUSD} {_UNKNOWN}")),
            "released_nusd": nullable(count(f"What was given back. {NUSD} {_UNKNOWN}")),
            "overrun_nusd": nullable(count(f"What it is charged beyond. {NUSD} {_UNKNOWN}")),
            "output_bytes": count("Visible output that was handed to the client before its last event."),
            "received_bytes": nullable(count(f"Visible output that came from the provider. {_UNKNOWN}")),
            "price_version": text("The price that it was admitted at."),
            "clamp_tokens": nullable(
                count("The output limit that was sent, where a cap left less than was asked for.")
            ),
            "labels": mapping(text(), "Of `x-ainf-labels`."),
            "notes": mapping(anything("Any value."), "What an auditor should know besides."),
            "retry_of": nullable(text("The earlier exchange that it asked again.")),
            "is_empty": nullable(flag(f"It was charged, and nothing came. {_UNKNOWN}")),
            "caps": items(ref("CountedCap"), "The caps and the balance that it counts on."),
            "routing": nullable(ref("Routing")),
            "attempts": items(ref("Attempt"), "The calls to providers, in order."),
            "adjustments": items(
                record({"amount_nusd": whole(NUSD), "at": moment()}), "Corrections that were posted later."
            ),
            "opened_at": moment(),
            "settled_at": nullable(moment()),
            "hash": nullable(text("Of its closing event in the audit chain.")),
            "prev_hash": nullable(text("Of the event before that.")),
        },
        description="An exchange, open or settled. Of an open one usage and output are its last durable progress.",
    )


def _attempt() -> Schema:
    known = "Null where it is not known yet."
    return record({
        "model": text(),
        "upstream_model": text("Its name at the provider."),
        "provider": text(),
        "status": nullable(whole("The provider's HTTP status; null where no answer came.")),
        "error_code": _ERROR,
        "evidence": _EVIDENCE,
        "usage": nullable(ref("TokenUsage")),
        "cost_nusd": nullable(count(f"{NUSD} {known}")),
        "price_version": text("The price that it was reckoned with."),
        "provider_request_id": nullable(text("The provider's id of the request.")),
        "response_id": nullable(text("The provider's id of the answer.")),
        "raw_finish_reason": nullable(text("In the provider's own words.")),
        "redials": nullable(count("How often a connection that had gone stale was dialled again.")),
        "aborted_billing": nullable(
            word(("delivered", "drain", "held"), "How it was reckoned, where the gateway broke it off.")
        ),
        "started_at": moment(),
        "ended_at": nullable(moment()),
    })


def _cap() -> Schema:
    return record({
        "cap_id": text(),
        "kind": word(("cap", "balance")),
        "of": text("Whose it is: `account research`, `key k1`."),
        "window": word(Window),
        "model": text("The pattern of model names that it is for."),
        "window_start": nullable(moment("Null where it counts from the beginning.")),
    })


def _routing() -> Schema:
    hint = record({
        "min_quality": nullable(_QUALITY),
        "max_cost_nusd": nullable(count(NUSD)),
        "task_type": nullable(text()),
    })
    return record(
        {
            "status": nullable(word(RoutingStatus, f"What became of it. {_UNKNOWN}")),
            "served": nullable(count(f"The number of the attempt that answered, or was tried last. {_UNKNOWN}")),
            "decision_sha256": nullable(text("Of the decision's record, as the audit event has it.")),
            "target": text("The routing target that was asked for, by its canonical name."),
            "requested": text("The name that was asked for."),
            "ruleset": text("The hash of what was decided by."),
            "floor": _QUALITY,
            "floor_from": word(("hint", "dial", "default")),
            "preference": word(PREFERENCES, "The one that took effect."),
            "unknown_preference": nullable(text("What the hint preferred, where there is no such preference.")),
            "hint": hint,
            "need": mapping(anything("Any value."), "What the request needs of a model."),
            "ranked": items(text(), "The models, in the order in which they are tried."),
            "candidates": items(ref("Candidate"), "The models of the target that the key may use."),
        },
        description="How the model was chosen, where the request named a routing target.",
    )


def _candidate() -> Schema:
    return record({
        "model": text(),
        "provider": text(),
        "quality": _QUALITY,
        "quality_from": word(("prior", "blended"), "As configured, or blended with what its answers showed."),
        "observations": count("How many answers a blended quality rests on."),
        "input_tokens": count("Estimated."),
        "output_tokens": count("Expected."),
        "cost_nusd": count(f"Expected. {NUSD}"),
        "price": text("The version of its price."),
        "latency_ms": nullable(count("What a tie is broken with.")),
        "rests_ms": nullable(count("For how long it is let rest, if it is.")),
        "fell": nullable(word(Filter, "At what it was left out; null: it is ranked.")),
    })

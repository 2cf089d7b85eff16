"""The gateway's own documents, beside receipts: models, usage, states."""

from typing import Any, Final

from ainf.http.openapi import receipts
from ainf.http.openapi.receipts import NUSD, TOKENS
from ainf.http.openapi.shapes import (
    Schema,
    constant,
    count,
    flag,
    items,
    moment,
    nullable,
    record,
    ref,
    text,
    whole,
    word,
)
from ainf.ledger import Window
from ainf.store.usage import DIMENSIONS

_SUMS: Final = ("settled", "overrun", "adjustments", "spent")


def _either_unit(*names: str) -> dict[str, Schema]:
    """Return amounts as usage tells them: in nano-dollars, and in dollars."""
    return {
        field: schema
        for name in names
        for field, schema in ((f"{name}_nusd", whole(NUSD)), (f"{name}_usd", ref("USD")))
    }


def _models() -> dict[str, Schema]:
    own = record(
        {"kind": word(("model", "target"))},
        {
            "target": text("Of a routing target: its canonical name; this may be an alias."),
            "models": items(text(), "Of a routing target: the models that the key may get by it."),
        },
    )
    model = record(
        {
            "id": text("What requests name it by."),
            "object": constant("model"),
            "type": constant("model"),
            "display_name": text(),
            "owned_by": text("Its provider; `ainf` for a routing target."),
            "created": count("When the gateway began, in seconds since 1970."),
            "created_at": moment("The same."),
            "lifecycle": constant("active"),
            "max_tokens": count("The most output that it can give."),
            "ainf": own,
        },
        description="OpenAI's model object, and Anthropic's; `ainf` is the gateway's own.",
    )
    first_last = nullable(text())
    listing = record({
        "object": constant("list"),
        "data": items(ref("Model")),
        "has_more": constant(value=False),
        "first_id": first_last,
        "last_id": first_last,
    })
    return {"Model": model, "ModelList": listing}


def _usage() -> dict[str, Schema]:
    sums = {
        "exchanges": count("Those that were admitted in the period, and have ended."),
        **{name: count() for name in TOKENS},
        **_either_unit(*_SUMS),
    }
    cap = record({
        "kind": word(("cap", "balance")),
        "of": text("Whose it is."),
        "window": word(Window),
        "model": text("The pattern of model names that it is for."),
        "applies": flag("False for a balance behind another one, which pays."),
        **_either_unit("limit", "settled", "held", "left"),
        "resets_at": nullable(moment("Null where it never does.")),
    })
    limit = nullable(whole("Null: no limit.", minimum=1))
    names = ("requests_per_minute", "tokens_per_minute", "concurrent_streams")
    document = record({
        "object": constant("usage"),
        "since": moment(),
        "until": moment(),
        "by": items(word(DIMENSIONS)),
        "rows": items(
            record(sums, {name: text() for name in DIMENSIONS}), "Each with the values of what it is summed by."
        ),
        "totals": record(sums),
        "held": record({"exchanges": count(), **_either_unit("held")}, description="Set aside for those that run now."),
        "account": text("Of the key."),
        "key_id": text(),
        "caps": items(cap, "On the key and its account and those above, the nearest first."),
        "limits": record(dict.fromkeys(names, limit), description="Of the key."),
    })
    return {"Usage": document}


def schemas() -> dict[str, Schema]:
    """Return the schemas of the gateway's own documents, by name."""
    return {
        **_models(),
        **receipts.schemas(),
        **_usage(),
        "Health": record({"status": constant("ok")}),
        "Readiness": record({"status": constant("ready"), "running": count("Exchanges that run.")}),
    }


def csv_media() -> dict[str, Any]:
    """Return the media type of usage as CSV."""
    columns = ", ".join(f"`{name}`" for name in ("exchanges", *TOKENS, *_either_unit(*_SUMS)))
    described = (
        f"RFC 4180, with a header row: what it is summed by, in the order asked for, then {columns}. Text that a "
        "spreadsheet would take for a formula has a quotation mark before it."
    )
    return {"schema": text(described)}

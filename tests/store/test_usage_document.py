"""Usage as programs read it."""

import csv
from io import StringIO

import msgspec
import pytest

from ainf.inference.moments import DAY_US
from ainf.ledger import CapState, Window
from ainf.store.period import Period
from ainf.store.usage import Sums, UsageAsk, UsageReport, UsageRow, Whose
from ainf.store.usage_document import cap_documents, usage_csv, usage_document

SUMS = Sums(
    exchanges=2, input_tokens=30, cached_input_tokens=5, cache_write_tokens=4, long_cache_write_tokens=3,
    output_tokens=20, reasoning_tokens=2, audio_input_tokens=1, audio_output_tokens=6, settled_nusd=1_500_000_000,
    overrun_nusd=11, adjustments_nusd=-7,
)  # fmt: skip
TOLD = {
    "exchanges": 2,
    "input_tokens": 30,
    "cached_input_tokens": 5,
    "cache_write_tokens": 4,
    "long_cache_write_tokens": 3,
    "output_tokens": 20,
    "reasoning_tokens": 2,
    "audio_input_tokens": 1,
    "audio_output_tokens": 6,
    "settled_nusd": 1_500_000_000,
    "settled_usd": "1.5",
    "overrun_nusd": 11,
    "overrun_usd": "0.000000011",
    "adjustments_nusd": -7,
    "adjustments_usd": "-0.000000007",
    "spent_nusd": 1_500_000_004,
    "spent_usd": "1.500000004",
}


def report(*names: str) -> UsageReport:
    ask = UsageAsk(Whose(), Period(0, DAY_US), ("day", "model"))
    rows = tuple(UsageRow(("1970-01-01", name), SUMS) for name in names)
    return UsageReport(ask, rows, sum((row.sums for row in rows), Sums()), 3, 250)


def test_a_document():
    """Every sum, each amount as whole nano-dollars and as a decimal string; it says which time it is about."""
    document = usage_document(report("gpt"))
    assert document == {
        "object": "usage",
        "since": "1970-01-01T00:00:00.000000Z",
        "until": "1970-01-02T00:00:00.000000Z",
        "by": ["day", "model"],
        "rows": [{"day": "1970-01-01", "model": "gpt", **TOLD}],
        "totals": TOLD,
        "held": {"exchanges": 3, "held_nusd": 250, "held_usd": "0.00000025"},
    }
    assert msgspec.json.decode(msgspec.json.encode(document)) == document


def test_csv():
    """RFC 4180: a header row, lines that end in CRLF, quotation where needed; the columns of the document."""
    text = usage_csv(report("gpt", 'a "model", so to say'))
    assert text.startswith("day,model,exchanges,input_tokens,")
    assert text.count("\r\n") == text.count("\n") == 3
    assert '"a ""model"", so to say"' in text
    head, *rows = csv.reader(StringIO(text, newline=""))
    assert head == ["day", "model", *TOLD]
    assert rows == [["1970-01-01", name, *map(str, TOLD.values())] for name in ("gpt", 'a "model", so to say')]


def test_csv_of_nothing():
    """Its header row stands also where there are no rows."""
    assert usage_csv(report()).splitlines() == [",".join(["day", "model", *TOLD])]


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\rx"])
def test_csv_runs_nothing(name):
    """A name is never a formula to a spreadsheet; a negative amount stays a number."""
    _, row = csv.reader(StringIO(usage_csv(report(name)), newline=""))
    assert row[1] == "'" + name
    assert "-7" in row


def test_caps():
    """Each with what it leaves and when it resets; of the balances only the nearest pays."""
    day = CapState("c1", 0, 1_000_000_000, 300_000_000, 200_000_000, Window.DAY, "key k1", "gpt-*")
    paid = [CapState(f"b{n}", 0, 5, 9, 0, Window.LIFETIME, f"account {n}", "*", "balance") for n in (1, 2)]
    found = cap_documents([day, *paid])
    assert found[0] == {
        "kind": "cap",
        "of": "key k1",
        "window": "day",
        "model": "gpt-*",
        "applies": True,
        "limit_nusd": 1_000_000_000,
        "limit_usd": "1",
        "settled_nusd": 300_000_000,
        "settled_usd": "0.3",
        "held_nusd": 200_000_000,
        "held_usd": "0.2",
        "left_nusd": 500_000_000,
        "left_usd": "0.5",
        "resets_at": "1970-01-02T00:00:00.000000Z",
    }
    assert [(cap["of"], cap["applies"], cap["left_usd"], cap["resets_at"]) for cap in found[1:]] == [
        ("account 1", True, "-0.000000004", None),
        ("account 2", False, "-0.000000004", None),
    ]

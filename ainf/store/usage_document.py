"""Usage as programs read it: a document of JSON's types, or CSV. Amounts stand twice: in nano-dollars, in dollars."""

import csv
from collections.abc import Sequence
from io import StringIO
from typing import Any, Final

import attrs

from ainf.inference.moments import rfc3339
from ainf.inference.money import format_usd
from ainf.ledger import CapState
from ainf.store.usage import Sums, UsageReport

_NANO: Final = "_nusd"
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
"""How a cell begins that a spreadsheet takes for a formula."""


def usage_document(report: UsageReport) -> dict[str, Any]:
    """Return all of a report."""
    ask = report.ask
    return {
        "object": "usage",
        "since": rfc3339(ask.period.since),
        "until": rfc3339(ask.period.until),
        "by": list(ask.by),
        "rows": [dict(zip(ask.by, row.group, strict=True)) | _sums(row.sums) for row in report.rows],
        "totals": _sums(report.totals),
        "held": {"exchanges": report.running} | _amounts(held_nusd=report.held_nusd),
    }


def cap_documents(caps: Sequence[CapState]) -> list[dict[str, Any]]:
    """Return caps and balances, the nearest first; of the balances only the first ``applies``."""
    balances = [cap for cap in caps if cap.kind == "balance"]
    return [
        {
            "kind": cap.kind,
            "of": cap.whose,
            "window": cap.window.value,
            "model": cap.model,
            "applies": cap not in balances[1:],
            **_amounts(
                limit_nusd=cap.limit_nusd,
                settled_nusd=cap.settled_nusd,
                held_nusd=cap.held_nusd,
                left_nusd=cap.headroom,
            ),
            "resets_at": None if cap.resets_at is None else rfc3339(cap.resets_at),
        }
        for cap in caps
    ]


def usage_csv(report: UsageReport) -> str:
    """Return the rows of a report as RFC 4180 has it, under a header row.

    Text that a spreadsheet would take for a formula has a quotation mark before it.
    """
    file = StringIO(newline="")
    writer = csv.writer(file)
    writer.writerow([*report.ask.by, *_sums(Sums())])
    for row in report.rows:
        writer.writerow([*map(_harmless, row.group), *_sums(row.sums).values()])
    return file.getvalue()


def _harmless(text: str) -> str:
    return "'" + text if text.startswith(_FORMULA) else text


def _sums(sums: Sums) -> dict[str, Any]:
    counts = attrs.asdict(sums) | {"spent_nusd": sums.spent_nusd}
    amounts = {name: count for name, count in counts.items() if name.endswith(_NANO)}
    return {name: count for name, count in counts.items() if name not in amounts} | _amounts(**amounts)


def _amounts(**nano: int) -> dict[str, Any]:
    """Return amounts named ``*_nusd``, each with its decimal string of dollars beside it, ``*_usd``."""
    told: dict[str, Any] = {}
    for name, amount in nano.items():
        told |= {name: amount, f"{name.removesuffix(_NANO)}_usd": format_usd(amount)}
    return told

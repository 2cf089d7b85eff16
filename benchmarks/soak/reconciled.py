"""The gateway's ledger beside the books of its providers, call by call: what differs, and why it may."""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import apsw
import attrs

from benchmarks.soak.place import INPUT_RATE, OUTPUT_RATE

Call = tuple[str, str]
"""An exchange, and the format of the provider that was called for it: an exchange calls none of them twice."""

_FORMATS: Final = {
    "/v1/chat/completions": "chat", "/v1/messages": "messages", "/v1/responses": "responses",
}  # fmt: skip
_ATTEMPTS: Final = """
    SELECT a.inference_id, a.provider, a.status, a.evidence, a.usage, a.aborted_billing, s.ending,
        (SELECT coalesce(sum(e.amount_nusd), 0) FROM entries AS e WHERE e.inference_id = a.inference_id
            AND e.attempt = a.number AND e.kind IN ('settle', 'overrun', 'adjustment'))
    FROM attempts AS a JOIN settlements AS s ON s.inference_id = a.inference_id
"""
_POSTED: Final = "SELECT coalesce(sum(amount_nusd), 0) FROM entries WHERE kind IN ('settle', 'overrun', 'adjustment')"

EXACT: Final = "by the provider's usage: to the token"
FREE: Final = "nothing billed, nothing charged"
UNTOLD: Final = "the provider never told its usage: counted by us"
NO_ANSWER: Final = "a 200 that was no answer: its input is charged, and not billed"
CROSSED: Final = "its usage was on the way as the answer was broken off: counted by us"
BEFORE_HEAD: Final = "broken off before its head had come: not charged"
HELD: Final = "broken off, and the provider bills on: all that was held is charged"
CLASSES: Final = (EXACT, FREE, UNTOLD, NO_ANSWER, CROSSED, BEFORE_HEAD, HELD)
"""Every call belongs to one of these; a call that does not is unexplained."""


@attrs.frozen
class Charge:
    """One attempt, as the ledger has it."""

    call: Call
    status: int | None
    evidence: str
    input_tokens: int
    output_tokens: int
    aborted_billing: str | None
    ending: str
    posted_nusd: int


@attrs.frozen
class Bill:
    """What a provider bills for a call, all its dials together."""

    input_tokens: int = 0
    output_tokens: int = 0
    has_told: bool = False
    """Whether it sent its usage."""

    @property
    def nusd(self) -> int:
        """The amount."""
        return self.input_tokens * INPUT_RATE + self.output_tokens * OUTPUT_RATE


@attrs.define
class Sum:
    """All calls of one class."""

    calls: int = 0
    billed_nusd: int = 0
    posted_nusd: int = 0
    largest_nusd: int = 0
    """The largest difference, without its sign."""

    def add(self, billed_nusd: int, posted_nusd: int) -> None:
        """Add a call."""
        self.calls += 1
        self.billed_nusd += billed_nusd
        self.posted_nusd += posted_nusd
        self.largest_nusd = max(self.largest_nusd, abs(billed_nusd - posted_nusd))


@attrs.frozen
class Reconciliation:
    """The sums of each class, and what belongs to none."""

    sums: Mapping[str, Sum]
    unexplained: tuple[str, ...]
    """A line for each."""
    unexplained_nusd: int


def reconcile(charges: Iterable[Charge], bills: Mapping[Call, Bill], posted_nusd: int) -> Reconciliation:
    """Lay each attempt beside its bill.

    Args:
        charges: every attempt of the ledger.
        bills: every call that a provider knows of.
        posted_nusd: all that was posted, which must be the sum of what was posted for attempts.
    """
    sums: dict[str, Sum] = defaultdict(Sum)
    unexplained, amount, left = [], 0, dict(bills)
    total = 0
    for charge in charges:
        bill = left.pop(charge.call, Bill())
        total += charge.posted_nusd
        name = class_of(charge, bill)
        if name is None:
            amount += max(1, abs(bill.nusd - charge.posted_nusd))
            unexplained.append(f"{charge} beside {bill}")
        else:
            sums[name].add(bill.nusd, charge.posted_nusd)
    for call, bill in left.items():
        if bill.nusd:
            amount += bill.nusd
            unexplained.append(f"{call}: {bill} is billed for what is not in the ledger")
    if total != posted_nusd:
        amount += abs(posted_nusd - total)
        unexplained.append(f"{posted_nusd - total} nano-dollars are posted for no attempt")
    return Reconciliation(sums, tuple(unexplained), amount)


def class_of(charge: Charge, bill: Bill) -> str | None:
    """Return why a charge may differ from its bill; None where it may not."""
    if charge.evidence == "reported":
        tokens = (charge.input_tokens, charge.output_tokens) == (bill.input_tokens, bill.output_tokens)
        return EXACT if tokens and charge.posted_nusd == bill.nusd else None
    if not charge.posted_nusd and not bill.nusd:
        return FREE
    if charge.aborted_billing == "held" and charge.posted_nusd:
        return HELD
    if charge.status is None:
        return BEFORE_HEAD if not charge.posted_nusd else None
    if charge.evidence != "metered":
        return None
    if not bill.nusd:
        return NO_ANSWER
    if not bill.has_told:
        return UNTOLD
    return CROSSED if charge.ending != "completed" else None


def read_charges(database: Path) -> tuple[list[Charge], int]:
    """Return every attempt of a ledger, and all that was posted."""
    with apsw.Connection(str(database), flags=apsw.SQLITE_OPEN_READONLY) as books:
        charges = [_charge(*row) for row in books.execute(_ATTEMPTS)]
        return charges, int(books.execute(_POSTED).get)


def _charge(
    inference_id: str,
    provider: str,
    status: int | None,
    evidence: str,
    usage: str,
    aborted_billing: str | None,
    ending: str,
    posted_nusd: int,
) -> Charge:
    told = json.loads(usage)
    return Charge(
        (inference_id, provider), status, evidence, told["input_tokens"], told["output_tokens"], aborted_billing,
        ending, posted_nusd,
    )  # fmt: skip


def read_bills(entries: Iterable[Mapping[str, Any]]) -> dict[Call, Bill]:
    """Return what the simulators bill, by call."""
    bills: dict[Call, Bill] = {}
    for entry in entries:
        call = (entry["headers"].get("x-client-request-id", "unknown"), _FORMATS.get(entry["path"], "gemini"))
        before = bills.get(call, Bill())
        bills[call] = Bill(
            before.input_tokens + entry["billed_input_tokens"],
            before.output_tokens + entry["billed_output_tokens"],
            before.has_told or entry["usage_sent"],
        )
    return bills

"""The ledger beside the providers' books: what may differ, and what is unexplained."""

import json

import apsw
import attrs
import pytest

from benchmarks.soak.reconciled import (
    BEFORE_HEAD,
    CROSSED,
    EXACT,
    FREE,
    HELD,
    NO_ANSWER,
    UNTOLD,
    Bill,
    Charge,
    class_of,
    read_bills,
    read_charges,
    reconcile,
)  # fmt: skip

CALL = ("inf_1", "chat")
REPORTED = Charge(CALL, 200, "reported", 10, 20, None, "completed", 50_000)
BILL = Bill(10, 20, has_told=True)
METERED = attrs.evolve(REPORTED, evidence="metered", output_tokens=15, posted_nusd=40_000, ending="client_disconnected")
NOTHING = Charge(CALL, None, "none", 0, 0, None, "upstream_error", 0)
UNSAID = Bill(10, 20)


@pytest.mark.parametrize(
    ("charge", "bill", "name"),
    [
        (REPORTED, BILL, EXACT),
        (attrs.evolve(REPORTED, posted_nusd=50_001), BILL, None),
        (attrs.evolve(REPORTED, output_tokens=19), BILL, None),
        (REPORTED, Bill(), None),
        (NOTHING, Bill(), FREE),
        (NOTHING, BILL, BEFORE_HEAD),
        (attrs.evolve(NOTHING, aborted_billing="held"), BILL, BEFORE_HEAD),
        (attrs.evolve(NOTHING, aborted_billing="held", status=200), BILL, None),
        (attrs.evolve(NOTHING, status=200), BILL, None),
        (attrs.evolve(NOTHING, posted_nusd=1), BILL, None),
        (METERED, UNSAID, UNTOLD),
        (METERED, BILL, CROSSED),
        (attrs.evolve(METERED, ending="completed"), BILL, None),
        (attrs.evolve(METERED, evidence="none"), UNSAID, None),
        (METERED, Bill(), NO_ANSWER),
        (attrs.evolve(METERED, aborted_billing="held"), UNSAID, HELD),
        (attrs.evolve(METERED, aborted_billing="held", status=None), UNSAID, HELD),
    ],
)
def test_every_call_has_a_class_or_is_unexplained(charge, bill, name):
    """What a provider reported is charged to the token; all else differs for a reason that has a name."""
    assert class_of(charge, bill) == name


def test_sums():
    """Each class has its calls, what was billed and charged, and the largest difference."""
    other = attrs.evolve(METERED, call=("inf_2", "chat"))
    books = reconcile([METERED, other], {CALL: UNSAID, other.call: Bill(10, 12)}, 80_000)
    sums = books.sums[UNTOLD]
    assert (sums.calls, sums.billed_nusd, sums.posted_nusd, sums.largest_nusd) == (2, 84_000, 80_000, 10_000)
    assert (books.unexplained, books.unexplained_nusd) == ((), 0)


@pytest.mark.parametrize(
    ("charges", "bills", "posted", "amount"),
    [
        ([attrs.evolve(REPORTED, posted_nusd=50_007)], {CALL: BILL}, 50_007, 7),
        ([REPORTED], {CALL: BILL, ("inf_9", "gemini"): BILL}, 50_000, 50_000),
        ([REPORTED], {CALL: BILL}, 50_001, 1),
        ([attrs.evolve(REPORTED, output_tokens=19)], {CALL: BILL}, 50_000, 1),
    ],
    ids=["charged otherwise", "billed for nothing known", "posted for no attempt", "other tokens"],
)
def test_what_is_unexplained_is_told(charges, bills, posted, amount):
    """Every way in which the books may disagree is found, with its amount."""
    books = reconcile(charges, bills, posted)
    assert len(books.unexplained) == 1
    assert books.unexplained_nusd == amount


def test_bills_are_summed_by_call():
    """A call that was dialled twice is one; the format is told from the path."""
    entry = {
        "headers": {"x-client-request-id": "inf_1"}, "path": "/v1/chat/completions", "billed_input_tokens": 3,
        "billed_output_tokens": 0, "usage_sent": False,
    }  # fmt: skip
    again = entry | {"billed_output_tokens": 5, "usage_sent": True}
    elsewhere = entry | {"path": "/v1beta/models/x:generateContent", "headers": {}}
    assert read_bills([entry, again, elsewhere]) == {CALL: Bill(6, 5, has_told=True), ("unknown", "gemini"): Bill(3, 0)}


def test_charges_are_read_from_the_ledger(tmp_path):
    """What was posted for an attempt: settled, overrun and adjusted, neither held nor released."""
    path = tmp_path / "books.db"
    with apsw.Connection(str(path)) as books:
        books.execute("CREATE TABLE entries (inference_id, attempt, kind, amount_nusd)")
        books.execute("CREATE TABLE settlements (inference_id, ending)")
        books.execute(
            "CREATE TABLE attempts (inference_id, number, provider, status, evidence, usage, aborted_billing)"
        )
        usage = json.dumps({"input_tokens": 10, "output_tokens": 20})
        books.execute("INSERT INTO attempts VALUES ('inf_1', 1, 'chat', 200, 'reported', ?, NULL)", (usage,))
        books.execute("INSERT INTO settlements VALUES ('inf_1', 'completed')")
        for kind, amount in (
            ("hold", 99),
            ("settle", 40_000),
            ("overrun", 11_000),
            ("adjustment", -1000),
            ("release", 9),
        ):
            books.execute("INSERT INTO entries VALUES ('inf_1', 1, ?, ?)", (kind, amount))
    assert read_charges(path) == ([REPORTED], 50_000)

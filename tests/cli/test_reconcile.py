"""``ainf ledger reconcile``."""

import json
import re

import pytest

from ainf.inference.money import format_usd
from ainf.inference.outcome import Ending, Evidence
from tests.store.books import COST, USAGE, Books
from tests.store.captured import attempt, close, line, route

SINCE = ("--since", "2023-11-01")
OTHER = """
[providers.anthropic]
format = "openai-compatible"
base_url = "https://other.test/v1"
api_key_env = "OTHER_KEY"
"""


@pytest.fixture
def commands(commands):
    """Books with three settled exchanges: two reported, one metered."""
    books = Books(commands.folder)
    books.account("acme")
    key = books.key("acme")
    commands.ids = [books.open(key) for _ in range(3)]
    for inference_id in commands.ids[:2]:
        books.close(inference_id)
    books.close(commands.ids[2], ending=Ending.CLIENT_DISCONNECTED, evidence=Evidence.METERED)
    books.engine.close()
    commands.config.write_text(commands.config.read_text().replace("books.db", "ainf.db"))
    return commands


def written(commands, *amounts, more=()):
    """An invoice with these amounts for the exchanges, in their order; None leaves one out."""
    path = commands.folder / "invoice.csv"
    rows = [f"{id_},{format_usd(amount)}" for id_, amount in zip(commands.ids, amounts, strict=True) if amount]
    path.write_text("\n".join(["inference_id,cost_usd", *rows, *more]))
    return str(path)


def test_equal(commands):
    """All agree: one line, and exit status 0."""
    invoice = written(commands, COST, COST, COST)
    assert commands.run("ledger", "reconcile", invoice, *SINCE) == f"Equal: 3 attempts, {format_usd(3 * COST)} USD.\n"
    told = commands.json("ledger", "reconcile", invoice, *SINCE)
    assert (told["lines"], told["equal"]["count"], told["differing"]["listed"]) == (3, 3, [])


def test_different(commands):
    """Every kind of difference has its table, and the exit status is 1."""
    invoice = written(commands, COST, None, COST + 5, more=("req_1,0.5", "req_2,x"))
    result = commands.invoke("ledger", "reconcile", invoice, *SINCE)
    assert result.exit_code == 1
    equal, *sections = result.stdout.split("\n\n")
    assert equal.startswith("Equal: 1 attempt,")
    different, by_ending, unknown, missing, left_out = map(str.splitlines, sections)
    assert different[0] == "Different: 1 attempt, 0.000000005 USD billed beyond what was charged."
    ours, theirs = format_usd(COST), format_usd(COST + 5)
    assert different[2].split() == [
        commands.ids[2], "1", "3", "client_disconnected", "metered", ours, theirs, "0.000000005",
        str(USAGE.input_tokens), "-", str(USAGE.output_tokens), "-",
    ]  # fmt: skip
    assert by_ending[2].split() == ["client_disconnected", "1", ours, theirs, "0.000000005"]
    assert unknown == ["On the invoice and not with us: 1 line, 0.5 USD.", *unknown[1:]]
    assert re.split(r" {2,}", unknown[2].strip()) == ["4", "req_1", "0.5", "no attempt has its id"]
    assert missing[0] == f"Charged and not on the invoice: 1 attempt, {ours} USD."
    assert missing[2].split() == [commands.ids[1], "1", "openai", "small", "completed", "reported", ours]
    assert left_out == ["Left out: 1 line; the first of them:", "Line 5: cost_usd is no number: 'x'."]
    told = json.loads(commands.invoke("ledger", "reconcile", invoice, *SINCE, "--json").stdout)
    assert told["differing"]["listed"][0]["difference_nusd"] == 5
    assert told["differing"]["by_ending"] == {
        "client_disconnected": {"count": 1, "ours_nusd": COST, "theirs_nusd": COST + 5}
    }
    assert told["only_on_invoice"]["listed"] == [
        {"line": 4, "id": "req_1", "is_ambiguous": False, "theirs_nusd": 500_000_000}
    ]
    assert told["only_with_us"]["count"] == 1
    assert told["unread"] == {"count": 1, "listed": [{"line": 5, "why": "cost_usd is no number: 'x'"}]}


def test_only_so_many_are_listed(commands):
    """The largest, and it is said that there are more."""
    invoice = written(commands, COST + 1, COST + 9, COST + 3)
    result = commands.invoke("ledger", "reconcile", invoice, *SINCE, "--most", "1")
    assert "13 USD billed beyond what was charged; the largest 1 of them.\n" in result.stdout
    assert commands.ids[1] in result.stdout
    assert commands.ids[2] not in result.stdout


def test_a_line_that_cannot_be_read_is_a_difference(commands):
    """What was left out may be anything: the exit status says so."""
    invoice = written(commands, COST, COST, COST, more=("req_1,x",))
    assert commands.invoke("ledger", "reconcile", invoice, *SINCE).exit_code == 1


def test_whose_and_when(commands):
    """Only what is of the provider and the period is looked for; a provider must be one that is configured."""
    invoice = written(commands, COST, None, None)
    assert commands.invoke("ledger", "reconcile", invoice, *SINCE, "--until", "2023-11-02").exit_code == 0
    assert commands.invoke("ledger", "reconcile", invoice, *SINCE, "--provider", "openai").exit_code == 1
    refused = commands.invoke("ledger", "reconcile", invoice, *SINCE, "--provider", "nobody")
    assert refused.exit_code == 2
    assert "there is no provider 'nobody' in the configuration" in refused.stderr
    assert commands.invoke("ledger", "reconcile", invoice).exit_code == 2


def test_two_providers_of_one_exchange(commands):
    """An exchange that fell back agrees with both their invoices; that of one of them is not taken for all of it."""
    commands.config.write_text(commands.config.read_text() + OTHER)
    books = Books(commands.folder)
    routed = route(books, books.key("acme"))
    attempt(books, routed, 2, "medium", (1, 700))
    both = close(books, routed, [line(books, "small", 700), line(books, "medium")])
    books.engine.close()
    commands.ids.append(routed)
    first = written(commands, COST, COST, COST, 700)
    assert "Equal: 4 attempts" in commands.run("ledger", "reconcile", first, *SINCE, "--provider", "openai")
    result = commands.invoke("ledger", "reconcile", first, *SINCE)
    (told,) = json.loads(commands.invoke("ledger", "reconcile", first, *SINCE, "--json").stdout)["differing"]["listed"]
    assert (told["inference_id"], told["attempt"]) == (routed, None)
    assert result.stdout.split("\n\n")[1].splitlines()[2].split()[:4] == [routed, "-", "5", "completed"]
    commands.ids = [commands.ids[0], routed]
    second = written(commands, COST, both.settled_nusd - 700)
    result = commands.invoke("ledger", "reconcile", second, *SINCE, "--provider", "anthropic")
    assert result.stdout.startswith("Equal: 1 attempt, ")
    assert result.stdout.endswith("  no attempt at anthropic has its id\n")


def test_what_is_no_invoice(commands):
    """It is refused in one line."""
    path = commands.folder / "invoice.csv"
    path.write_text("a,b\n1,2\n")
    assert commands.refused("ledger", "reconcile", str(path), *SINCE) == (
        f"The invoice {path} cannot be read: its first line names no id: at least one of inference_id,"
        " provider_request_id, response_id is needed."
    )

"""``ainf usage``."""

import csv
import re
from io import StringIO

import pytest

from ainf.inference.money import format_usd
from tests.store.books import COST, Books

SINCE = ("--since", "2023-11-01")


@pytest.fixture
def books(commands):
    """Three exchanges of two accounts, one of which ran over its hold; and one that runs."""
    books = Books(commands.folder)
    books.account("org")
    books.account("team", "org")
    above, below = books.key("org"), books.key("team")
    books.close(books.open(above))
    books.close(books.open(below))
    books.close(books.open(below), cost_nusd=500_000)
    books.open(above)
    books.engine.close()
    commands.config.write_text(commands.config.read_text().replace("books.db", "ainf.db"))
    return books


def test_a_table(commands, books):
    """A row for each group, a total, what is held; what ran over its hold is marked, and the mark explained."""
    lines = commands.run("usage", *SINCE, "--by", "account,day").splitlines()
    head, org, team, total, blank, when, mark = [re.split(r" {2,}", line) for line in lines]
    assert head == [
        "account", "day", "exchanges", "input", "cached", "output", "settled $", "overrun $", "adjusted $", "spent $",
    ]  # fmt: skip
    spent = format_usd(COST)
    assert org == ["org", "2023-11-14", "1", "100", "40", "50", spent, "0", "0", spent]
    assert team[-3:] == ["!", "0", format_usd(COST + 500_000)]
    assert total[0] == "total"
    assert total[-1] == format_usd(2 * COST + 500_000)
    assert blank == [""]
    assert re.fullmatch(
        r"From 2023-11-01T00:00:00Z until before \S+Z; running now: 1, which hold 0\.\d+ USD\.", " ".join(when)
    )
    assert mark[0].startswith("! Billed beyond what was held")


def test_of_one_account(commands, books):
    """An account with all below it; without anything over its hold there is no mark."""
    assert commands.json("usage", *SINCE, "--account", "team")["totals"]["exchanges"] == 2
    assert commands.json("usage", *SINCE, "--account", "org")["totals"]["exchanges"] == 3
    shown = commands.run("usage", "--since", "2023-11-01", "--until", "2023-11-02")
    assert "!" not in shown
    assert shown.splitlines()[1].split() == ["total", *["0"] * 8]


def test_for_programs(commands, books):
    """The same as the gateway's route tells, as JSON and as CSV."""
    told = commands.json("usage", *SINCE, "--by", "key")
    rows = list(csv.DictReader(StringIO(commands.run("usage", *SINCE, "--by", "key", "--csv"), newline="")))
    assert rows == [{name: str(value) for name, value in row.items()} for row in told["rows"]]
    assert told["totals"]["spent_nusd"] == 2 * COST + 500_000
    assert told["held"]["exchanges"] == 1


def test_calibration(commands, books):
    """How well each model is metered is told instead of usage."""
    assert [model["model"] for model in commands.json("usage", "--calibration")] == ["small", "gratis"]
    assert commands.run("usage", "--calibration").startswith("Output: bytes of a token")


@pytest.mark.parametrize(
    ("arguments", "text", "status"),
    [
        (["--by", "week"], "'week' is not some of day, model, provider, key, account, ending, evidence", 2),
        (["--since", "soon"], "'soon' is not a date such as 2026-11-01", 2),
        (["--since", "2023-11-02", "--until", "2023-11-01"], "--since must be before --until", 2),
        (["--json", "--csv"], "Give either --csv or --json.", 2),
        (["--calibration", "--by", "day"], "--calibration is of all models and all time, without --by.", 2),
        (["--calibration", "--csv"], "without --csv.", 2),
        (["--account", "none"], "There is no account 'none'", 1),
    ],
)
def test_refusals(commands, books, arguments, text, status):
    """Misuse has exit status 2, what is not there 1; both say what to do."""
    assert text in commands.refused("usage", *arguments, status=status)

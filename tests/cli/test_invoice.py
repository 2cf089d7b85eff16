"""Reading invoices: any CSV that people or programs write, and each line that cannot be used told of."""

from io import StringIO

import pytest

from ainf.cli.invoice import Fault, Invoice, InvoiceError, open_invoice
from ainf.store.reconcile import InvoiceLine


def lines_of(text: str) -> list[InvoiceLine]:
    invoice = Invoice(StringIO(text, newline=""), 10)
    lines = list(invoice)
    assert invoice.faults == []
    return lines


def faults_of(*rows: str) -> list[Fault]:
    invoice = Invoice(StringIO("\n".join(["response_id,cost_usd,input_tokens", *rows])), 10)
    assert list(invoice) == []
    return invoice.faults


@pytest.mark.parametrize(
    "text",
    [
        "response_id,cost_usd\nr1,0.5\nr2,0.25\n",
        "response_id,cost_usd\r\nr1,0.5\r\nr2,0.25",
        "response_id,cost_usd\rr1,0.5\rr2,0.25\r",
        "Response ID;Cost-USD\nr1;0.5\nr2;0.25\n",
        "cost_usd\tfoo\tresponse_id\n0.5\t1,2\tr1\n0.25\t\tr2\n",
        '"response_id","cost_usd"\n"r1","0.5"\n"r2","0.25"\n',
        "response_id,cost_usd,more\nr1, 0.50 ,x\nr2,2.5e-1\n",
    ],
    ids=["plain", "crlf", "cr", "semicolons", "tabs", "quotes", "blanks"],
)
def test_however_it_is_written(text):
    """Delimiters, quotes, line ends, the order and the spelling of names do not matter."""
    assert lines_of(text) == [
        InvoiceLine(line=2, response_id="r1", cost_nusd=500_000_000),
        InvoiceLine(line=3, response_id="r2", cost_nusd=250_000_000),
    ]


def test_all_columns():
    """Every id and amount has its column; what is empty is not said."""
    text = (
        "inference_id,provider_request_id,response_id,cost_usd,input_tokens,output_tokens\n"
        "i,p,r,0.000000001,7,0\n,,r,,7.0,\n"
    )
    assert lines_of(text) == [
        InvoiceLine(
            line=2, inference_id="i", provider_request_id="p", response_id="r", cost_nusd=1, input_tokens=7,
            output_tokens=0,
        ),
        InvoiceLine(line=3, response_id="r", input_tokens=7),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "nano"),
    [("0.0000000011", 2), ("-0.5", -500_000_000), ("1E-9", 1), ("0", 0), ("1e-99", 1), ("+2", 2_000_000_000)],
)
def test_amounts_are_exact(text, nano):
    """A fraction of a nano-dollar is rounded up, as our costs are; a credit is an amount below nothing."""
    (line,) = lines_of(f"response_id,cost_usd\nr,{text}\n")
    assert line.cost_nusd == nano


def test_lines_are_told_as_an_editor_counts_them():
    """Blank lines, before the header too, and cells of several lines count."""
    text = '\n  \nresponse_id,cost_usd,note\nr1,1,"two\nlines"\n\n,,\nr2,2,\n'
    assert [line.line for line in lines_of(text)] == [4, 8]


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ("r,abc,1", "cost_usd is no number: 'abc'"),
        ("r,$0.10,1", "cost_usd is no number: '$0.10'"),
        ("r,nan,1", "cost_usd is no number: 'nan'"),
        ("r,inf,1", "cost_usd is no number: 'inf'"),
        ("r,1e999999,1", "cost_usd is no number: '1e999999'"),
        ("r,0." + "1" * 100 + ",1", "cost_usd is no number: '0." + "1" * 38 + "'"),
        ("r,1e6,1", "cost_usd is too large for a request: '1e6'"),
        ("r,1,1.5", "input_tokens is no count: '1.5'"),
        ("r,1,-1", "input_tokens is no count: '-1'"),
        (",1,1", "it has no id"),
        ("r,,", "it has no amount"),
        ("r", "it has no amount"),
        ("r,1,1,1", "it has more cells than the header"),
        ("r" * 300 + ",1,1", "its id has more than 256 characters"),
    ],
)
def test_what_cannot_be_used(row, why):
    """Such a line is left out and told of; the others are used."""
    assert faults_of(row) == [Fault(2, why)]


def test_faults_are_counted_and_the_first_kept():
    """A file that is wrong in every line is not kept in memory."""
    invoice = Invoice(StringIO("response_id,cost_usd\n" + "r,x\n" * 100), 3)
    assert list(invoice) == []
    assert invoice.fault_count == 100
    assert [fault.line for fault in invoice.faults] == [2, 3, 4]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "it is empty"),
        ("\n \n", "it is empty"),
        ("id,cost_usd\n", "its first line names no id"),
        ("response_id,price\n", "its first line names no amount"),
        ("response_id,cost_usd,Cost USD\n", "its first line names cost_usd more than once"),
        ('response_id,cost_usd\nr1,1\n"r2,1\nr3,1\n', "from line 3 on it is no CSV"),
    ],
)
def test_what_is_no_invoice(text, why):
    """It is refused with the place and the reason."""
    with pytest.raises(InvoiceError, match=why):
        list(Invoice(StringIO(text), 10))


@pytest.mark.parametrize(
    "data", ["response_id,cost_usd\n".encode("utf-16"), b"response_id,cost_usd\n" * 2000 + b"\xff"]
)
def test_what_is_not_utf_8(data, tmp_path):
    """It is refused with what to do, wherever it is found; a byte order mark is not in the way."""
    path = tmp_path / "invoice.csv"
    path.write_bytes(data)
    with open_invoice(path) as stream, pytest.raises(InvoiceError, match="save it as CSV in UTF-8"):
        list(Invoice(stream, 10))
    path.write_bytes(b"\xef\xbb\xbfresponse_id,cost_usd\nr,1\n")
    with open_invoice(path) as stream:
        assert len(list(Invoice(stream, 10))) == 1

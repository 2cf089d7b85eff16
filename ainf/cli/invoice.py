"""Reading a provider's invoice: any CSV whose header names an id and an amount, line by line."""

import csv
from collections.abc import Iterator
from decimal import ROUND_CEILING, Context, Decimal
from pathlib import Path
from typing import Final, TextIO

import attrs

from ainf.inference.money import NANO_PER_USD
from ainf.store.reconcile import InvoiceLine

IDS: Final = ("inference_id", "provider_request_id", "response_id")
AMOUNTS: Final = ("cost_usd", "input_tokens", "output_tokens")
_DELIMITERS: Final = ",;\t"
_MOST_CELL_CHARACTERS: Final = 256
"""The records keep no longer ids."""
_MOST_DIGITS: Final = 60
_EXACT: Final = Context(prec=2 * _MOST_DIGITS)
_NOT_UTF_8: Final = "it is not in UTF-8: save it as CSV in UTF-8."
_MOST: Final = 10**13
"""Of tokens or nano-dollars in one line: far over any request, and sums of as many lines as there are stay exact."""


class InvoiceError(Exception):
    """The file is no invoice that can be read; the text says why, and where."""


@attrs.frozen
class Fault:
    """A line that could not be used."""

    line: int
    why: str


class Invoice:
    """An open invoice; iterated once. It keeps nothing of what it has read but the first faults.

    Args:
        stream: text, opened with ``newline=""`` and without a byte order mark.
        most_faults: how many of them are kept.

    Raises:
        InvoiceError: there is no header, or it names no id, no amount, or one of them twice.

    Attributes:
        faults: lines that were left out, the first of them.
        fault_count: how many there were.
    """

    def __init__(self, stream: TextIO, most_faults: int) -> None:
        self.faults: list[Fault] = []
        self.fault_count = 0
        self._most_faults = most_faults
        self._header_lines = 0
        header = self._header(stream)
        delimiter = max(_DELIMITERS, key=header.count)
        self._names = [_name(cell) for cell in next(csv.reader([header], delimiter=delimiter), [])]
        _check_header(self._names)
        self._reader = csv.reader(stream, delimiter=delimiter, strict=True)

    def __iter__(self) -> Iterator[InvoiceLine]:
        """Yield the lines that can be used.

        Raises:
            InvoiceError: from some line on, the file is no CSV.
        """
        while True:
            begins = self._header_lines + self._reader.line_num + 1
            try:
                cells = next(self._reader, None)
            except csv.Error as error:
                raise InvoiceError(f"from line {begins} on it is no CSV: {error}.") from error
            except UnicodeDecodeError as error:
                raise InvoiceError(f"somewhere from line {begins} on {_NOT_UTF_8}") from error
            if cells is None:
                return
            if any(cell.strip() for cell in cells):
                try:
                    yield self._line(begins, cells)
                except ValueError as error:
                    self._note(Fault(begins, str(error)))

    def _header(self, stream: TextIO) -> str:
        """Return the first line that says something."""
        try:
            while line := stream.readline():
                self._header_lines += 1
                if line.strip():
                    return line
        except UnicodeDecodeError as error:
            raise InvoiceError(_NOT_UTF_8) from error
        raise InvoiceError("it is empty.")

    def _line(self, number: int, cells: list[str]) -> InvoiceLine:
        if len(cells) > len(self._names):
            raise ValueError("it has more cells than the header")
        told = {name: cell.strip() for name, cell in zip(self._names, cells, strict=False) if cell.strip()}
        ids = {name: _id(told[name]) for name in IDS if name in told}
        if not ids:
            raise ValueError("it has no id")
        amounts = {name: _amount(name, told[name]) for name in AMOUNTS if name in told}
        if not amounts:
            raise ValueError("it has no amount")
        return InvoiceLine(
            line=number,
            cost_nusd=amounts.get("cost_usd"),
            input_tokens=amounts.get("input_tokens"),
            output_tokens=amounts.get("output_tokens"),
            **ids,
        )

    def _note(self, fault: Fault) -> None:
        self.fault_count += 1
        if len(self.faults) < self._most_faults:
            self.faults.append(fault)


def open_invoice(path: Path) -> TextIO:
    """Open a file as text.

    Raises:
        OSError: it cannot be read.
    """
    return path.open(encoding="utf-8-sig", newline="")


def _name(cell: str) -> str:
    return cell.strip().lower().replace(" ", "_").replace("-", "_")


def _check_header(names: list[str]) -> None:
    for kind, known in (("id", IDS), ("amount", AMOUNTS)):
        if not set(names) & set(known):
            raise InvoiceError(f"its first line names no {kind}: at least one of {', '.join(known)} is needed.")
    for name in (*IDS, *AMOUNTS):
        if names.count(name) > 1:
            raise InvoiceError(f"its first line names {name} more than once.")


def _id(cell: str) -> str:
    if len(cell) > _MOST_CELL_CHARACTERS:
        raise ValueError(f"its id has more than {_MOST_CELL_CHARACTERS} characters")
    return cell


def _amount(name: str, cell: str) -> int:
    """Return nano-dollars, rounded up as every cost is, or a count of tokens."""
    try:
        amount = _EXACT.multiply(Decimal(cell), NANO_PER_USD if name == "cost_usd" else 1)
    except ArithmeticError:
        amount = Decimal("nan")
    if not amount.is_finite() or len(cell) > _MOST_DIGITS:
        raise ValueError(f"{name} is no number: {cell[:40]!r}")
    if abs(amount) > _MOST:
        raise ValueError(f"{name} is too large for a request: {cell[:40]!r}")
    whole = amount.to_integral_value(ROUND_CEILING)
    if name != "cost_usd" and (whole != amount or amount < 0):
        raise ValueError(f"{name} is no count: {cell[:40]!r}")
    return int(whole)

"""What the commands share: the options that all have, the way to the database, and the clock, ids and chance."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from secrets import token_hex
from typing import Any, Final, TypeVar

import click
import trio

from ainf.config import Config, load_config
from ainf.inference.money import parse_usd
from ainf.store.beside import read_books, write_books
from ainf.store.period import Period, parse_moment
from ainf.store.transaction import Transaction

T = TypeVar("T")

config_option: Final = click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path),
    default="ainf.toml",
    show_default=True,
    help="The configuration file.",
)
json_option: Final = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")


class CommandError(click.ClickException):
    """An expected failure: its text on stderr, as it is, and exit status 1."""

    def show(self, file: Any = None) -> None:  # noqa: ANN401 - as click declares it
        """Print the text."""
        click.echo(self.message, file=file, err=file is None)


@contextmanager
def told(what: str, *expected: type[Exception]) -> Iterator[None]:
    """Turn expected errors of a block, alone or in groups, into a ``CommandError`` that says what failed, and why."""
    try:
        yield
    except expected as error:
        raise CommandError(f"{what}: {error}") from error
    except ExceptionGroup as group:
        mine, others = group.split(expected)
        if mine is None or others is not None:
            raise
        raise CommandError(f"{what}: {_first(mine)}") from group


def _first(error: Exception) -> Exception:
    return _first(error.exceptions[0]) if isinstance(error, ExceptionGroup) else error


def usd(_ctx: click.Context, param: click.Parameter, value: str) -> int:
    """Return an option's exact amount of dollars as nano-dollars (a click callback)."""
    try:
        return parse_usd(value)
    except ValueError as error:
        raise click.BadParameter(str(error), param=param) from None


def past(_ctx: click.Context, param: click.Parameter, value: str | None) -> int | None:
    """Return the moment that an option names, in microseconds since 1970, if it is given (a click callback)."""
    try:
        return None if value is None else parse_moment(value, wall_clock())
    except ValueError as error:
        raise click.BadParameter(f"{error}.", param=param) from None


def period_of(since: int, until: int | None) -> Period:
    """Return the period between two options; without an end it ends now.

    Raises:
        UsageError: it ends before it begins.
    """
    period = Period(since, wall_clock() if until is None else until)
    if period.since >= period.until:
        raise click.UsageError("--since must be before --until, which is now where it is not given.")
    return period


def books_config(path: Path) -> Config:
    """Return the configuration for a command that only keeps the books: it needs no provider's key.

    Raises:
        ConfigError: it has faults.
    """
    return load_config(path, None)


def wall_clock() -> int:
    """Return microseconds since 1970 UTC."""
    return time.time_ns() // 1000


def new_id(prefix: str) -> str:
    """Return an id that sorts by time: 48 bits of milliseconds, 80 of chance."""
    return f"{prefix}_{time.time_ns() // 1_000_000:012x}{token_hex(10)}"


def read(config: Config, operation: Callable[[Transaction], T]) -> T:
    """Run a reading operation on the configured database.

    Raises:
        BooksError: it cannot be read.
        AinfError: the operation's refusal.
    """
    return read_books(config.store.url, operation)


def write(config: Config, operation: Callable[[Transaction], T]) -> T:
    """Run a writing operation on the configured database, whether a gateway runs or not.

    Raises:
        BooksError: it cannot be written.
        AinfError: the operation's refusal.
    """
    return trio.run(partial(write_books, config.store.url, operation, now=wall_clock))

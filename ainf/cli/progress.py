"""How far a long command has come, for who waits at a terminal."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Final, TextIO

import click

from ainf.store.invariants import Check
from ainf.store.verify import Progress

SHOWN_AFTER_S: Final = 1.0


class _Bar:
    """A bar of the checks, with the one that is at work and how many rows it has read; there once it took a while."""

    def __init__(self, shown: ExitStack, stream: TextIO, monotonic: Callable[[], float], checks: int) -> None:
        self._shown, self._stream, self._monotonic, self._checks = shown, stream, monotonic, checks
        self._due = monotonic() + SHOWN_AFTER_S
        self._bar: Any = None  # click names no type for it
        self._check: Check | None = None
        self._ended = self._drawn = self._rows = 0

    def __call__(self, check: Check, rows: int) -> None:
        """See ``Progress``."""
        if check is not self._check:
            self._ended += self._check is not None
            self._check, self._rows = check, 0
        self._rows += rows
        if self._bar is None:
            if self._monotonic() < self._due:
                return
            self._bar = self._shown.enter_context(self._made())
        self._bar.update(self._ended - self._drawn, current_item=self._text())
        self._drawn = self._ended

    def _made(self) -> Any:  # noqa: ANN401 - as above
        return click.progressbar(
            length=self._checks, file=self._stream, show_eta=False, update_min_steps=0, item_show_func=_itself
        )

    def _text(self) -> str:
        assert self._check is not None
        names = ", ".join(dict.fromkeys(invariant.name for invariant in self._check.invariants))
        return f"{names}: {self._rows:,} rows" if self._rows else names


def _itself(text: str | None) -> str | None:
    return text


@contextmanager
def bar_of(checks: int, stream: TextIO, monotonic: Callable[[], float]) -> Iterator[Progress | None]:
    """Give what draws a bar of so many checks on a terminal, once they have taken a second; None where it is none."""
    if not stream.isatty():
        yield None
        return
    with ExitStack() as shown:
        yield _Bar(shown, stream, monotonic, checks)

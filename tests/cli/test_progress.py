"""The bar of a long check."""

import io

from ainf.cli.progress import bar_of
from ainf.store.verify import CHECKS


class Terminal(io.StringIO):
    def isatty(self):
        return True


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def test_no_terminal():
    """Where nobody watches, nothing is drawn, and nobody listens."""
    with bar_of(2, io.StringIO(), Clock()) as progress:
        assert progress is None


def test_what_is_quick_is_not_shown():
    """A check that ends within a second draws nothing."""
    terminal = Terminal()
    with bar_of(2, terminal, Clock()) as progress:
        progress(CHECKS[0], 0)
        progress(CHECKS[1], 1000)
    assert terminal.getvalue() == ""


def test_what_takes_a_while_is_shown():
    """From the first second on: how many checks are done, which is at work, and how many rows it has read."""
    terminal, clock = Terminal(), Clock()
    with bar_of(4, terminal, clock) as progress:
        progress(CHECKS[0], 0)
        clock.now = 1.0
        progress(CHECKS[1], 0)
        progress(CHECKS[1], 1000)
        progress(CHECKS[1], 1000)
        progress(CHECKS[2], 0)
    drawn = terminal.getvalue()
    names = [check.invariants[0].name for check in CHECKS]
    assert f" 25%  {names[1]}: 2,000 rows" in drawn
    assert f" 50%  {names[2]}" in drawn
    assert "0%  " + names[0] not in drawn

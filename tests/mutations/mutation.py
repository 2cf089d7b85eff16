"""A mutation: one deliberate breakage of the gateway, and the tests of which one must fail then."""

from collections.abc import Iterable
from pathlib import Path

import attrs

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "mutations.md"

_INTRODUCTION = """\
# Mutations

What breaks the law must fail a test. Each row is a deliberate breakage of the gateway: `make mutations` makes them one
at a time in a copy of the code, runs the tests of the last column there, and expects one of them to fail; the same
tests must pass before. The table is written by it (`tests/mutations`), when all of them were caught; the law is that of
L1 to L9: one settlement, one audit event, one terminal frame, settle then speak, reserve then dial, caps hold, the end
travels upstream, success needs evidence, nothing is dropped in silence.

| breakage | in | breaks | what is done to the code | caught by |
|---|---|---|---|---|
"""


@attrs.frozen
class Mutation:
    """One breakage."""

    name: str
    law: str
    """Which of L1 to L9 it breaks."""
    words: str
    """What it does, for readers."""
    file: str
    """Under ainf/."""
    old: str
    """What stands there, once."""
    new: str
    tests: tuple[str, ...]
    """What pytest is asked to run: at least one of these must fail."""

    def apply(self, root: Path) -> None:
        """Break a copy of the repository.

        Raises:
            ValueError: what is to be broken does not stand there, or more than once.
        """
        path = root / "ainf" / self.file
        text = path.read_text()
        if text.count(self.old) != 1:
            raise ValueError(f"{self.name}: its old text stands {text.count(self.old)} times in ainf/{self.file}")
        path.write_text(text.replace(self.old, self.new))


def page(mutations: Iterable[Mutation]) -> str:
    """Return the page of the documentation that lists them."""
    return _INTRODUCTION + "".join(
        f"| {one.name} | `{one.file}` | {one.law} | {one.words} | {', '.join(f'`{test}`' for test in one.tests)} |\n"
        for one in mutations
    )

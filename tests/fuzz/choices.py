"""What a target chooses by the head of its input: how the bytes are cut, which client listens, how it ends."""

import random
from collections.abc import Sequence
from typing import TypeVar

from tests.fuzz.mutate import HEAD_BYTES

T = TypeVar("T")


class Choices:
    """One input: a few bytes that everything about it is drawn from, and its body.

    The same input always makes the same choices.
    """

    def __init__(self, data: bytes) -> None:
        self.rng = random.Random(data[:HEAD_BYTES])
        self.body = data[HEAD_BYTES:]

    def pick(self, options: Sequence[T]) -> T:
        """Return one of several."""
        return self.rng.choice(options)

    def flag(self) -> bool:
        """Return yes or no."""
        return self.rng.random() < 0.5

    def cuts(self, data: bytes) -> list[bytes]:
        """Return the bytes in pieces of any size, down to one by one."""
        longest = self.rng.choice((1, 3, 17, 300, max(1, len(data))))
        pieces, at = [], 0
        while at < len(data):
            step = self.rng.randint(1, longest)
            pieces.append(data[at : at + step])
            at += step
        return pieces

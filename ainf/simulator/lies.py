"""Untrue numbers for a usage, for readers that should not believe everything."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

import msgspec

_LIES: Final[Mapping[str, Callable[[int], Any]]] = MappingProxyType({
    "negative": lambda count: -count - 1,
    "huge": lambda _: msgspec.Raw(b"1" + b"0" * 30),
    "float": lambda count: count + 0.5,
    "string": str,
    "absurd": lambda count: count + 1_000_000_000,
    "null": lambda _: None,
    "bool": lambda _: True,
    "list": lambda count: [count],
    "zero": lambda _: 0,
    "nan": lambda _: msgspec.Raw(b"NaN"),
})


def teller(lie: str | None) -> Callable[[int], Any]:
    """Return what turns a count into what is told of it: itself, or the lie named (a ``usage-`` option's last word)."""
    return _LIES[lie] if lie else int

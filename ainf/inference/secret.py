"""Secrets: what gives access, and is shown to nobody but whom it is sent to."""

import hashlib
from typing import NoReturn, TypeAlias


class Secret:
    """Bytes that nothing prints: its ``repr`` and ``str`` are masked, only ``reveal`` gives them away.

    It neither compares equal to its own bytes nor joins with others, has no length, and cannot be pickled, copied or
    written as JSON: so it does not travel by accident. Two are compared by ``digest``, whose equality tells nothing of
    them by the time that it takes.
    """

    __slots__ = ("_value",)

    def __init__(self, value: bytes) -> None:
        self._value = value

    def reveal(self) -> bytes:
        """Return the bytes themselves, for the one place that sends them."""
        return self._value

    def digest(self) -> bytes:
        """Return their SHA-256: what may be kept, looked up and compared."""
        return hashlib.sha256(self._value).digest()

    def __repr__(self) -> str:
        return "Secret(***)"

    def __str__(self) -> str:
        return "***"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is neither pickled nor copied")


HeaderValue: TypeAlias = bytes | Secret
"""What stands behind a header's name; revealed where the header is written."""

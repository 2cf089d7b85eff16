"""Reading requests: fields of the right type, and input tokens that can be counted by hand."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from ainf.simulator.answer import TOKEN_BYTES
from ainf.simulator.passages import token_count
from ainf.simulator.wire import RefusedError

_T = TypeVar("_T")
_D = TypeVar("_D")


class Fields:
    """The fields of a JSON object of a request.

    Args:
        values: the object.
        wrong_type: what refuses a field in the format's words, given its name and the type that it must have.
    """

    def __init__(self, values: Mapping[str, Any], wrong_type: Callable[[str, type], RefusedError]) -> None:
        self.values = values
        self._wrong_type = wrong_type

    def get(self, name: str, kind: type[_T], *, default: _D) -> _T | _D:
        """Return a field of exactly this type; null counts as left out.

        Raises:
            RefusedError: it has another type.
        """
        value = self.values.get(name)
        if value is None:
            return default
        if type(value) is not kind:
            raise self._wrong_type(name, kind)
        return value


def bearer_token(headers: Mapping[str, str]) -> str | None:
    """Return the bearer token that a request presents, None if it presents none."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token if scheme == "Bearer" else None


def tokens(text_bytes: int) -> int:
    """Return the input tokens that so many bytes of text come to."""
    return -(-text_bytes // TOKEN_BYTES)


def utf8_bytes(text: object) -> int:
    """Return the bytes of a text; what is no text has none, and a passage as many as its true tokens come to."""
    if not isinstance(text, str):
        return 0
    counted = token_count(text)
    return len(text.encode("utf-8", "surrogatepass")) if counted is None else counted * TOKEN_BYTES


def text_bytes(content: object) -> int:
    """Return the bytes of text in a content: a string, or a list of parts of which those with a ``text`` count."""
    if not isinstance(content, list):
        return utf8_bytes(content)
    return sum(utf8_bytes(part.get("text")) for part in content if isinstance(part, dict))


def first_property(schema: object) -> str:
    """Return the first property that a tool's JSON schema names, ``text`` if it names none."""
    match schema:
        case {"properties": {**properties}} if properties:
            return str(next(iter(properties)))
        case _:
            return "text"

"""Reads the fields of one object and knows which were never asked for, so that nothing is lost in silence."""

from collections.abc import Mapping
from typing import Any

from ainf.formats.fields import objects, optional, path_of, required, says_something, unsupported, wrong_value
from ainf.inference.errors import DownstreamError


class FieldReader:
    """One object of a request. Null counts as absent. Every reading may raise ``invalid_type``.

    Args:
        document: the object.
        path: where it stands in the request; "" for the request itself.
    """

    __slots__ = ("_document", "_read", "path")

    def __init__(self, document: Mapping[str, Any], path: str = "") -> None:
        self._document = document
        self._read: set[str] = set()
        self.path = path

    def path_of(self, name: str) -> str:
        """Return where a field stands in the request."""
        return path_of(self.path, name)

    def value(self, name: str) -> Any:  # noqa: ANN401 - whatever stands there
        """Return a field as it is; None where it is absent."""
        self._read.add(name)
        return self._document.get(name)

    def text(self, name: str) -> str | None:
        """Return a text."""
        text: str | None = self._optional(name, str)
        return text

    def required_text(self, name: str) -> str:
        """Return a text that must be there.

        Raises:
            DownstreamError: ``missing_field``.
        """
        self._read.add(name)
        text: str = required(self._document, name, str, at=self.path)
        return text

    def integer(self, name: str) -> int | None:
        """Return a whole number."""
        number: int | None = self._optional(name, int)
        return number

    def number(self, name: str) -> float | None:
        """Return a number."""
        number: float | None = self._optional(name, float)
        return number

    def boolean(self, name: str) -> bool | None:
        """Return a truth value."""
        truth: bool | None = self._optional(name, bool)
        return truth

    def array(self, name: str) -> list[Any]:
        """Return a list; an absent one is empty."""
        values: list[Any] | None = self._optional(name, list)
        return values or []

    def object(self, name: str) -> "FieldReader | None":
        """Return the reader of an object."""
        value = self._optional(name, dict)
        return None if value is None else FieldReader(value, self.path_of(name))

    def required_object(self, name: str) -> "FieldReader":
        """Return the reader of an object that must be there.

        Raises:
            DownstreamError: ``missing_field``.
        """
        self._read.add(name)
        return FieldReader(required(self._document, name, dict, at=self.path), self.path_of(name))

    def objects(self, name: str) -> list["FieldReader"]:
        """Return the readers of a list of objects; an absent one is empty."""
        self._read.add(name)
        values = objects(self._document, name, self.path)
        return [FieldReader(value, path_of(self.path_of(name), number)) for number, value in enumerate(values)]

    def required_objects(self, name: str) -> list["FieldReader"]:
        """Return the readers of a list of objects that must be there.

        Raises:
            DownstreamError: ``missing_field``.
        """
        required(self._document, name, list, at=self.path)
        return self.objects(name)

    def unread(self) -> list[str]:
        """Return the names of fields that say something and were not read."""
        return [name for name, value in self._document.items() if name not in self._read and says_something(value)]

    def refuse_unread(self) -> None:
        """Refuse what was not read.

        Raises:
            DownstreamError: ``unsupported_parameter``, naming the first of it.
        """
        for name in self.unread():
            raise self.unsupported(name)

    def invalid(self, name: str, words: str) -> DownstreamError:
        """Return the refusal of a field by its value; ``words`` say what it must be."""
        return wrong_value(self.path_of(name), words)

    def unsupported(self, name: str | None = None) -> DownstreamError:
        """Return the refusal of a field, or of all of the object, that no other format can say."""
        return unsupported(self.path if name is None else self.path_of(name))

    def _optional(self, name: str, kind: type) -> Any:  # noqa: ANN401 - by ``kind``
        self._read.add(name)
        return optional(self._document, name, kind, at=self.path)

"""How much a request gives the model to read: text by its bytes, attachments by their number and kinds.

What an attachment costs does not follow from its bytes, and not at all from its URL, so it is counted, and told whether
it is an image, audio, video or a file, and nothing more. Which parts are which, each protocol says for its own wire
(``PartKinds``).
"""

import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final

import attrs
import msgspec

from ainf.inference.request import ATTACHMENT_KINDS

_BASE64: Final = re.compile(r"[A-Za-z0-9+/_-]+={0,2}")
_LEAST_PAYLOAD: Final = 256
_LOOKED_AT: Final = 4096
_CONTAINERS: Final = (list, dict)
_NO_KINDS: Final = frozenset[str]()

_encode = msgspec.json.Encoder().encode


@attrs.frozen
class InputSize:
    """The size of a part of a request, or of all of it."""

    text_bytes: int = 0
    """Bytes of everything that is known to be read as text."""
    attachments: int = 0
    """Images, audio, video, files, whether they come by URL or in the body."""
    payload_bytes: int = 0
    """Bytes of the attachments that are in the body, as base64."""
    attachment_kinds: frozenset[str] = frozenset()
    """The kinds of the attachments, of ``ATTACHMENT_KINDS``."""

    def bound_bytes(self, input_bytes: int, body_bytes: int) -> int:
        """Return the bytes of everything that the model may read as text, of a body with these messages.

        Args:
            input_bytes: what is known to be read, messages and all else.
            body_bytes: the whole body's.
        """
        # Our JSON of a number may be longer than the client's.
        return max(input_bytes, body_bytes - self.payload_bytes)


@attrs.frozen
class PartKinds:
    """What the parts of a wire's messages are, by their ``type`` (None: they have none)."""

    texts: tuple[str | None, ...]
    """Read as text, but for what they hold."""
    attachments: Mapping[str, str]
    """Images and files of any kind; nothing in them is text. The values are of ``ATTACHMENT_KINDS``."""
    holders: tuple[str, ...]
    """Fields in which a message or a part holds other parts: a list of them, or one."""
    attached_to: Mapping[str, str] = MappingProxyType({})
    """Read as ``texts``; what is attached to parts of these types is of this kind, whatever its own type says."""


def measure_all(messages: Iterable[Mapping[str, Any]], kinds: PartKinds) -> InputSize:
    """Return the size of objects that are read as text: their JSON, less the parts that they hold, and theirs.

    JSON's own characters stand for what a chat template adds to each message.
    """
    scale = _Scale(kinds)
    for message in messages:
        scale.add_message(message)
    return scale.size()


def measure_parts(value: Any, kinds: PartKinds) -> InputSize:  # noqa: ANN401 - any JSON value
    """Return the size of one part, of a list of them, or of whatever else stands in their place."""
    scale = _Scale(kinds)
    scale.add(value)
    return scale.size()


class _Scale:
    """Adds up sizes; no object per part, since a conversation may have thousands."""

    __slots__ = ("_attached_to", "_attachment_kinds", "_attachments", "_kinds", "_payload_bytes", "_text_bytes")

    def __init__(self, kinds: PartKinds) -> None:
        self._kinds = kinds
        self._text_bytes = 0
        self._attachments = 0
        self._payload_bytes = 0
        self._attachment_kinds = _NO_KINDS
        self._attached_to: str | None = None  # the kind of all that is attached to the part that is being added

    def size(self) -> InputSize:
        """Return the sum so far."""
        return InputSize(self._text_bytes, self._attachments, self._payload_bytes, self._attachment_kinds)

    def add_message(self, message: Mapping[str, Any]) -> None:
        """Add an object that is read as text, and the parts that it holds."""
        held = [name for name in self._kinds.holders if type(message.get(name)) in _CONTAINERS]
        if not held:
            self._text_bytes += len(_encode(message))
            return
        self._text_bytes += len(_encode({**message, **dict.fromkeys(held)}))
        for name in held:
            self.add(message[name])

    def add(self, value: Any) -> None:  # noqa: ANN401 - any JSON value
        """Add a part, or each of a list."""
        if isinstance(value, list):
            for part in value:
                self.add(part)
        elif isinstance(value, str):
            self._text_bytes += len(value.encode())
        elif isinstance(value, dict):
            self._add_part(value)
        else:
            self._text_bytes += len(_encode(value))

    def _add_part(self, part: dict[str, Any]) -> None:
        kind, kinds = part.get("type"), self._kinds
        if kind in kinds.texts:
            self.add_message(part)
        elif isinstance(kind, str) and kind in kinds.attached_to:
            around, self._attached_to = self._attached_to, kinds.attached_to[kind]
            self.add_message(part)
            self._attached_to = around
        elif isinstance(kind, str) and kind in kinds.attachments:
            self._add_attachment(kinds.attachments[kind], _payload_bytes(part))
        elif any(type(part.get(name)) in _CONTAINERS for name in kinds.holders):
            self.add_message(part)
        else:
            # A kind that we do not know may be either, so it counts as both.
            payload = _payload_bytes(part)
            self._text_bytes += len(_encode(part)) - payload
            self._add_attachment(_kind_of_unknown(kind, payload), payload)

    def _add_attachment(self, kind: str | None, payload_bytes: int) -> None:
        self._attachments += 1
        self._payload_bytes += payload_bytes
        if kind is not None:
            self._attachment_kinds |= {self._attached_to or kind}


def _kind_of_unknown(kind: object, payload_bytes: int) -> str | None:
    """Return what a part of an unknown type is by its name; one that names nothing is a file if it has a payload."""
    if isinstance(kind, str):
        for known in ATTACHMENT_KINDS:
            if known in kind:
                return known
    return "file" if payload_bytes else None


def fields_bytes(fields: Mapping[str, Any], names: Iterable[str]) -> int:
    """Return the bytes of those fields of a request that are set, as JSON text."""
    found = {name: fields[name] for name in names if fields.get(name) is not None}
    return len(_encode(found)) if found else 0


def _payload_bytes(value: Any) -> int:  # noqa: ANN401 - any JSON value
    """Return how many bytes of a value are base64: data URLs, and long strings that begin as nothing else does."""
    if isinstance(value, str):
        head, found, _ = value[:_LOOKED_AT].partition(";base64,")
        if found and head.startswith("data:"):
            return len(value) - len(head) - len(found)
        is_base64 = len(value) >= _LEAST_PAYLOAD and _BASE64.fullmatch(value, 0, _LOOKED_AT)
        return len(value) if is_base64 else 0
    if isinstance(value, dict):
        return sum(map(_payload_bytes, value.values()))
    return sum(map(_payload_bytes, value)) if isinstance(value, list) else 0

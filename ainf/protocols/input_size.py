"""How much a request gives the model to read: text by its bytes, attachments by their number.

What an attachment costs does not follow from its bytes, and not at all from its URL, so it is counted and nothing more.
Which parts are which, each protocol says for its own wire (``PartKinds``).
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

import attrs
import msgspec

_BASE64: Final = re.compile(r"[A-Za-z0-9+/_-]+={0,2}")
_LEAST_PAYLOAD: Final = 256
_LOOKED_AT: Final = 4096


@attrs.frozen
class InputSize:
    """The size of a part of a request, or of all of it."""

    text_bytes: int = 0
    """Bytes of everything that is known to be read as text."""
    attachments: int = 0
    """Images, audio, video, files, whether they come by URL or in the body."""
    payload_bytes: int = 0
    """Bytes of the attachments that are in the body, as base64."""

    def __add__(self, other: "InputSize") -> "InputSize":
        return InputSize(
            self.text_bytes + other.text_bytes,
            self.attachments + other.attachments,
            self.payload_bytes + other.payload_bytes,
        )

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
    attachments: tuple[str, ...]
    """Images and files of any kind; nothing in them is text."""
    holders: tuple[str, ...]
    """Fields in which a message or a part holds other parts: a list of them, or one."""


def measure_message(message: Mapping[str, Any], kinds: PartKinds) -> InputSize:
    """Return the size of an object that is read as text: its JSON, less the parts that it holds, and theirs.

    JSON's own characters stand for what a chat template adds to each message.
    """
    held = {name: message[name] for name in kinds.holders if isinstance(message.get(name), list | dict)}
    shell = {**message, **dict.fromkeys(held)} if held else message
    size = InputSize(_json_bytes(shell))
    for parts in held.values():
        size += measure_parts(parts, kinds)
    return size


def measure_parts(value: Any, kinds: PartKinds) -> InputSize:  # noqa: ANN401 - any JSON value
    """Return the size of one part, of a list of them, or of whatever else stands in their place."""
    if isinstance(value, list):
        return total(measure_parts(part, kinds) for part in value)
    if isinstance(value, str):
        return InputSize(len(value.encode()))
    if not isinstance(value, dict):
        return InputSize(_json_bytes(value))
    kind = value.get("type")
    if kind in kinds.attachments:
        return InputSize(0, 1, _payload_bytes(value))
    if kind in kinds.texts or any(isinstance(value.get(name), list | dict) for name in kinds.holders):
        return measure_message(value, kinds)
    # A kind that we do not know may be either, so it counts as both.
    payload = _payload_bytes(value)
    return InputSize(_json_bytes(value) - payload, 1, payload)


def total(sizes: Iterable[InputSize]) -> InputSize:
    """Return the size of all together."""
    found = list(sizes)
    return InputSize(
        sum(size.text_bytes for size in found),
        sum(size.attachments for size in found),
        sum(size.payload_bytes for size in found),
    )


def fields_bytes(fields: Mapping[str, Any], names: Iterable[str]) -> int:
    """Return the bytes of those fields of a request that are set, as JSON text."""
    found = {name: fields[name] for name in names if fields.get(name) is not None}
    return _json_bytes(found) if found else 0


def _json_bytes(value: Any) -> int:  # noqa: ANN401 - any JSON value
    return len(msgspec.json.encode(value))


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

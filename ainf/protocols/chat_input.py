"""How much a chat request gives the model to read: text by its bytes, attachments by their number.

Source: OpenAI's API reference, "create chat completion", for the content parts; ``video_url`` and ``audio_url`` are
OpenRouter's and vLLM's, ``thinking`` is Mistral's. What an attachment costs does not follow from its bytes, and not at
all from its URL, so it is counted and nothing more.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, NoReturn

import attrs
import msgspec

from ainf.inference.errors import DownstreamError

_TEXTS: Final = (None, "text", "refusal", "thinking")
_ATTACHMENTS: Final = ("image_url", "input_audio", "file", "video_url", "audio_url")
_BASE64: Final = re.compile(r"[A-Za-z0-9+/_-]+={0,2}")
_LEAST_PAYLOAD: Final = 256
_LOOKED_AT: Final = 4096


@attrs.frozen
class ChatInput:
    """The sizes of a request's messages."""

    text_bytes: int
    """Bytes of everything that is known to be read as text."""
    attachments: int
    """Images, audio, video, files, whether they come by URL or in the body."""
    payload_bytes: int
    """Bytes of the attachments that are in the body, as base64."""


def measure_messages(messages: Sequence[Mapping[str, Any]]) -> ChatInput:
    """Return the sizes of messages. A message counts as the JSON text of it, less its attachments.

    JSON's own characters stand for what a chat template adds to each message.

    Raises:
        DownstreamError: ``invalid_type``: a message's content is neither text nor a list of parts.
    """
    size, parts = 0, list[ChatInput]()
    for number, message in enumerate(messages):
        content = message.get("content")
        if not isinstance(content, list):
            if content is not None and not isinstance(content, str):
                _refuse_content(number)
            size += len(msgspec.json.encode(message))
            continue
        size += len(msgspec.json.encode({**message, "content": None}))
        for part in content:
            if not isinstance(part, dict | str):
                _refuse_content(number)
            parts.append(_measure_part(part))
    return ChatInput(
        text_bytes=size + sum(part.text_bytes for part in parts),
        attachments=sum(part.attachments for part in parts),
        payload_bytes=sum(part.payload_bytes for part in parts),
    )


def _refuse_content(number: int) -> NoReturn:
    param = f"messages[{number}].content"
    raise DownstreamError("invalid_type", f"`{param}` must be a string or a list of parts.", param=param)


def _measure_part(part: dict[str, Any] | str) -> ChatInput:
    if isinstance(part, str):
        return ChatInput(len(part.encode()), 0, 0)
    kind = part.get("type")
    if kind in _TEXTS:
        return ChatInput(len(msgspec.json.encode(part)), 0, 0)
    payload = _payload_bytes(part)
    if kind in _ATTACHMENTS:
        return ChatInput(0, 1, payload)
    # A kind that we do not know may be either, so it counts as both.
    return ChatInput(len(msgspec.json.encode(part)) - payload, 1, payload)


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

"""How much a chat request gives the model to read.

Source: OpenAI's API reference, "create chat completion", for the content parts; ``video_url`` and ``audio_url`` are
OpenRouter's and vLLM's, ``thinking`` is Mistral's.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from ainf.inference.errors import DownstreamError
from ainf.protocols.input_size import InputSize, PartKinds, measure_all

_KINDS: Final = PartKinds(
    texts=(None, "text", "refusal", "thinking"),
    attachments={
        "image_url": "image", "input_audio": "audio", "file": "file", "video_url": "video", "audio_url": "audio",
    },
    holders=("content",),
)  # fmt: skip


def measure_messages(messages: Sequence[Mapping[str, Any]]) -> InputSize:
    """Return the size of messages.

    Raises:
        DownstreamError: ``invalid_type``: a message's content is neither text nor a list of parts.
    """
    for number, message in enumerate(messages):
        content = message.get("content")
        is_parts = isinstance(content, list) and all(isinstance(part, dict | str) for part in content)
        if not (is_parts or content is None or isinstance(content, str)):
            param = f"messages[{number}].content"
            raise DownstreamError("invalid_type", f"`{param}` must be a string or a list of parts.", param=param)
    return measure_all(messages, _KINDS)

"""What was asked, as far as admission, the ledger and the way upstream need it; the wire's own words ride along."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final

import attrs

ATTACHMENT_KINDS: Final = ("image", "audio", "video", "file")
"""What a request may carry beside text; a document is a file."""


class Operation(StrEnum):
    """What a request wants of a model."""

    GENERATE = "generate"
    """An answer, streamed or whole."""
    EMBED = "embed"
    """Vectors of its input."""
    COUNT = "count"
    """How many tokens its input has; nothing is generated and nothing billed."""


@attrs.define
class InferenceRequest:
    """One request for an inference, parsed and checked by its protocol; nothing changes it but ``forget``.

    ``fields`` is the client's JSON object as decoded: the same format is sent on from it untouched, with only the few
    fields replaced that the gateway owns. Once it is planned for a provider of another format, ``fields`` are in that
    format's words.
    """

    protocol: str
    path: str
    model: str
    stream: bool
    include_usage: bool
    """Whether a streaming client asked for the usage chunk (formats that always tell it do not ask)."""
    max_output_tokens: int | None
    """The client's own limit, if it set one."""
    input_bytes: int
    """Bytes of what the model is known to read as text: what an input that nobody reports is taken for."""
    bound_bytes: int
    """Bytes of everything that the model may read as text, known to us or not: the body less base64 payloads."""
    attachment_count: int
    """Images, audio, video and files, by URL or in the body."""
    has_tools: bool
    fields: Mapping[str, Any] = attrs.field(repr=False)
    """Never shown in logs or errors: it is the client's content."""
    operation: Operation = Operation.GENERATE
    betas: tuple[str, ...] = ()
    """What the client opts into by an ``anthropic-beta`` header, as it says."""
    previous_response_id: str | None = None
    """The stored response that this one goes on from (responses format)."""
    dropped: tuple[str, ...] = ()
    """The client's names of fields that the provider is not told, as the configuration allows."""
    attachments: frozenset[str] = frozenset()
    """The kinds of what is attached, of ``ATTACHMENT_KINDS``."""

    def forget(self) -> None:
        """Let go of the content: after the commit point nobody asks for it, and a stream may last for long."""
        self.fields = {}

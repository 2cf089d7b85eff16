"""What was asked, as far as admission, the ledger and the way upstream need it; the wire's own words ride along."""

from collections.abc import Mapping
from typing import Any

import attrs


@attrs.define
class InferenceRequest:
    """One request for an inference, parsed and checked by its protocol; nothing changes it but ``forget``.

    ``fields`` is the client's JSON object as decoded: the same format is sent on from it untouched, with only the few
    fields replaced that the gateway owns.
    """

    protocol: str
    path: str
    model: str
    stream: bool
    include_usage: bool
    """Whether a streaming client asked for the usage chunk."""
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

    def forget(self) -> None:
        """Let go of the content: after the commit point nobody asks for it, and a stream may last for long."""
        self.fields = {}

"""The protocols that clients may speak, by name and by path."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from ainf.protocols.base import ClientProtocol
from ainf.protocols.chat_completions import ChatCompletions

_CHAT: Final = ChatCompletions()

PROTOCOLS: Final[Mapping[str, ClientProtocol]] = MappingProxyType({_CHAT.name: _CHAT})

ENDPOINTS: Final[Mapping[str, ClientProtocol]] = MappingProxyType({
    "/v1/chat/completions": _CHAT,
    "/v1/inference": _CHAT,
})
"""Every path that takes a request for an inference, and what is spoken there."""


def protocol_of_path(path: str) -> ClientProtocol:
    """Return the protocol whose error body a path answers with, known path or not."""
    return _CHAT

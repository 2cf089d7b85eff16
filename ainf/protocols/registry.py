"""The protocols that clients may speak, by name and by path."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from ainf.protocols.base import ClientProtocol
from ainf.protocols.chat_completions import ChatCompletions
from ainf.protocols.count_tokens import CountTokens
from ainf.protocols.embeddings import Embeddings
from ainf.protocols.messages import Messages
from ainf.protocols.responses import Responses

_CHAT: Final = ChatCompletions()
_MESSAGES: Final = Messages()
_COUNT_TOKENS: Final = CountTokens()
_RESPONSES: Final = Responses()
_EMBEDDINGS: Final = Embeddings()

PROTOCOLS: Final[Mapping[str, ClientProtocol]] = MappingProxyType({
    each.name: each for each in (_CHAT, _MESSAGES, _COUNT_TOKENS, _RESPONSES, _EMBEDDINGS)
})

ENDPOINTS: Final[Mapping[str, ClientProtocol]] = MappingProxyType({
    "/v1/chat/completions": _CHAT,
    "/v1/inference": _CHAT,
    "/v1/messages": _MESSAGES,
    "/v1/messages/count_tokens": _COUNT_TOKENS,
    "/v1/responses": _RESPONSES,
    "/v1/embeddings": _EMBEDDINGS,
})
"""Every path that takes a request for an inference, and what is spoken there."""


def protocol_of_path(path: str) -> ClientProtocol:
    """Return the protocol whose error body a path answers with: its own or the nearest endpoint's above, else chat."""
    above = [endpoint for endpoint in ENDPOINTS if path == endpoint or path.startswith(f"{endpoint}/")]
    return ENDPOINTS[max(above, key=len)] if above else _CHAT

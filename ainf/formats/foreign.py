"""Taking out of a request what another provider's answers brought into its conversation.

Opaque data of one provider travels sealed through clients of other formats. When such a client comes to a provider of
its own format, its request is relayed untouched but for that: no provider is handed what another made, and none could
read it.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

from ainf.inference.conversation import Opaque

Entry = dict[str, Any]


def without_foreign(fields: Mapping[str, Any], format_name: str) -> Mapping[str, Any]:
    """Return a request of a format without sealed data; the same object where it holds none.

    A block, item or entry that holds it goes whole, and a message of which nothing is left.
    """
    if format_name not in _OWN:
        return fields
    name, own = _OWN[format_name]
    entries = fields.get(name)
    if not isinstance(entries, list):
        return fields
    kept = [own(entry) if isinstance(entry, dict) else entry for entry in entries]
    if all(one is other for one, other in zip(kept, entries, strict=True)):
        return fields
    return {**fields, name: [entry for entry in kept if entry is not None]}


def _own_chat_message(message: Entry) -> Entry | None:
    details = message.get("reasoning_details")
    if not isinstance(details, list):
        return message
    kept = [entry for entry in details if not _is_sealed(entry, "data")]
    return message if len(kept) == len(details) else {**message, "reasoning_details": kept}


def _own_messages_message(message: Entry) -> Entry | None:
    content = message.get("content")
    if not isinstance(content, list):
        return message
    kept = [block for block in content if not (_is_sealed(block, "signature") or _is_sealed(block, "data"))]
    if len(kept) == len(content):
        return message
    return {**message, "content": kept} if kept else None


def _own_item(item: Entry) -> Entry | None:
    return None if _is_sealed(item, "encrypted_content") else item


def _is_sealed(entry: Any, name: str) -> bool:  # noqa: ANN401 - whatever a client sends
    text = entry.get(name) if isinstance(entry, dict) else None
    return isinstance(text, str) and Opaque.unsealed(text) is not None


_OWN: Final[Mapping[str, tuple[str, Callable[[Entry], Entry | None]]]] = MappingProxyType({
    "chat": ("messages", _own_chat_message),
    "messages": ("messages", _own_messages_message),
    "responses": ("input", _own_item),
})
"""Format -> the field of its conversation, and what of one entry may go on."""

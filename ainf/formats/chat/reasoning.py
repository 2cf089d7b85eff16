"""Opaque reasoning data on the chat wire: the entries of ``reasoning_details``.

Source: OpenRouter's API reference, "preserving reasoning": entries of the types ``reasoning.text`` (with a
``signature``), ``reasoning.summary`` and ``reasoning.encrypted`` (with ``data``), numbered by ``index``. What another
wire's provider made travels as an encrypted entry, sealed.
"""

from typing import Any, Final

import msgspec

from ainf.formats.loose import clean, load_loosely
from ainf.inference.conversation import Opaque

SOURCE: Final = "chat"
"""The source of opaque data that a provider of this format made: its entry as JSON, without its text."""

_ENCRYPTED: Final = "reasoning.encrypted"
_TEXT: Final = "reasoning.text"
_TOLD: Final = {_TEXT: "text", "reasoning.summary": "summary"}


def read_entry(entry: Any) -> tuple[str, Opaque | None]:  # noqa: ANN401 - a provider's or client's word, judged here
    """Return the text of an entry, and its opaque data as its own provider's; ("", None) for what is no entry."""
    if not isinstance(entry, dict):
        return "", None
    kind = entry.get("type")
    text = entry.get(_TOLD.get(kind, "")) if isinstance(kind, str) else None
    said = clean(text) if isinstance(text, str) else ""
    secret = entry.get("data" if kind == _ENCRYPTED else "signature")
    if not isinstance(secret, str) or not secret:
        return said, None
    kept = {name: value for name, value in entry.items() if name not in {"text", "summary", "index"}}
    return said, Opaque(SOURCE, clean(msgspec.json.encode(_cleaned(kept)).decode()))


def read_details(details: list[Any] | None) -> tuple[str, list[Opaque]]:
    """Return what the entries of a request's message tell, and their opaque data, unsealed where it was sealed."""
    told, opaques = list[str](), list[Opaque]()
    for entry in details or ():
        text, opaque = read_entry(entry)
        told.append(text)
        if opaque is not None:
            data = entry.get("data")
            opaques.append((Opaque.unsealed(data) if isinstance(data, str) else None) or opaque)
    return "".join(told), opaques


def entry_of(opaque: Opaque, text: str, number: int) -> dict[str, Any]:
    """Return the entry of opaque data: its provider's own, or sealed.

    Args:
        opaque: the data.
        text: what was told beside it; a signature goes back with the text that it signs.
        number: the entry's place among the message's; streams are joined by it.
    """
    own = load_loosely(opaque.data.encode()) if opaque.source == SOURCE else None
    if own is None:
        return {"type": _ENCRYPTED, "data": opaque.sealed(), "index": number}
    told = {_TOLD[own["type"]]: text} if own.get("type") in _TOLD else {}
    return own | told | {"index": number}


def _cleaned(entry: dict[str, Any]) -> dict[str, Any]:
    """Return an entry that can be encoded: of what a provider sends, only plain values are kept."""
    return {
        clean(name): clean(value) if isinstance(value, str) else value
        for name, value in entry.items()
        if isinstance(value, str | int | float | bool | None)
    }

"""Opaque reasoning data on the chat wire: the entries of ``reasoning_details``.

Source: OpenRouter's API reference, "preserving reasoning": entries of the types ``reasoning.text`` (with a
``signature``), ``reasoning.summary`` and ``reasoning.encrypted`` (with ``data``), numbered by ``index``. What another
wire's provider made travels as an encrypted entry, sealed.
"""

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from ainf.formats.loose import clean, load_loosely
from ainf.inference.conversation import Opaque

SOURCE: Final = "chat"
"""The source of opaque data that a provider of this format made: its entry as JSON, without its text."""

_ENCRYPTED: Final = "reasoning.encrypted"
_TEXT: Final = "reasoning.text"
_TOLD: Final = {_TEXT: "text", "reasoning.summary": "summary"}


def told_in(details: Any) -> str:  # noqa: ANN401 - a provider's or client's word, judged here
    """Return the text of the entries: what the same message mostly says in a field of its own, too."""
    told = list[str]()
    for entry in _entries(details):
        text = entry.get(_TOLD.get(entry["type"], ""))
        if isinstance(text, str):
            told.append(text)
    return "".join(told)


def opaque_in(details: Any) -> list[Opaque]:  # noqa: ANN401 - as told_in
    """Return the opaque data of the entries, each as the provider's own, however it came to it."""
    return [opaque for opaque, _ in _opaques(details)]


def unsealed_in(details: Any) -> list[Opaque]:  # noqa: ANN401 - as told_in
    """Return the opaque data of the entries that a client sends back: as their provider's where they were sealed."""
    return [Opaque.unsealed(secret) or opaque for opaque, secret in _opaques(details)]


def entry_of(opaque: Opaque, text: str, number: int) -> dict[str, Any]:
    """Return the entry of opaque data: its provider's own, or sealed.

    Args:
        opaque: the data.
        text: what was told beside it; a signature goes back with the text that it signs.
        number: the entry's place among the message's; streams are joined by it.
    """
    own = _cleaned(load_loosely(opaque.data.encode()) or {}) if opaque.source == SOURCE else {}
    if "type" not in own:
        return {"type": _ENCRYPTED, "data": opaque.sealed(), "index": number}
    told = {_TOLD[own["type"]]: text} if own["type"] in _TOLD else {}
    return own | told | {"index": number}


def _entries(details: Any) -> Iterator[dict[str, Any]]:  # noqa: ANN401 - as told_in
    """Go through the entries that have a type; whatever else stands there is passed over."""
    for entry in details if isinstance(details, list) else ():
        if isinstance(entry, dict) and isinstance(entry.get("type"), str):
            yield entry


def _opaques(details: Any) -> Iterator[tuple[Opaque, str]]:  # noqa: ANN401 - as told_in
    """Go through the opaque data, each as the provider's own, with the secret in it."""
    for entry in _entries(details):
        secret = entry.get("data" if entry["type"] == _ENCRYPTED else "signature")
        if isinstance(secret, str) and secret:
            kept = {name: value for name, value in entry.items() if name not in {"text", "summary", "index"}}
            yield Opaque(SOURCE, msgspec.json.encode(_cleaned(kept)).decode()), clean(secret)


def _cleaned(entry: dict[str, Any]) -> dict[str, Any]:
    """Return an entry that can be encoded, of texts alone: its type, format, id, and data or signature."""
    return {clean(name): clean(value) for name, value in entry.items() if isinstance(value, str)}

"""What an answer cost, told in the usage that it ends with: ``usage.cost``, a number of US dollars.

The same for every format, and for what we made ourselves as for what a provider sent: the usage that is told last gets
one member more. It is written with all its digits, at most nine decimals, since an amount is no float. A provider's own
``cost`` (OpenRouter tells one) gives way: it is not what the client is charged.
"""

from collections.abc import Sequence
from typing import Final

import msgspec

from ainf.formats.base import EndingStyle, Pipe
from ainf.formats.relay import part_comments, reread
from ainf.inference.money import format_usd
from ainf.inference.outcome import Outcome
from ainf.sse import frame

_PLACES: Final = (("usage",), ("response", "usage"))
"""Where formats tell usage: in a chunk, a message's end or a whole answer; in the response that an event carries."""

_decode = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def close(pipe: Pipe, outcome: Outcome, style: EndingStyle, *, is_stream: bool) -> bytes:
    """Return the terminal group of a pipe, with the cost in it for a client that is told; see ``Pipe.close``."""
    group = pipe.close(outcome, style)
    return tell_cost(group, outcome.billed_nusd, is_stream=is_stream) if style.tells_cost else group


def tell_cost(said: bytes, cost_nusd: int, *, is_stream: bool) -> bytes:
    """Return what ends an answer with its cost in it; as it is, where it tells no usage or cannot be read.

    Args:
        said: a stream's terminal group, or a whole answer.
        cost_nusd: what the client is charged.
        is_stream: which of both it is.
    """
    cost = format_usd(cost_nusd).encode()
    return _in_stream(said, cost) if is_stream else _in_document(said, cost) or said


def _in_stream(group: bytes, cost: bytes) -> bytes:
    """Put the cost into the last event that tells usage: a client that adds costs up is not told twice."""
    batch = reread(group)
    for number in range(len(batch.payloads) - 1, -1, -1):
        told = _in_document(batch.payloads[number], cost)
        if told is not None:
            start, end = batch.ends[number - 1] if number else 0, batch.ends[number]
            remarks, _ = part_comments(group[start:end])
            name = None if batch.names is None or batch.names[number] == b"message" else batch.names[number]
            return group[:start] + remarks + frame(told, event=name) + group[end:]
    return group


def _in_document(document: bytes, cost: bytes) -> bytes | None:
    for place in _PLACES:
        told = _put(document, place, cost)
        if told is not None:
            return told
    return None


def _put(document: bytes, place: Sequence[str], cost: bytes) -> bytes | None:
    """Return a JSON object with the cost in the object at a place below it; None where there is none.

    All other values keep their bytes.
    """
    try:
        fields = _decode(document)
    except (ValueError, RecursionError):
        return None
    if not place:
        fields["cost"] = msgspec.Raw(cost)
        return msgspec.json.encode(fields)
    below = fields.get(place[0])
    told = None if below is None else _put(bytes(below), place[1:], cost)
    if told is None:
        return None
    fields[place[0]] = msgspec.Raw(told)
    return msgspec.json.encode(fields)

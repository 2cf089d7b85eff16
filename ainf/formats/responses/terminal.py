"""How an answer in the Responses format is ended: what is open is closed, then one terminal event."""

from typing import Any

from ainf.formats.responses.frames import End, closing_events, event_frame
from ainf.formats.responses.transcript import Transcript
from ainf.formats.responses.usage import usage_fields
from ainf.formats.responses.wire import CREATED
from ainf.inference.usage import Usage


def terminal_group(transcript: Transcript, base: dict[str, Any], end: End, usage: Usage) -> bytes:
    """Return the events that end an answer for a client that knows what the transcript says.

    Where that is nothing, the answer is begun first: SDKs read no other event before ``response.created``. What was
    too long to be kept is neither closed nor repeated.

    Args:
        transcript: what the client was told.
        base: the response object at its beginning.
        end: how it ends.
        usage: what it used, as it was settled.
    """
    number = transcript.next_number
    frames: list[bytes] = []
    if not transcript.is_created:
        frames.append(event_frame(CREATED, number, response=base))
    for item in () if transcript.is_full else transcript.items:
        if item.final is None and item.is_announced:
            frames += [
                event_frame(kind, number + len(frames) + n, **fields)
                for n, (kind, fields) in enumerate(closing_events(item, is_whole=False))
            ]
    response = base | end.fields | {"output": output_of(transcript), "usage": usage_fields(usage)}
    return b"".join([*frames, event_frame(end.kind, number + len(frames), response=response)])


def output_of(transcript: Transcript) -> list[dict[str, Any]]:
    """Return the items that the client was told of; those that are open are incomplete."""
    return [] if transcript.is_full else [item.document("incomplete") for item in transcript.items]

"""A whole answer in the Responses format: what it says, and how it is told of a cap."""

from typing import Any

import msgspec

from ainf.formats.base import Answer, EndingStyle
from ainf.formats.errors import in_band_error
from ainf.formats.loose import dump_loosely, load_loosely
from ainf.formats.observe import not_of_format, truncated, unreadable
from ainf.formats.responses.frames import broken_end
from ainf.formats.responses.observe import failure_of, kind_of, note_end, note_response
from ainf.formats.responses.wire import FAILED, item_bytes, output_of
from ainf.inference.outcome import Outcome

_WHAT = "a response object"


class ResponsesWholeJudge:
    """What the Responses format makes of a whole answer."""

    def read(self, body: bytes, answer: Answer) -> int | None:
        """Note what a whole answer says. See ``WholeJudge.read``."""
        response = read_answer(body, answer)
        return None if response is None else sum(map(item_bytes, output_of(response)))

    def capped(self, body: bytes, outcome: Outcome, ending: EndingStyle) -> bytes:
        """Return the body with our end in it. See ``WholeJudge.capped``."""
        document = load_loosely(body)
        assert document is not None, "an ending with an answer, and no answer"
        return dump_loosely(document | broken_end(outcome, ending).fields)


def read_answer(body: bytes, answer: Answer) -> dict[str, Any] | None:
    """Return the response object of a whole answer, and note what it says.

    There is none where the answer reports an error (``answer.error``).

    Raises:
        UpstreamError: ``upstream_protocol``: empty, or not a response object; ``upstream_truncated``: cut, or not at
            its end.
    """
    response, is_opaque = _load(body)
    if response is None:
        raise unreadable(body, _WHAT)
    kind = kind_of(response)
    if kind == FAILED or (kind is None and response.get("error")):
        note_response(answer, response)
        answer.error = failure_of(response) if kind == FAILED else in_band_error(response["error"])
        return None
    if not isinstance(response.get("output"), list):
        raise not_of_format(_WHAT)
    if kind is None:
        note_response(answer, response)
        raise truncated()
    answer.opaque_frames += is_opaque
    note_end(answer, kind, response, has_calls=False)
    return response


def _load(body: bytes) -> tuple[dict[str, Any] | None, bool]:
    """Return the JSON object of a body, and whether it could only be read loosely."""
    try:
        document = msgspec.json.decode(body)
    except (ValueError, RecursionError):
        return load_loosely(body), True
    return (document if isinstance(document, dict) else None), False

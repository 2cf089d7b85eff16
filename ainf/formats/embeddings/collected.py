"""A whole answer with embeddings: what it says. The bytes go on as they came.

Source: OpenAI's API reference, "create embeddings".
"""

from typing import Any, Final

import attrs
import msgspec

from ainf.formats.base import Answer, EndingStyle
from ainf.formats.errors import in_band_error
from ainf.formats.loose import load_loosely
from ainf.formats.observe import believable_usage, not_of_format, note_finish, note_names, note_usage, unreadable
from ainf.inference.events import FinishReason
from ainf.inference.outcome import Outcome
from ainf.inference.usage import Usage

EMBEDDED: Final = "embedded"
"""What stands for a finish reason: the vectors are there."""

_WHAT = "a list of as many embeddings as there were inputs"


class _Embedding(msgspec.Struct, gc=False):
    """One vector, whose numbers nobody here reads: a list, or base64."""

    embedding: msgspec.Raw


class _Document(msgspec.Struct, gc=False):
    """What is read of an answer as it should be."""

    data: list[_Embedding] | None = None
    model: Any = None
    usage: Any = None
    error: Any = None


@attrs.frozen
class _View:
    """What an answer says; its names, usage and error are yet to be judged."""

    vectors: int
    model: Any
    usage: Any
    error: Any
    is_opaque: bool
    """It is not as it should be, but can be read."""


_decode = msgspec.json.Decoder(_Document).decode


class EmbeddingsJudge:
    """What the embeddings format makes of a whole answer.

    Args:
        inputs: how many vectors were asked for: fewer or more are no answer.
    """

    __slots__ = ("_inputs",)

    def __init__(self, inputs: int) -> None:
        self._inputs = inputs

    def read(self, body: bytes, answer: Answer) -> int | None:
        """Note what a whole answer says; nothing in it is visible output. See ``WholeJudge.read``."""
        view = _read(body)
        note_names(answer, None, view.model)
        if view.usage is not None:
            note_usage(answer, view.usage, read_usage(view.usage))
        if view.error:
            answer.error = in_band_error(view.error)
            return None
        if view.vectors != self._inputs:
            raise not_of_format(_WHAT)
        answer.opaque_frames += view.is_opaque
        note_finish(answer, EMBEDDED, FinishReason.STOP)
        return 0

    def capped(self, body: bytes, outcome: Outcome, ending: EndingStyle) -> bytes:
        """Return the body as it is: nothing in it could be less. See ``WholeJudge.capped``."""
        return body


def read_usage(document: Any) -> Usage | None:  # noqa: ANN401 - a provider's word, judged here
    """Return the usage that an object of the wire states, or None where it states none that can be true."""
    if not isinstance(document, dict) or document.get("prompt_tokens") is None:
        return None
    return believable_usage(input_tokens=document["prompt_tokens"])


def _read(body: bytes) -> _View:
    """Return what an answer says, however broken its text is.

    Raises:
        UpstreamError: ``upstream_protocol``, ``upstream_truncated``: it is no JSON object.
    """
    try:
        answer = _decode(body)
    except (ValueError, RecursionError):
        document = load_loosely(body)
    else:
        return _View(len(answer.data or ()), answer.model, answer.usage, answer.error, is_opaque=False)
    if document is None:
        raise unreadable(body, _WHAT)
    data = document.get("data")
    items = data if isinstance(data, list) else ()
    vectors = [item for item in items if isinstance(item, dict) and "embedding" in item]
    error = document.get("error")
    return _View(len(vectors), document.get("model"), document.get("usage"), error, is_opaque=True)

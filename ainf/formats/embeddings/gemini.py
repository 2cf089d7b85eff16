"""Gemini's embeddings, told in OpenAI's words.

Source: Google's API reference, "batchEmbedContents". It names no model; where it does not report its usage, the answer
carries what the exchange was settled at.
"""

from ainf.formats.base import Answer, EndingStyle, Listener, PipeLimits
from ainf.formats.collected import Collected
from ainf.formats.embeddings.collected import EMBEDDED
from ainf.formats.embeddings.writer import write_embeddings, write_vector
from ainf.formats.errors import in_band_error
from ainf.formats.gemini.embeddings import read_embeddings, read_embeddings_usage
from ainf.formats.loose import load_loosely
from ainf.formats.observe import not_of_format, note_finish, note_usage, unreadable
from ainf.inference.events import FinishReason
from ainf.inference.outcome import Outcome

_WHAT = "a batch of as many embeddings as there were inputs"


class GeminiEmbeddingsJudge:
    """What Gemini's whole answer is in OpenAI's words.

    Args:
        listener: whom it is for; its ``echo`` says how many vectors were asked for, and how they are encoded.
    """

    __slots__ = ("_listener", "_vectors")

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._vectors: list[list[float] | str] = []

    def read(self, body: bytes, answer: Answer) -> int | None:
        """Note what a whole answer says, and keep its vectors. See ``WholeJudge.read``."""
        vectors = read_embeddings(body)
        if vectors is None:
            error = (load_loosely(body) or {}).get("error")
            if not error:
                raise unreadable(body, _WHAT)
            answer.error = in_band_error(error)
            return None
        echo = self._listener.echo
        if len(vectors) != echo["inputs"]:
            raise not_of_format(_WHAT)
        try:
            self._vectors = [write_vector(vector, echo["encoding_format"]) for vector in vectors]
        except ValueError:
            raise not_of_format(_WHAT) from None
        usage = read_embeddings_usage(body)
        if usage is not None:
            note_usage(answer, {"promptTokenCount": usage.input_tokens}, usage)
        note_finish(answer, EMBEDDED, FinishReason.STOP)
        return 0

    def capped(self, body: bytes, outcome: Outcome, ending: EndingStyle) -> bytes:
        """Return the vectors: none of them could be less. See ``WholeJudge.capped``."""
        return self.written(outcome)

    def written(self, outcome: Outcome) -> bytes:
        """Return the answer for the client."""
        return write_embeddings(self._vectors, self._listener.model, outcome.usage)


class GeminiEmbeddings(Collected):
    """The pipe from Gemini's whole answer to OpenAI's."""

    __slots__ = ("_vectors",)

    def __init__(self, listener: Listener, limits: PipeLimits, answer: Answer) -> None:
        self._vectors = GeminiEmbeddingsJudge(listener)
        super().__init__(self._vectors, limits, answer)

    def close(self, outcome: Outcome, ending: EndingStyle) -> bytes:
        """Return the answer in the client's words. See ``Pipe.close``."""
        return self._vectors.written(outcome)

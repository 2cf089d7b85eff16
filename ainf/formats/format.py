"""What a wire format has to offer, and the pipe between any two of them."""

from collections.abc import Mapping
from typing import Any, Protocol

from ainf.formats.base import Answer, Listener, Pipe, PipeLimits
from ainf.formats.pipe import EventPipe, EventReader, EventWriter, SniffingPipe
from ainf.inference.conversation import Conversation, ReasoningAsk, Written


class Format(Protocol):
    """One wire format: its requests and answers, read and written, and its own answers relayed."""

    name: str
    """"chat", "messages", "responses", "gemini"."""
    wishes: frozenset[str]
    """Of the wishes of a conversation, those that a request of this format can say."""

    def relay(self, listener: Listener, limits: PipeLimits, answer: Answer) -> Pipe:
        """Return the pipe between equal streams."""
        ...

    def collect(self, limits: PipeLimits, answer: Answer) -> Pipe:
        """Return the pipe between equal whole answers."""
        ...

    def stream_reader(self, limits: PipeLimits, answer: Answer) -> EventReader:
        """Return the reader of a stream."""
        ...

    def answer_reader(self, limits: PipeLimits, answer: Answer) -> EventReader:
        """Return the reader of a whole answer."""
        ...

    def stream_writer(self, listener: Listener, answer: Answer, *, is_translated: bool) -> EventWriter:
        """Return the writer of a stream.

        Args:
            listener: whom it is for.
            answer: what is known of the provider's answer: its names when it begins, all of it when it is closed. Of a
                whole answer all is known from the beginning.
            is_translated: whether the provider's format is another one: then the client's name of the model and our
                words for finish reasons are said; else the provider's stand.
        """
        ...

    def answer_writer(
        self, listener: Listener, answer: Answer, limits: PipeLimits, *, is_translated: bool
    ) -> EventWriter:
        """Return the writer of a whole answer; see ``stream_writer``. ``limits.answer`` bounds it."""
        ...

    def read_request(self, fields: Mapping[str, Any]) -> Conversation:
        """Return what a request asks.

        Raises:
            DownstreamError: ``unsupported_parameter``: a part of a message, or a tool, that no other format could say;
                ``invalid_type``, ``invalid_value``, ``missing_field``; ``param`` is the path of it.
        """
        ...

    def write_request(self, conversation: Conversation) -> Written:
        """Return a request that asks it.

        Raises:
            DownstreamError: ``unsupported_parameter``: a part of a message, or a tool, that this format cannot say;
                ``param`` is its path in the client's request.
        """
        ...

    def reasoning_of(self, fields: Mapping[str, Any]) -> ReasoningAsk | None:
        """Return how much a request of this format asks the model to think; None where it does not say.

        Never raises: what has a wrong type says nothing.
        """
        ...


def open_pipe(client: Format, provider: Format, listener: Listener, limits: PipeLimits) -> Pipe:
    """Return the pipe from a provider's format to a client that wants a stream, or a whole answer.

    What the provider answers is found by its first byte, whatever was asked for: a stream for a stream and a whole
    answer for a whole one go on as they are (relayed between equal formats, else event by event); a whole answer is
    wrapped into a stream, a stream collected into an answer.
    """
    answer = Answer()
    is_translated = client.name != provider.name
    if listener.stream:

        def to_stream(reader: EventReader) -> Pipe:
            told = answer if reader.is_whole else Answer()  # a whole answer is known before any of it is written
            return EventPipe(reader, client.stream_writer(listener, told, is_translated=is_translated), told)

        native = (
            to_stream(provider.stream_reader(limits, answer))
            if is_translated
            else client.relay(listener, limits, answer)
        )
        return SniffingPipe(
            native,
            lambda: to_stream(provider.answer_reader(limits, answer)),
            is_stream=True,
            blank_limit=limits.line,
        )

    def to_answer(reader: EventReader) -> Pipe:
        return EventPipe(reader, client.answer_writer(listener, answer, limits, is_translated=is_translated))

    native = to_answer(provider.answer_reader(limits, answer)) if is_translated else client.collect(limits, answer)
    return SniffingPipe(
        native, lambda: to_answer(provider.stream_reader(limits, answer)), is_stream=False, blank_limit=limits.answer
    )

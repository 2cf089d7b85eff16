"""What a wire format has to offer, and the pipe between any two of them."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import attrs

from ainf.formats.base import Answer, Listener, Pipe, PipeLimits
from ainf.formats.collected import Collected, WholeJudge
from ainf.formats.pipe import EventPipe, EventReader, EventWriter, SniffingPipe
from ainf.formats.reader import FrameReader, StreamReader, WholeReader
from ainf.inference.conversation import Conversation, ReasoningAsk, Written
from ainf.inference.events import StreamEvent


class WriterMaker(Protocol):
    """Makes the writer of a stream, or of a whole answer."""

    def __call__(self, listener: Listener, answer: Answer, limits: PipeLimits, *, is_translated: bool) -> EventWriter:
        """Return a writer.

        Args:
            listener: whom it is for.
            answer: what is known of the provider's answer: its names when it begins, all of it when it is closed. Of a
                whole answer all is known from the beginning.
            limits: ``answer`` bounds what it keeps.
            is_translated: whether the provider's format is another one: then the client's name of the model and our
                words for finish reasons are said; else the provider's stand.
        """
        ...


class FrugalWriterMaker(Protocol):
    """Makes a writer that keeps nothing that could grow."""

    def __call__(self, listener: Listener, answer: Answer, *, is_translated: bool) -> EventWriter:
        """Return a writer; see ``WriterMaker``."""
        ...


@attrs.frozen(kw_only=True, eq=False)
class Format:
    """One wire format: its requests and answers, read and written, and its own answers relayed."""

    name: str
    """"chat", "messages", "responses", "gemini"."""
    wishes: frozenset[str]
    """Of the wishes of a conversation, those that a request of this format can say."""
    relay: Callable[[Listener, PipeLimits, Answer], Pipe]
    """Makes the pipe between equal streams."""
    whole_judge: WholeJudge
    """Of whole answers that go on as they are."""
    frame_reader: Callable[[Answer], FrameReader]
    """Makes the reader of a stream's frames."""
    read_events: Callable[[bytes, Answer], list[StreamEvent]]
    """Reads a whole answer; see ``WholeReader``."""
    stream_writer: WriterMaker
    """Makes the writer of a stream."""
    answer_writer: WriterMaker
    """Makes the writer of a whole answer."""
    read_request: Callable[[Mapping[str, Any]], Conversation]
    """Returns what a request asks.

    Raises DownstreamError: ``unsupported_parameter``: a part of a message, or a tool, that no other format could say;
    ``invalid_type``, ``invalid_value``, ``missing_field``; ``param`` is the path of it.
    """
    write_request: Callable[[Conversation], Written]
    """Returns a request that asks it.

    Raises DownstreamError: ``unsupported_parameter``: a part of a message, or a tool, that this format cannot say;
    ``param`` is its path in the client's request.
    """
    reasoning_of: Callable[[Mapping[str, Any]], ReasoningAsk | None]
    """Returns how much a request of this format asks the model to think; None where it does not say.

    Never raises: what has a wrong type says nothing.
    """

    def collect(self, limits: PipeLimits, answer: Answer) -> Pipe:
        """Return the pipe between equal whole answers."""
        return Collected(self.whole_judge, limits, answer)

    def stream_reader(self, limits: PipeLimits, answer: Answer) -> EventReader:
        """Return the reader of a stream."""
        return StreamReader(self.frame_reader(answer), limits)

    def answer_reader(self, limits: PipeLimits, answer: Answer) -> EventReader:
        """Return the reader of a whole answer."""
        return WholeReader(self.read_events, limits, answer)


def frugal(writer: FrugalWriterMaker) -> WriterMaker:
    """Return the maker of a writer that needs no limits."""

    def make(listener: Listener, answer: Answer, limits: PipeLimits, *, is_translated: bool) -> EventWriter:
        return writer(listener, answer, is_translated=is_translated)

    return make


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
            return EventPipe(reader, client.stream_writer(listener, told, limits, is_translated=is_translated), told)

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

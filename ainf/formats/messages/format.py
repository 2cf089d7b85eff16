"""The Messages format, joined."""

from collections.abc import Mapping
from typing import Any

from ainf.formats.base import Answer, Listener, Pipe, PipeLimits
from ainf.formats.collected import Collected
from ainf.formats.messages.collected import MessagesWholeJudge
from ainf.formats.messages.reader import MessagesFrameReader, read_events
from ainf.formats.messages.relay import MessagesStreamJudge
from ainf.formats.messages.request_reader import read_request, reasoning_of
from ainf.formats.messages.request_writer import write_request
from ainf.formats.messages.wire import visible_in
from ainf.formats.messages.writer import MessagesAnswerWriter, MessagesStreamWriter
from ainf.formats.pipe import EventReader, EventWriter
from ainf.formats.reader import StreamReader, WholeReader
from ainf.formats.relay import StreamRelay
from ainf.inference.conversation import Conversation, ReasoningAsk, Written


class MessagesFormat:
    """Anthropic's Messages. See ``Format``."""

    name = "messages"
    wishes = frozenset({"cache_control", "reasoning_shown"})

    def relay(self, listener: Listener, limits: PipeLimits, answer: Answer) -> Pipe:
        """Return the pipe between equal streams."""
        return StreamRelay(MessagesStreamJudge(limit=limits.answer, answer=answer), visible_in, limits)

    def collect(self, limits: PipeLimits, answer: Answer) -> Pipe:
        """Return the pipe between equal whole answers."""
        return Collected(MessagesWholeJudge(), limits, answer)

    def stream_reader(self, limits: PipeLimits, answer: Answer) -> EventReader:
        """Return the reader of a stream."""
        return StreamReader(MessagesFrameReader(answer), limits)

    def answer_reader(self, limits: PipeLimits, answer: Answer) -> EventReader:
        """Return the reader of a whole answer."""
        return WholeReader(read_events, limits, answer)

    def stream_writer(self, listener: Listener, answer: Answer, *, is_translated: bool) -> EventWriter:
        """Return the writer of a stream."""
        return MessagesStreamWriter(listener, answer, is_translated=is_translated)

    def answer_writer(
        self, listener: Listener, answer: Answer, limits: PipeLimits, *, is_translated: bool
    ) -> EventWriter:
        """Return the writer of a whole answer."""
        return MessagesAnswerWriter(listener, answer, limits.answer, is_translated=is_translated)

    def read_request(self, fields: Mapping[str, Any]) -> Conversation:
        """Return what a request asks."""
        return read_request(fields)

    def write_request(self, conversation: Conversation) -> Written:
        """Return a request that asks it."""
        return write_request(conversation)

    def reasoning_of(self, fields: Mapping[str, Any]) -> ReasoningAsk | None:
        """Return how much a request asks the model to think."""
        return reasoning_of(fields)

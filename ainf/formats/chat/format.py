"""The chat format, joined."""

from collections.abc import Mapping
from typing import Any

from ainf.formats.base import Answer, Listener, Pipe, PipeLimits
from ainf.formats.chat.collected import ChatWholeJudge
from ainf.formats.chat.reader import ChatFrameReader, read_events
from ainf.formats.chat.relay import ChatStreamJudge, visible_in
from ainf.formats.chat.request_reader import read_request, reasoning_of
from ainf.formats.chat.request_writer import write_request
from ainf.formats.chat.writer import ChatAnswerWriter, ChatStreamWriter
from ainf.formats.collected import Collected
from ainf.formats.pipe import EventReader, EventWriter
from ainf.formats.reader import StreamReader, WholeReader
from ainf.formats.relay import StreamRelay
from ainf.inference.conversation import Conversation, ReasoningAsk, Written


class ChatFormat:
    """OpenAI's chat completions. See ``Format``."""

    name = "chat"
    wishes: frozenset[str] = frozenset()

    def relay(self, listener: Listener, limits: PipeLimits, answer: Answer) -> Pipe:
        """Return the pipe between equal streams."""
        judge = ChatStreamJudge(include_usage=listener.include_usage, limit=limits.answer, answer=answer)
        return StreamRelay(judge, visible_in, limits)

    def collect(self, limits: PipeLimits, answer: Answer) -> Pipe:
        """Return the pipe between equal whole answers."""
        return Collected(ChatWholeJudge(), limits, answer)

    def stream_reader(self, limits: PipeLimits, answer: Answer) -> EventReader:
        """Return the reader of a stream."""
        return StreamReader(ChatFrameReader(answer), limits)

    def answer_reader(self, limits: PipeLimits, answer: Answer) -> EventReader:
        """Return the reader of a whole answer."""
        return WholeReader(read_events, limits, answer)

    def stream_writer(self, listener: Listener, answer: Answer, *, is_translated: bool) -> EventWriter:
        """Return the writer of a stream."""
        return ChatStreamWriter(listener, answer, is_translated=is_translated)

    def answer_writer(
        self, listener: Listener, answer: Answer, limits: PipeLimits, *, is_translated: bool
    ) -> EventWriter:
        """Return the writer of a whole answer."""
        return ChatAnswerWriter(listener, answer, limits.answer, is_translated=is_translated)

    def read_request(self, fields: Mapping[str, Any]) -> Conversation:
        """Return what a request asks."""
        return read_request(fields)

    def write_request(self, conversation: Conversation) -> Written:
        """Return a request that asks it."""
        return write_request(conversation)

    def reasoning_of(self, fields: Mapping[str, Any]) -> ReasoningAsk | None:
        """Return how much a request asks the model to think."""
        return reasoning_of(fields)

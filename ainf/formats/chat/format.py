"""The chat format, joined."""

from ainf.formats.base import Answer, Listener, Pipe, PipeLimits
from ainf.formats.chat.collected import ChatWholeJudge
from ainf.formats.chat.reader import ChatAnswerReader, ChatStreamReader
from ainf.formats.chat.relay import ChatStreamJudge, visible_in
from ainf.formats.chat.writer import ChatAnswerWriter, ChatStreamWriter
from ainf.formats.collected import Collected
from ainf.formats.pipe import EventReader, EventWriter
from ainf.formats.relay import StreamRelay


class ChatFormat:
    """OpenAI's chat completions. See ``Format``."""

    name = "chat"

    def relay(self, listener: Listener, limits: PipeLimits, answer: Answer) -> Pipe:
        """Return the pipe between equal streams."""
        judge = ChatStreamJudge(include_usage=listener.include_usage, limit=limits.answer, answer=answer)
        return StreamRelay(judge, visible_in, limits)

    def collect(self, limits: PipeLimits, answer: Answer) -> Pipe:
        """Return the pipe between equal whole answers."""
        return Collected(ChatWholeJudge(), limits, answer)

    def stream_reader(self, limits: PipeLimits, answer: Answer) -> EventReader:
        """Return the reader of a stream."""
        return ChatStreamReader(limits=limits, answer=answer)

    def answer_reader(self, limits: PipeLimits, answer: Answer) -> EventReader:
        """Return the reader of a whole answer."""
        return ChatAnswerReader(limits=limits, answer=answer)

    def stream_writer(self, listener: Listener, answer: Answer, *, is_translated: bool) -> EventWriter:
        """Return the writer of a stream."""
        return ChatStreamWriter(listener, answer, is_translated=is_translated)

    def answer_writer(
        self, listener: Listener, answer: Answer, limits: PipeLimits, *, is_translated: bool
    ) -> EventWriter:
        """Return the writer of a whole answer."""
        return ChatAnswerWriter(listener, answer, limits.answer, is_translated=is_translated)

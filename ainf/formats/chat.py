"""The chat format, joined: which pipe stands between a chat provider's answer and a chat client's."""

from ainf.formats.base import Answer, Pipe, PipeLimits
from ainf.formats.chat_collected import ChatCollected
from ainf.formats.chat_reader import ChatAnswerReader, ChatStreamReader
from ainf.formats.chat_relay import ChatRelay
from ainf.formats.chat_writer import ChatAnswerWriter, ChatStreamWriter
from ainf.formats.pipe import EventPipe, SniffingPipe

FORMAT = "chat"


def open_chat_pipe(*, is_stream: bool, include_usage: bool, limits: PipeLimits) -> Pipe:
    """Return the pipe from a chat provider to a chat client that wants a stream, or a whole answer.

    What the provider answers is found by its first byte: the kind that was asked for is handed on as it came, the
    other is converted (a whole answer is wrapped into a stream, a stream collected into an answer).
    """
    answer = Answer()
    if is_stream:

        def wrapped() -> Pipe:
            writer = ChatStreamWriter(include_usage=include_usage, answer=answer)
            return EventPipe(ChatAnswerReader(limits=limits, answer=answer), writer)

        relay = ChatRelay(include_usage=include_usage, limits=limits, answer=answer)
        return SniffingPipe(relay, wrapped, is_stream=True, blank_limit=limits.line)

    def collected() -> Pipe:
        writer = ChatAnswerWriter(answer=answer, limit=limits.answer)
        return EventPipe(ChatStreamReader(limits=limits, answer=answer), writer)

    return SniffingPipe(
        ChatCollected(limits=limits, answer=answer), collected, is_stream=False, blank_limit=limits.answer
    )

"""The chat format, joined."""

from typing import Final

from ainf.formats.base import Answer, Listener, Pipe, PipeLimits
from ainf.formats.chat.collected import ChatWholeJudge
from ainf.formats.chat.reader import ChatFrameReader, read_events
from ainf.formats.chat.relay import ChatStreamJudge, visible_in
from ainf.formats.chat.request_reader import read_request, reasoning_of
from ainf.formats.chat.request_writer import write_request
from ainf.formats.chat.writer import ChatAnswerWriter, ChatStreamWriter
from ainf.formats.format import Format, frugal
from ainf.formats.relay import StreamRelay


def _relay(listener: Listener, limits: PipeLimits, answer: Answer) -> Pipe:
    judge = ChatStreamJudge(include_usage=listener.include_usage, limit=limits.answer, answer=answer)
    return StreamRelay(judge, visible_in, limits)


CHAT: Final = Format(
    name="chat",
    wishes=frozenset(),
    relay=_relay,
    whole_judge=ChatWholeJudge(),
    frame_reader=ChatFrameReader,
    read_events=read_events,
    stream_writer=frugal(ChatStreamWriter),
    answer_writer=ChatAnswerWriter,
    read_request=read_request,
    write_request=write_request,
    reasoning_of=reasoning_of,
)
"""OpenAI's chat completions."""

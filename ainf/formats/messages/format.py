"""The Messages format, joined."""

from typing import Final

from ainf.formats.base import Answer, Listener, Pipe, PipeLimits
from ainf.formats.format import Format, frugal
from ainf.formats.messages.collected import MessagesWholeJudge
from ainf.formats.messages.reader import MessagesFrameReader, read_events
from ainf.formats.messages.relay import MessagesStreamJudge
from ainf.formats.messages.request_reader import read_request, reasoning_of
from ainf.formats.messages.request_writer import write_request
from ainf.formats.messages.wire import visible_in
from ainf.formats.messages.writer import MessagesAnswerWriter, MessagesStreamWriter
from ainf.formats.relay import StreamRelay


def _relay(listener: Listener, limits: PipeLimits, answer: Answer) -> Pipe:
    judge = MessagesStreamJudge(limit=limits.answer, answer=answer)
    return StreamRelay(judge, visible_in, limits)


MESSAGES: Final = Format(
    name="messages",
    wishes=frozenset({"cache_control", "reasoning_shown"}),
    relay=_relay,
    whole_judge=MessagesWholeJudge(),
    frame_reader=MessagesFrameReader,
    read_events=read_events,
    stream_writer=frugal(MessagesStreamWriter),
    answer_writer=MessagesAnswerWriter,
    read_request=read_request,
    write_request=write_request,
    reasoning_of=reasoning_of,
)
"""Anthropic's Messages."""

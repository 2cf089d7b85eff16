"""The Responses format, joined."""

from typing import Final

from ainf.formats.base import Answer, Listener, Pipe, PipeLimits
from ainf.formats.format import Format
from ainf.formats.relay import StreamRelay
from ainf.formats.responses.answer_writer import ResponsesAnswerWriter
from ainf.formats.responses.collected import ResponsesWholeJudge
from ainf.formats.responses.reader import ResponsesFrameReader, read_events
from ainf.formats.responses.relay import ResponsesStreamJudge
from ainf.formats.responses.request_reader import read_request, reasoning_of
from ainf.formats.responses.request_writer import write_request
from ainf.formats.responses.writer import ResponsesStreamWriter


def _relay(listener: Listener, limits: PipeLimits, answer: Answer) -> Pipe:
    judge = ResponsesStreamJudge(limit=limits.answer, answer=answer)
    return StreamRelay(judge, judge.measure_one, limits)


RESPONSES: Final = Format(
    name="responses",
    wishes=frozenset({"reasoning_shown"}),
    relay=_relay,
    whole_judge=ResponsesWholeJudge(),
    frame_reader=ResponsesFrameReader,
    read_events=read_events,
    stream_writer=ResponsesStreamWriter,
    answer_writer=ResponsesAnswerWriter,
    read_request=read_request,
    write_request=write_request,
    reasoning_of=reasoning_of,
)
"""OpenAI's Responses."""

"""The Gemini format, joined."""

from typing import Final

from ainf.formats.base import Answer, Listener, Pipe, PipeLimits
from ainf.formats.format import Format, frugal
from ainf.formats.gemini.collected import GeminiWholeJudge
from ainf.formats.gemini.reader import GeminiFrameReader, read_events
from ainf.formats.gemini.relay import GeminiStreamJudge, visible_in
from ainf.formats.gemini.request_reader import read_request, reasoning_of
from ainf.formats.gemini.request_writer import write_request
from ainf.formats.gemini.writer import GeminiAnswerWriter, GeminiStreamWriter
from ainf.formats.relay import StreamRelay


def _relay(listener: Listener, limits: PipeLimits, answer: Answer) -> Pipe:
    judge = GeminiStreamJudge(answer=answer)
    return StreamRelay(judge, visible_in, limits)


GEMINI: Final = Format(
    name="gemini",
    wishes=frozenset({"reasoning_shown"}),
    relay=_relay,
    whole_judge=GeminiWholeJudge(),
    frame_reader=GeminiFrameReader,
    read_events=read_events,
    stream_writer=frugal(GeminiStreamWriter),
    answer_writer=GeminiAnswerWriter,
    read_request=read_request,
    write_request=write_request,
    reasoning_of=reasoning_of,
)
"""Google's generateContent and streamGenerateContent."""

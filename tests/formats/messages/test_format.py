import pytest

from ainf.formats.base import Answer
from ainf.formats.format import open_pipe
from ainf.formats.messages.format import MESSAGES as FORMAT
from ainf.inference.conversation import Message, ReasoningAsk, Role, Text
from tests.formats.messages.support import (
    ENDED,
    LIMITS,
    LISTENER,
    WHOLE_NAMES,
    client_message,
    feed,
    fixture,
    outcome,
    shown,
    style,
    whole_fixture,
)


def test_what_is_learnt_is_kept_where_it_was_asked_to_be():
    """Every part notes in the answer that it was given."""
    for make in (
        lambda answer: FORMAT.relay(LISTENER, LIMITS, answer),
        lambda answer: FORMAT.collect(LIMITS, answer),
        lambda answer: FORMAT.stream_reader(LIMITS, answer),
        lambda answer: FORMAT.answer_reader(LIMITS, answer),
    ):
        answer = Answer()
        assert make(answer).answer is answer


def test_writers():
    """There is one for streams and one for whole answers."""
    assert not FORMAT.stream_writer(LISTENER, Answer(), LIMITS, is_translated=True).is_whole
    assert FORMAT.answer_writer(LISTENER, Answer(), LIMITS, is_translated=True).is_whole


def test_requests():
    """A request is read, written and asked for its thinking."""
    fields = {"messages": [{"role": "user", "content": "Hi"}], "thinking": {"type": "adaptive"}}
    conversation = FORMAT.read_request(fields)
    assert conversation.messages == (Message(Role.USER, (Text("Hi"),), "messages[0]"),)
    assert FORMAT.write_request(conversation).fields == fields
    assert FORMAT.reasoning_of(fields) == ReasoningAsk(is_adaptive=True)


@pytest.mark.parametrize("name", ENDED)
def test_a_stream_for_a_stream(name):
    """A stream goes to who asked for one as it came."""
    pipe = open_pipe(FORMAT, FORMAT, LISTENER, LIMITS)
    stream = shown(feed(pipe, fixture(name))) + pipe.close(outcome(), style())
    assert (stream.startswith(fixture(name)), pipe.is_wrapped) == (True, False)


@pytest.mark.parametrize("name", WHOLE_NAMES)
def test_an_answer_for_a_stream(name):
    """A whole answer is wrapped into a stream that says the same, known from its start."""
    pipe = open_pipe(FORMAT, FORMAT, LISTENER, LIMITS)
    data = shown(feed(pipe, whole_fixture(name), 33))
    message = client_message(data + pipe.close(outcome(usage=pipe.answer.usage), style()))
    assert (message.id, message.stop_reason) == (pipe.answer.response_id, pipe.answer.raw_finish_reason)
    assert pipe.is_wrapped

from ainf.formats.base import Answer
from ainf.formats.chat.format import CHAT
from ainf.inference.conversation import Message, ReasoningAsk, Role, Text
from tests.formats.chat.support import COMPLETED, FINISH, LIMITS, USAGE_CHUNK, listener, style, text


def test_the_listener_is_heard():
    """What the client asked for reaches relay and writers."""
    pipe = CHAT.relay(listener(include_usage=True), LIMITS, Answer())
    pipe.receive(text("a") + FINISH + USAGE_CHUNK)
    assert USAGE_CHUNK in pipe.close(COMPLETED, style())


def test_what_is_learnt_is_kept_where_it_was_asked_to_be():
    """Every part notes in the answer that it was given."""
    for make in (
        lambda answer: CHAT.relay(listener(), LIMITS, answer),
        lambda answer: CHAT.collect(LIMITS, answer),
        lambda answer: CHAT.stream_reader(LIMITS, answer),
        lambda answer: CHAT.answer_reader(LIMITS, answer),
    ):
        answer = Answer()
        assert make(answer).answer is answer


def test_requests():
    """A request is read, written and asked for its effort."""
    fields = {"messages": [{"role": "user", "content": "Hi"}], "reasoning_effort": "low"}
    conversation = CHAT.read_request(fields)
    assert conversation.messages == (Message(Role.USER, (Text("Hi"),), "messages[0]"),)
    assert CHAT.write_request(conversation).fields == fields
    assert CHAT.reasoning_of(fields) == ReasoningAsk("low")

"""What protocols share."""

import pytest

from ainf.formats.base import Listener, PipeLimits
from ainf.formats.registry import FORMATS
from ainf.protocols.chat_completions import ChatCompletions
from ainf.protocols.messages import Messages
from ainf.protocols.responses import Responses

LIMITS = PipeLimits(1 << 16, 1 << 16, 1 << 16)
GENERATING = (ChatCompletions(), Messages(), Responses())


def listener(*, stream):
    return Listener(stream=stream, include_usage=False, model="m", inference_id="i", created=1)


@pytest.mark.parametrize("provider", FORMATS)
@pytest.mark.parametrize("protocol", GENERATING, ids=lambda each: each.name)
def test_every_pair_has_its_pipes(protocol, provider):
    """Any protocol can be answered from any format, streamed and whole."""
    for stream in (True, False):
        pipe = protocol.open_pipe(listener(stream=stream), provider, LIMITS)
        assert pipe.answer.raw_finish_reason is None
        assert pipe.receive(b" ").data == b""


def test_the_same_format_is_relayed():
    """A stream of the client's own format goes on as it came; a whole answer is kept for its end."""
    frame = b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n'
    chat = ChatCompletions()
    assert chat.open_pipe(listener(stream=True), "chat", LIMITS).receive(frame).data == frame
    assert chat.open_pipe(listener(stream=False), "chat", LIMITS).receive(frame).data == b""


@pytest.mark.parametrize("protocol", [Messages(), Responses()], ids=lambda each: each.name)
def test_no_fields_of_ours(protocol):
    """Only the chat shape has a path that adds any."""
    with pytest.raises(AssertionError):
        protocol.finish_json(b"{}", {})

import pytest

from ainf.formats.base import Listener, PipeLimits
from ainf.inference.request import Operation
from ainf.protocols.anthropic_errors import anthropic_error
from ainf.protocols.base import ErrorAnswer
from ainf.protocols.count_tokens import CountTokens
from tests.protocols.asking import Asker

COUNT = CountTokens()
BASE = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}
ASK = Asker(COUNT, "/v1/messages/count_tokens", BASE)
LISTENER = Listener(stream=False, include_usage=False, model="m", inference_id="i", created=1)
LIMITS = PipeLimits(1 << 16, 1 << 16, 1 << 16)


def test_plain():
    """A request as for an answer, without a limit."""
    request = ASK.parse(thinking={"type": "enabled", "budget_tokens": 10_000})
    assert (request.protocol, request.operation, request.stream) == ("count_tokens", Operation.COUNT, False)
    assert (request.max_output_tokens, request.model) == (None, "m")
    assert request.input_bytes > 0


@pytest.mark.parametrize(
    ("fields", "code", "param"),
    [
        ({"stream": True}, "unsupported_parameter", "stream"),
        ({"stream": "x"}, "invalid_type", "stream"),
        ({"messages": ...}, "missing_field", "messages"),
        ({"max_tokens": "x"}, "invalid_type", "max_tokens"),
        ({"tools": [7]}, "invalid_type", "tools[0]"),
    ],
)
def test_refused(fields, code, param):
    """It is checked like the request that it counts, and has no stream."""
    assert ASK.refusal(**fields) == (code, param)


def test_pipe():
    """A count goes on as it came; no other format has one."""
    pipe = COUNT.open_pipe(LISTENER, "count_tokens", LIMITS)
    pipe.receive(b'{"input_tokens":7}')
    assert pipe.receive_eof().is_content
    with pytest.raises(AssertionError):
        COUNT.open_pipe(LISTENER, "chat", LIMITS)


def test_error_body():
    """An error answer is Anthropic's."""
    answer = ErrorAnswer("upstream_error", "upstream_error", "No.", "n", None, 0, "req-1")
    assert COUNT.error_body(answer) == anthropic_error(answer)

import pytest

from ainf.inference.request import Operation
from ainf.protocols.anthropic_errors import anthropic_error
from ainf.protocols.base import ErrorAnswer
from ainf.protocols.messages import Messages
from tests.protocols.asking import Asker

MESSAGES = Messages()
BASE = {"model": "m", "max_tokens": 100, "messages": [{"role": "user", "content": "Hi"}]}
ASK = Asker(MESSAGES, "/v1/messages", BASE)


def test_plain():
    """A plain request says what it asks, and rides along as it came."""
    request = ASK.parse(temperature=0.5, x_unknown={"a": [1, None]})
    assert (request.protocol, request.path, request.model) == ("messages", "/v1/messages", "m")
    assert (request.operation, request.stream, request.include_usage) == (Operation.GENERATE, False, False)
    assert (request.max_output_tokens, request.has_tools, request.attachment_count) == (100, False, 0)
    assert request.fields == BASE | {"temperature": 0.5, "x_unknown": {"a": [1, None]}}
    assert MESSAGES.echo(request) == {}


def test_stream_and_tools():
    """A stream never asks for its usage: it always has it."""
    request = ASK.parse(stream=True, tools=[{"name": "f", "input_schema": {"type": "object"}}])
    assert (request.stream, request.include_usage, request.has_tools) == (True, False, True)


@pytest.mark.parametrize("value", [..., None])
def test_a_limit_is_required(value):
    """Anthropic's API has no default for it, and neither have we."""
    assert ASK.refusal(max_tokens=value) == ("missing_field", "max_tokens")


@pytest.mark.parametrize(
    ("value", "code"), [("5", "invalid_type"), (True, "invalid_type"), (0, "invalid_value"), (1 << 31, "invalid_value")]
)
def test_bad_limits(value, code):
    """It is a whole number from 1 to 2^31-1."""
    assert ASK.refusal(max_tokens=value) == (code, "max_tokens")


def test_thinking_stays_below_the_limit():
    """What is thought is part of the output."""
    assert ASK.parse(thinking={"type": "enabled", "budget_tokens": 99}).max_output_tokens == 100
    assert ASK.refusal(thinking={"budget_tokens": 100}) == ("invalid_value", "thinking.budget_tokens")


def test_error_body():
    """An error answer is Anthropic's."""
    answer = ErrorAnswer("upstream_error", "upstream_error", "No.", "n", "inf-1", 0, "req-1")
    assert MESSAGES.error_body(answer) == anthropic_error(answer)

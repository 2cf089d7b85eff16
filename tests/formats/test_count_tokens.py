"""Counts of tokens, as Anthropic answers them."""

import pytest

from ainf.formats.base import Answer, EndingStyle, PipeLimits
from ainf.formats.collected import Collected
from ainf.formats.count_tokens import CountTokensJudge
from ainf.inference.errors import UpstreamError
from ainf.inference.outcome import Ending, Evidence, Outcome, Verdict
from ainf.inference.usage import Usage

LIMITS = PipeLimits(1 << 16, 1 << 16, 1 << 16)
STYLE = EndingStyle("extended", "i", 1, "m", retryable=False)


def read(body):
    pipe = Collected(CountTokensJudge(), LIMITS, Answer())
    pipe.receive(body)
    return pipe, pipe.receive_eof()


@pytest.mark.parametrize("ending", [Ending.COMPLETED, Ending.SPEND_CAP_EXCEEDED])
def test_a_count(ending):
    """It goes on as it came, and nothing was used for it."""
    body = b'{ "input_tokens": 2095, "x": 1 }'
    pipe, reading = read(body)
    assert (reading.is_content, reading.output_bytes) == (True, 0)
    assert (pipe.answer.raw_finish_reason, pipe.answer.usage) == ("counted", Usage())
    assert pipe.answer.raw_usage == '{"input_tokens":2095}'
    assert pipe.close(Outcome(Verdict(ending), None, Usage(), Evidence.REPORTED, 0), STYLE) == body


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "upstream_protocol"),
        (b" ", "upstream_protocol"),
        (b"<html>", "upstream_protocol"),
        (b"7", "upstream_protocol"),
        (b"{}", "upstream_protocol"),
        (b'{"input_tokens": null}', "upstream_protocol"),
        (b'{"input_tokens": "7"}', "upstream_protocol"),
        (b'{"input_tokens": -1}', "upstream_protocol"),
        (b'{"input_tokens": 1.5}', "upstream_protocol"),
        (b'{"input_tokens": true}', "upstream_protocol"),
        (b'{"input_tokens": [7]}', "upstream_protocol"),
        (b'{"input_tokens": 99999999999999999999}', "upstream_protocol"),
        (b'{"input_tokens": 12', "upstream_truncated"),
        (b"{" * 100_000, "upstream_protocol"),
    ],
)
def test_no_count(body, code):
    """Nothing, other things and half a count, each by its name."""
    with pytest.raises(UpstreamError) as raised:
        read(body)
    assert raised.value.code == code


@pytest.mark.parametrize(
    "body",
    [b'{"type":"error","error":{"type":"api_error","message":"no"}}', b'{"type":"error"}', b'{"error":"no"}',
     b'{"error":[7],"input_tokens":5}'],
)  # fmt: skip
def test_an_error_in_a_200(body):
    """It is an error and no count."""
    pipe, reading = read(body)
    assert pipe.answer.error is not None
    assert (pipe.answer.raw_finish_reason, reading.is_content) == (None, False)

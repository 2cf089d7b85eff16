"""What a chat client is told of every ending, in every mode, with and without the provider's end."""

import attrs
import pytest
from openai.types.chat import ChatCompletionChunk

from ainf.inference.outcome import Ending
from tests.formats.chat.support import (
    COMPLETED,
    DONE,
    FINISH,
    USAGE,
    USAGE_CHUNK,
    WIRE_USAGE,
    chunk,
    documents,
    feed,
    outcome,
    relay,
    style,
    text,
)

FAILURES = [
    (Ending.UPSTREAM_ERROR, "upstream_truncated", "upstream_error"),
    (Ending.UPSTREAM_ERROR, "upstream_overloaded", "upstream_error"),
    (Ending.DEADLINE_EXCEEDED, "deadline_exceeded", "timeout_error"),
    (Ending.SHUTDOWN, "shutting_down", "server_error"),
    (Ending.TERMINATED, "key_revoked", "authentication_error"),
    (Ending.TERMINATED, "killed", "server_error"),
    (Ending.TERMINATED, "store_unavailable", "server_error"),
    (Ending.INTERNAL_ERROR, "internal_error", "server_error"),
]
MODES = ["extended", "strict", "loud"]
SEEN = {
    "nothing": b"",
    "content": text("a"),
    "finish": text("a") + FINISH,
    "finish and usage": text("a") + FINISH + USAGE_CHUNK + DONE,
}
OUR_REASONS = {"spend_cap_exceeded", "error"}


def relay_of(seen, *, include_usage=False):
    pipe = relay(include_usage=include_usage)
    pipe.receive(SEEN[seen])
    return pipe


def check_types(document):
    """Hold a frame against the SDK's type; our own finish reasons are the only words that it does not know."""
    for choice in document["choices"]:
        if choice["finish_reason"] in OUR_REASONS:
            choice["finish_reason"] = "stop"
    ChatCompletionChunk.model_validate(document, strict=True)


@pytest.mark.parametrize("seen", SEEN)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("ending", "code", "kind"), FAILURES)
def test_failures(seen, mode, ending, code, kind):
    """A failure is one chunk with the error beside finish reason "error", then [DONE], whatever came before."""
    pipe = relay_of(seen, include_usage=True)
    told = outcome(ending, code, "It broke.", billed=2_000_000_000)
    (frame,) = documents(pipe.close(told, style(mode, retryable=True)))
    assert frame["choices"][0]["finish_reason"] == "error"
    assert frame["error"] == {
        "message": "It broke.",
        "type": kind,
        "code": code,
        "param": None,
        "inference_id": "inf-1",
        "billed": "2",
        "retryable": True,
    }
    check_types(frame)


@pytest.mark.parametrize("seen", SEEN)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("include_usage", [True, False])
def test_cap(seen, mode, include_usage):
    """A cap is one finish chunk in the client's mode, usage if asked for, [DONE]."""
    pipe = relay_of(seen, include_usage=include_usage)
    told = outcome(Ending.SPEND_CAP_EXCEEDED, "spend_cap_exceeded", billed=1)
    finish, *usage = documents(pipe.close(told, style(mode)))
    assert finish["choices"][0]["finish_reason"] == ("length" if mode == "strict" else "spend_cap_exceeded")
    assert ("error" in finish) == (mode == "loud")
    if mode == "loud":
        assert (finish["error"]["code"], finish["error"]["retryable"]) == ("spend_cap_exceeded", False)
    assert [frame["choices"] for frame in usage] == ([[]] if include_usage else [])
    if include_usage:
        counted = 5 if seen == "finish and usage" else USAGE.input_tokens
        assert usage[0]["usage"]["prompt_tokens"] == counted
    for frame in (finish, *usage):
        check_types(frame)


@pytest.mark.parametrize("seen", ["finish", "finish and usage"])
@pytest.mark.parametrize("mode", MODES)
def test_completed(seen, mode):
    """A completed stream ends with the provider's own finish chunk, in every mode."""
    assert relay_of(seen).close(COMPLETED, style(mode)) == FINISH + DONE


def test_completed_without_evidence_is_a_bug():
    """No finish is ever invented."""
    with pytest.raises(AssertionError, match="without evidence"):
        relay_of("content").close(COMPLETED, style())


@pytest.mark.parametrize("seen", SEEN)
@pytest.mark.parametrize("ending", [Ending.CLIENT_DISCONNECTED, Ending.ABANDONED])
def test_nobody_is_told(seen, ending):
    """A client that has left gets nothing."""
    assert relay_of(seen).close(outcome(ending), style()) == b""


@pytest.mark.parametrize(
    ("seen", "head"),
    [("nothing", ("chatcmpl-inf-1", "asked-for", 1800000000)), ("content", ("chatcmpl-1", "m-1", 1700000000))],
)
def test_head_of_our_frames(seen, head):
    """Frames that we make carry the provider's id, model and time, and our own where it named none."""
    told = outcome(Ending.SHUTDOWN, "shutting_down")
    (frame,) = documents(relay_of(seen).close(told, style()))
    assert (frame["id"], frame["model"], frame["created"]) == head


def test_message_of_a_bare_verdict():
    """A verdict without words is told in those of the table of codes."""
    told = outcome(Ending.INTERNAL_ERROR)
    (frame,) = documents(relay_of("content").close(told, style()))
    assert frame["error"]["code"] == "internal_error"
    assert frame["error"]["message"]


def test_end_marker_as_it_came():
    """The provider's own end marker is kept, and not sent twice."""
    pipe = relay()
    feed(pipe, FINISH + b"data:[DONE]\r\n\r\n")
    assert pipe.close(COMPLETED, attrs.evolve(style())) == FINISH + b"data:[DONE]\r\n\r\n"


def test_usage_is_told_once():
    """Of several usage chunks behind the finish chunk the client gets the last, so that none can be added up."""
    pipe = relay(include_usage=True)
    last = USAGE_CHUNK.replace(b'"prompt_tokens": 5', b'"prompt_tokens": 6')
    feed(pipe, FINISH + USAGE_CHUNK + last + DONE)
    assert pipe.close(COMPLETED, style()) == FINISH + last + DONE


@pytest.mark.parametrize("include_usage", [True, False])
def test_usage_beside_an_empty_choice(include_usage):
    """A usage chunk with an empty choice (OpenRouter's) goes on as it came, and nobody gets a second one."""
    odd = chunk({"role": "assistant", "content": ""}, usage=WIRE_USAGE)
    pipe = relay(include_usage=include_usage)
    feed(pipe, text("a") + FINISH + odd + odd + DONE)
    assert pipe.close(COMPLETED, style()) == FINISH + odd + DONE

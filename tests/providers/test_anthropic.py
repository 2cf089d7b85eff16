import attrs
import pytest

from ainf.inference.request import Operation
from ainf.inference.secret import Secret
from ainf.providers.anthropic import ANTHROPIC
from tests.providers.requests import TARGET, passes, refused_by, request_of, shown, written

FIELDS = {"model": "asked", "max_tokens": 100, "messages": [{"role": "user", "content": "Hi"}], "x_unknown": [1]}
COUNT = {"operation": Operation.COUNT}


def test_fields_as_they_came():
    """A request goes on with its fields untouched but for the model."""
    assert written(ANTHROPIC, FIELDS) == ("/messages", FIELDS | {"model": "up-1"})
    streamed = FIELDS | {"stream": True}
    assert written(ANTHROPIC, streamed, stream=True) == ("/messages", streamed | {"model": "up-1"})


def test_a_model_that_does_not_stream():
    """It is asked for a whole answer."""
    target = attrs.evolve(TARGET, streams=False)
    assert written(ANTHROPIC, FIELDS | {"stream": True}, target=target, stream=True)[1]["stream"] is False


@pytest.mark.parametrize(
    ("asked", "limit", "sent"),
    [({}, 50, 50), ({}, None, 100), ({"max_tokens": None}, None, 4096), ({"max_tokens": None}, 50, 50)],
)
def test_output_limit(asked, limit, sent):
    """It is required: where a translated request has none, the model's own limit stands."""
    assert written(ANTHROPIC, FIELDS | asked, limit)[1]["max_tokens"] == sent


@pytest.mark.parametrize(
    ("thinking", "limit", "sent"),
    [
        ({"type": "enabled", "budget_tokens": 2048}, 2000, {"type": "enabled", "budget_tokens": 1999}),
        ({"type": "enabled", "budget_tokens": 2048}, 2048, {"type": "enabled", "budget_tokens": 2047}),
        ({"type": "enabled", "budget_tokens": 2048}, 2049, {"type": "enabled", "budget_tokens": 2048}),
        ({"type": "enabled", "budget_tokens": 2048}, None, {"type": "enabled", "budget_tokens": 2048}),
        ({"type": "adaptive"}, 50, {"type": "adaptive"}),
        ({"budget_tokens": "many"}, 50, {"budget_tokens": "many"}),
        ("odd", 50, "odd"),
    ],
)
def test_thinking_budget(thinking, limit, sent):
    """A limit of ours leaves the budget below it, as the vendor demands; the client's own limit is its own affair."""
    assert written(ANTHROPIC, FIELDS | {"thinking": thinking}, limit)[1]["thinking"] == sent


def test_the_request_is_left_alone():
    """Writing changes nothing in the request."""
    fields = FIELDS | {"thinking": {"type": "enabled", "budget_tokens": 2048}}
    ANTHROPIC.write_request(request_of(fields), TARGET, 50)
    assert fields["thinking"]["budget_tokens"] == 2048


def test_counting_tokens():
    """A count goes to its own path, without a limit of ours."""
    fields = {"model": "asked", "messages": FIELDS["messages"]}
    assert written(ANTHROPIC, fields, **COUNT) == ("/messages/count_tokens", fields | {"model": "up-1"})
    assert refused_by(ANTHROPIC, fields | {"mcp_servers": [1]}, **COUNT) == "mcp_servers"


@pytest.mark.parametrize("asked", [{}, COUNT])
def test_betas(asked):
    """Those that may go on are in the header; those with a price are refused."""
    betas = ("unknown-1", "interleaved-thinking-2025-05-14")
    wire = ANTHROPIC.write_request(request_of(FIELDS, betas=betas, **asked), TARGET, None)
    assert wire.headers == ((b"anthropic-beta", b"interleaved-thinking-2025-05-14"),)
    assert passes(ANTHROPIC, FIELDS, betas=betas, **asked)
    assert refused_by(ANTHROPIC, FIELDS, betas=("context-1m-2025-08-07",), **asked) == "anthropic-beta"


def test_credential():
    """The key has a header of its own, and every request names the version."""
    assert shown(ANTHROPIC.credential(Secret(b"sk-1"))) == (
        (b"x-api-key", b"sk-1"),
        (b"anthropic-version", b"2023-06-01"),
    )


def test_refusals():
    """They are read as all vendors' are."""
    assert ANTHROPIC.read_error(529, {}, b"").code == "upstream_overloaded"

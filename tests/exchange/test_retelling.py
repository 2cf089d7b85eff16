"""An answer in the other mode, made of what was told by the client's own pipe."""

import json

import attrs
import pytest

from ainf.exchange.retelling import Retelling, completed
from ainf.inference.errors import DownstreamError
from ainf.inference.outcome import Ending, Evidence, Outcome, Verdict
from ainf.inference.usage import Usage
from tests.gateway.dialects import CHAT, DIALECTS
from tests.gateway.keyed import ask, plan_of
from tests.gateway.world import World, world

USED = Usage(input_tokens=11, output_tokens=7)
COMPLETED = Outcome(Verdict(Ending.COMPLETED), "stop", USED, Evidence.METERED, 25_000)
FAILED = Outcome(Verdict(Ending.UPSTREAM_ERROR, "upstream_truncated"), "error", USED, Evidence.METERED, 25_000)
OWN = [
    (b"content-length", b"9"),
    (b"x-ainf-model", b"m"),
    (b"x-ainf-stream-mode", b"native"),
    (b"x-should-retry", b"x"),
]


async def retelling(here: World, model: str, **how) -> Retelling:
    return Retelling(await plan_of(here, model, **how), here.gateway.services, "inf_first", OWN)


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.format)
@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("size", [1, 7, 1 << 20])
async def test_any_cut_tells_the_same(dialect, stream, size, tmp_path, autojump_clock):
    """It may come in pieces of any size; the answer has the settled usage, and the id of what was told."""
    model = f"{dialect.format}/sim-tokens-5"
    async with world(tmp_path, model) as here:
        told = await ask(here, model, stream=not stream, dialect=dialect)
        again = await retelling(here, model, stream=stream, dialect=dialect)
        for start in range(0, len(told.body), size):
            again.receive(told.body[start : start + size])
        reply = again.reply(COMPLETED)
        headers = dict(reply.headers)
        assert reply.status == 200
        assert headers[b"x-ainf-model"] == b"m"
        assert headers[b"x-request-id"] == b"inf_first"
        assert headers[b"x-ainf-stream-mode"] == (b"wrapped" if stream else b"native")
        assert b"x-should-retry" not in headers
        assert headers.get(b"content-length") == (None if stream else str(len(reply.body)).encode())
        told.headers["content-type"], told.body = headers[b"content-type"].decode(), reply.body
        said = told.said()
        assert len(said.text.split()) == 5
        assert (said.terminals, said.ends_with_terminal) == (1, True)
        if not stream:
            assert (said.input_tokens, said.output_tokens) == (11, 7)


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.format)
async def test_a_failure_is_a_status_or_a_stream_that_fails(dialect, tmp_path, autojump_clock):
    """Whatever was told of it before: as a whole answer it is an error, as a stream it ends with one."""
    model = f"{dialect.format}/sim"
    async with world(tmp_path, model) as here:
        whole = await retelling(here, model, stream=False, dialect=dialect)
        whole.receive(b"data: what came\n\n")
        reply = whole.reply(FAILED)
        error = json.loads(reply.body)["error"]
        assert (reply.status, error["code"], error["billed"]) == (502, "upstream_truncated", "0.000025")
        assert dict(reply.headers)[b"x-should-retry"] == b"false"
        assert (b"x-ainf-model", b"m") in reply.headers
        streamed = (await retelling(here, model, dialect=dialect)).reply(FAILED)
        assert streamed.status == 200
        assert b"upstream_truncated" in streamed.body
        assert dict(streamed.headers)[b"content-type"].startswith(b"text/event-stream")


@pytest.mark.parametrize("told", [b"<html>", b'{"a": 1}', b"data: {}\n\n", b'{"choices":[{"message":{}}]}', b"{"])
@pytest.mark.parametrize("stream", [True, False])
async def test_what_cannot_be_read_is_not_made_up(told, stream, tmp_path, autojump_clock):
    """It was answered and billed: the receipt is named, and no retry helps."""
    async with world(tmp_path, "sim") as here:
        again = await retelling(here, "sim", stream=stream)
        again.receive(told)
        again.receive(b"")
        with pytest.raises(DownstreamError) as caught:
            again.reply(COMPLETED)
        assert caught.value.code == "idempotency_completed"
        assert not caught.value.transient


async def test_our_own_fields_are_added(tmp_path, autojump_clock):
    """A stream of `/v1/inference` told whole has what its whole answers have."""
    async with world(tmp_path, "sim") as here:
        told = await ask(here, "sim")
        plan = attrs.evolve(await plan_of(here, "sim", stream=False, dialect=CHAT), inference_shape=True)
        again = Retelling(plan, here.gateway.services, "inf_first", OWN)
        again.receive(told.body)
        whole = json.loads(again.reply(COMPLETED).body)
        assert (whole["cost"], whole["audit_url"]) == ("0.000025", "http://gateway.test/v1/audit/inf_first")


def test_the_refusal_names_the_receipt():
    """In words, and for a program."""
    error = completed("inf_1", "http://g")
    assert "http://g/v1/audit/inf_1" in error.message
    assert error.details == {"audit_url": "http://g/v1/audit/inf_1"}

"""Heads and error answers."""

import json

import pytest

from ainf.exchange.answers import audit_url, error_reply, request_ids, retryable, stream_head, whole_head
from ainf.inference.errors import CODES, AinfError
from ainf.protocols.registry import PROTOCOLS
from tests.gateway.dialects import CHAT as CHAT_DIALECT
from tests.gateway.world import world

CHAT = PROTOCOLS["chat_completions"]


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("billed", [0, 5])
def test_every_error_says_whether_to_retry(code, billed):
    """Only a transient cause that cost nothing is worth a retry, and then it says when."""
    reply = error_reply(CHAT, AinfError(code, "Because."), request_id="req_1", billed_nusd=billed)
    headers = dict(reply.headers)
    worth = CODES[code].transient and billed == 0
    assert retryable(code, billed) is worth
    assert headers[b"x-should-retry"] == (b"true" if worth else b"false")
    assert headers.get(b"retry-after") == (b"1" if worth else None)
    assert reply.status == CODES[code].status
    assert headers[b"content-length"] == str(len(reply.body)).encode()
    assert (b"www-authenticate" in headers) is (reply.status == 401)
    error = json.loads(reply.body)["error"]
    assert (error["code"], error["message"]) == (code, "Because.")


def test_a_wait_that_is_known_is_said():
    """The error's own wait goes before the default."""
    reply = error_reply(CHAT, AinfError("overloaded", "Full.", retry_after_s=17), request_id="req_1")
    assert dict(reply.headers)[b"retry-after"] == b"17"


@pytest.mark.parametrize(("code", "status", "told"), [
    ("spend_cap_exceeded", 429, "insufficient_quota"), ("invalid_json", 400, "invalid_json"),
])  # fmt: skip
def test_a_client_that_only_knows_429(code, status, told):
    """Money, and nothing else, is refused with 429 and OpenAI's code; never as worth a retry."""
    reply = error_reply(CHAT, AinfError(code, "x"), request_id="req_1", money_refusal="429")
    assert (reply.status, json.loads(reply.body)["error"]["code"]) == (status, told)
    assert dict(reply.headers)[b"x-should-retry"] == b"false"


def test_stream_heads():
    """A stream is not cached, not buffered, and says how it is made where that is known."""
    native, wrapped, early = (dict(stream_head([(b"x", b"y")], is_wrapped=known)) for known in (False, True, None))
    assert native[b"cache-control"] == b"no-cache, no-transform"
    assert native[b"x-accel-buffering"] == b"no"
    assert native[b"x"] == b"y"
    assert (native[b"x-ainf-stream-mode"], wrapped[b"x-ainf-stream-mode"]) == (b"native", b"wrapped")
    assert b"x-ainf-stream-mode" not in early
    assert b"content-length" not in native


def test_whole_heads():
    """A whole answer has its length."""
    assert dict(whole_head([(b"x", b"y")], b"12345")) == {
        b"content-type": b"application/json", b"content-length": b"5", b"x": b"y",
    }  # fmt: skip


def test_the_receipt_is_on_the_public_address():
    """Never on what a request says."""
    assert audit_url("https://gw.example", "inf_1") == "https://gw.example/v1/audit/inf_1"


def test_ids_for_every_sdk():
    """OpenAI's SDK reads an answer's id from one header, Anthropic's from another; both are there, once each."""
    assert dict(request_ids("inf_1")) == {b"x-request-id": b"inf_1", b"request-id": b"inf_1"}
    names = [name for name, _ in error_reply(CHAT, AinfError("invalid_json", "x"), request_id="req_1").headers]
    assert (names.count(b"x-request-id"), names.count(b"request-id")) == (1, 1)


async def test_names_of_dropped_fields_stay_inside_their_header(tmp_path, autojump_clock):
    """They are a client's words: no line break, comma or other character in them makes a header of its own."""
    names = ['a\r\nset-cookie: x="1"', "b, c", "\u00e9\x00", "d" * 200, *(f"f{number}" for number in range(50))]
    async with world(tmp_path, "messages/sim", more='drop_params = ["*"]') as here:
        client = await here.speak(CHAT_DIALECT, "messages/sim", stream=False, **dict.fromkeys(names, 1))
        told = client.headers["x-ainf-dropped-params"].split(", ")
        assert told[:4] == ['a??set-cookie:?x="1"', "b??c", "??", "d" * 64]
        assert (len(told), told[-1]) == (33, "...")

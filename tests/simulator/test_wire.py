import json

import pytest

from ainf.simulator import Simulator
from ainf.simulator.faults import error_for
from ainf.simulator.http import Request
from ainf.simulator.wire import ErrorBody, RefusedError
from ainf.simulator.wires.routes import Routes
from tests.simulator.client import post, send
from tests.simulator.formats import CHAT, FORMATS, GEMINI, MESSAGES, RESPONSES, WELL_FORMED, ask, frames, whole

ALL_WIRES = pytest.mark.parametrize("wire", Routes().wires, ids=lambda wire: wire.paths[0])
EVERY_FORMAT = pytest.mark.parametrize("format_", FORMATS, ids=lambda format_: format_.name)


@ALL_WIRES
def test_every_format_refuses_and_reports_errors(wire):
    """Each format refuses what is no request, and tells an error as a document."""
    request = Request("POST", wire.paths[0], {}, b"", keep_alive=True)
    for nothing in ({}, [], None, "x"):
        with pytest.raises(RefusedError) as refused:
            wire.read(request, nothing)
        assert refused.value.body.status == 400
    assert "it broke" in json.dumps(json.loads(wire.error_document(ErrorBody(500, "it broke", "server_error"))))
    assert wire.broken_frame.endswith(b"\n\n")


@EVERY_FORMAT
@pytest.mark.parametrize("how", ["error", "error-string", "error-event"])
async def test_every_format_tells_an_error_in_its_stream(format_, how):
    """After three tokens the stream holds the error in the shape asked for, and then nothing but the format's mark."""
    taken = await ask(format_, f"sim-{how}-after-3")

    assert taken.whole
    last = [payload for payload in taken.payloads if payload != b"[DONE]"][-1]
    assert error_for(503).message in last.decode()
    assert isinstance(json.loads(last).get("error"), str) == (how == "error-string")
    assert (b"\n\nevent: " in taken.body) == (how == "error-event" or format_ in {MESSAGES, RESPONSES})
    assert (taken.payloads[-1] == b"[DONE]") == (format_ is CHAT)


@EVERY_FORMAT
@pytest.mark.parametrize("model", WELL_FORMED)
async def test_stream_and_document_bill_the_same(format_, model, autojump_clock):
    """Both modes of every format come to the tokens that chat comes to, and are billed so."""
    bills = set()
    for spoken, stream in ((format_, True), (format_, False), (CHAT, True)):
        simulator = Simulator()
        await ask(spoken, model, stream=stream, simulator=simulator)
        entry = simulator.books.entries[0]
        bills.add((entry.billed_input_tokens, entry.billed_output_tokens, entry.text_bytes, entry.model, entry.end))
        assert entry.finish_sent
        assert entry.usage_sent
    assert len(bills) == 1


@EVERY_FORMAT
@pytest.mark.parametrize("stream", [True, False])
async def test_every_limit_is_honoured(format_, stream):
    """Seven tokens asked for are seven billed, in the format's own field."""
    simulator = Simulator()
    await ask(format_, stream=stream, limit=7, simulator=simulator)
    entry = simulator.books.entries[0]

    assert (entry.max_tokens, entry.billed_output_tokens, entry.text_bytes) == (7, 7, 28)


@EVERY_FORMAT
async def test_every_key_stands_in_its_own_header(format_):
    """The key is accepted where the format has it, and refused in another's place in the format's words."""
    own, other = {
        "chat": ("authorization", "x-api-key"),
        "messages": ("x-api-key", "x-goog-api-key"),
        "responses": ("authorization", "x-goog-api-key"),
        "gemini": ("x-goog-api-key", "authorization"),
    }[format_.name]
    keys = {"authorization": "Bearer sk-right", "x-api-key": "sk-right", "x-goog-api-key": "sk-right"}
    simulator = Simulator(api_key="sk-right")

    right = await ask(format_, simulator=simulator, headers={own: keys[own]})
    wrong = await ask(format_, simulator=simulator, headers={other: keys[other]})

    assert right.status == 200
    assert wrong.status == (400 if format_ is GEMINI else 401)
    assert "key" in json.loads(wrong.body)["error"]["message"].lower()


@EVERY_FORMAT
@pytest.mark.parametrize("lie", ["negative", "string", "huge", "nan", "list"])
async def test_every_usage_can_lie(format_, lie):
    """The numbers told are the lie's, the books' are true."""
    simulator = Simulator()
    taken = await ask(format_, f"sim-usage-{lie}", stream=False, simulator=simulator)

    told = {"negative": b":-21", "string": b':"20"', "huge": b":1" + b"0" * 30, "nan": b":NaN", "list": b":[20]"}
    assert told[lie] in taken.body
    assert simulator.books.entries[0].billed_output_tokens == 20


@EVERY_FORMAT
async def test_every_usage_can_be_missing(format_):
    """With no-usage neither mode has a number of tokens."""
    for stream in (True, False):
        taken = await ask(format_, "sim-no-usage", stream=stream)
        assert b'_tokens":' not in taken.body.replace(b"max_output_tokens", b"")
        assert b"TokenCount" not in taken.body


@EVERY_FORMAT
async def test_every_format_says_its_unknown_fields(format_):
    """Unknown fields are there, with the end mark of another format in a string, and the frames still validate."""
    taken = await ask(format_, "sim-unknown-fields", stream=True)

    assert b'nknown":{' in taken.body
    if format_ is not GEMINI:
        assert frames(format_, taken)
        assert whole(format_, await ask(format_, "sim-unknown-fields", stream=False))


@pytest.mark.parametrize("path", ["/v1/embeddings", "/v1/messages/count_tokens"])
async def test_a_path_wants_post(path):
    """GET on an endpoint is refused in the words of its format."""
    taken = await send(Simulator(), post(b"", path=path, method="GET"))
    assert taken.status == 405
    assert ("type" in json.loads(taken.body)) == ("messages" in path)

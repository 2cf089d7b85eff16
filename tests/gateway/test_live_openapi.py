"""What the server refuses before there is a path, and what a real connection carries: as the document has it."""

import json

import pytest

from tests.gateway.described import described
from tests.gateway.live import Live, live
from tests.gateway.live_client import Answer

DESCRIBED = described()
LIMITS = "header_s = 0.2\nbody_s = 0.2\ntarget_bytes = 200\nheader_bytes = 2000\nbody_bytes = 2000\nconnections = 1"

BAD = {
    "bad_request": ("", "x-odd: 1\nx-bare: 2\r\n\r\n"),
    "request_timeout": ("", "x-odd"),
    "uri_too_long": (f"?{'a' * 300}", "\r\n"),
    "headers_too_large": ("", f"x-odd: {'a' * 3000}\r\n\r\n"),
    "unsupported_media_type": ("", "content-encoding: gzip\r\n\r\n"),
    "request_too_large": ("", "content-length: 3000\r\n\r\n"),
}
"""Code -> what stands behind the path, and behind the line of the host."""


async def sent(here: Live, method: str, target: str, rest: str) -> Answer:
    client = await here.connect()
    await client.send(f"{method} {target} HTTP/1.1\r\nhost: gateway.test\r\n{rest}".encode())
    return await client.take()


def check(method: str, path: str, answer: Answer, code: str) -> None:
    assert json.loads(answer.body)["error"]["code"] == code
    DESCRIBED.check_answer(method, path, answer.status, answer.headers, answer.body)


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/v1/chat/completions"), ("POST", "/v1/messages"), ("GET", "/v1/models"), ("GET", "/healthz")],
)
async def test_what_the_server_refuses(method, path, tmp_path):
    """On any path, in its words: all that ``default`` describes, but for what is no path or method, and a defect."""
    async with live(tmp_path, "sim", limits=LIMITS) as here:
        for code, (query, rest) in BAD.items():
            check(method, path, await sent(here, method, path + query, rest), code)
        occupant = await here.connect()
        await occupant.send(b"G")
        unread = await sent(here, method, path, "\r\n")
        check("GET", "/v1/models", unread, "overloaded")  # in OpenAI's words, whatever the path
    codes = DESCRIBED.codes(DESCRIBED.answer_at(method, path, 499))
    assert codes == {*BAD, "overloaded", "not_found", "method_not_allowed", "internal_error"}


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
async def test_an_answer_on_a_socket(stream, tmp_path):
    """Framed by HTTP, it is as it is described."""
    async with live(tmp_path, "sim") as here:
        answer = await here.ask(stream=stream)
        DESCRIBED.check_answer("POST", "/v1/chat/completions", answer.status, answer.headers, answer.body)

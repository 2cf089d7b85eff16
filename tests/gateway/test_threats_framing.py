"""Threats of the wire, on sockets against the whole gateway: ambiguous framing, odd heads and paths, bytes behind.

Behind each of them stands a whole good request with a good key. It must never run: that is what smuggling is.
"""

import contextlib
import gzip
import json
import re

import pytest
import trio

from tests.gateway.live import Live, live
from tests.gateway.live_client import Answer, RawClient, eventually
from tests.gateway.world import question
from tests.threats import cases

POST = "POST /v1/chat/completions HTTP/1.1"
JSON = "content-type: application/json"
HELLO = b'{"model": "nobody"}'
STATUS_LINE = re.compile(rb"HTTP/1\.1 (\d{3}) ")


def head(here: Live, first_line: str, *headers: str, key: bool = True, host: bool = True) -> bytes:
    """The head of a request; what stands in it may be any byte."""
    own = [f"authorization: Bearer {here.key}"] if key else []
    lines = (first_line, *(["host: gateway.test"] if host else []), *own, *headers, "", "")
    return "\r\n".join(lines).encode("latin-1")


def behind(here: Live) -> bytes:
    """A whole good request, of which nothing may be done where it stands behind a refused one."""
    return here.request(question("sim", stream=False), headers=("x-ainf-labels: hidden=yes",))


async def sent(here: Live, data: bytes, *, within_s: float = 5) -> Answer:
    """Send bytes on a connection of their own and take what comes until the gateway closes."""
    client = await here.connect()
    with trio.fail_after(within_s):
        with contextlib.suppress(trio.BrokenResourceError):  # refused while it is still sending
            await client.send(data)
        return await client.take()


def check_refused(answer: Answer, status: int, code: str) -> None:
    """One answer, as JSON in the words of its path, and the end of the connection."""
    assert answer.status == status, answer.raw[:300]
    assert len(STATUS_LINE.findall(answer.raw)) == 1, "something behind it was answered"
    assert answer.whole
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["connection"] == "close"
    error = json.loads(answer.body)["error"]
    assert error["code"] == code
    assert answer.headers["x-should-retry"] == ("true" if code == "request_timeout" else "false")
    assert answer.headers["x-request-id"] == error["request_id"]
    assert len(answer.body) < 1000
    assert b"y" * 200 not in answer.body


async def check_nothing_ran(here: Live) -> None:
    assert await here.rows("SELECT count(*) FROM inferences") == [(0,)]
    assert not here.simulator.books.entries
    assert here.log.getvalue().count('"defect"') == 0


LENGTH = f"content-length: {len(HELLO)}"
CHUNKED = "transfer-encoding: chunked"
HEADS = {
    "a length and chunks": (POST, JSON, LENGTH, CHUNKED),
    "chunks and a length": (POST, JSON, CHUNKED, LENGTH),
    "two lengths": (POST, JSON, LENGTH, LENGTH),
    "two lengths that differ": (POST, JSON, LENGTH, "content-length: 0"),
    "a list of lengths": (POST, JSON, "content-length: 19, 19"),
    "a length with a plus": (POST, JSON, "content-length: +19"),
    "a length in hex": (POST, JSON, "content-length: 0x13"),
    "a negative length": (POST, JSON, "content-length: -1"),
    "an empty length": (POST, JSON, "content-length: "),
    "a length in Arabic": (POST, JSON, "content-length: \xd9\xa1\xd9\xa9"),
    "a length in superscript": (POST, JSON, "content-length: 1\xb2"),
    "a length without end": (POST, JSON, "content-length: " + "9" * 40),
    "an unknown coding": (POST, JSON, "transfer-encoding: xchunked"),
    "a list of codings": (POST, JSON, "transfer-encoding: gzip, chunked"),
    "chunked twice": (POST, JSON, "transfer-encoding: chunked, chunked"),
    "two lines of codings": (POST, JSON, CHUNKED, CHUNKED),
    "identity": (POST, JSON, "transfer-encoding: identity"),
    "a vertical tab": (POST, JSON, "transfer-encoding: \x0bchunked"),
    "a space before the colon": (POST, JSON, "transfer-encoding : chunked"),
    "a space before the name": (POST, JSON, " transfer-encoding: chunked"),
    "chunks in HTTP/1.0": (POST.replace("1.1", "1.0"), JSON, CHUNKED),
    "a bare CR": (POST, JSON, "x: a\rb", LENGTH),
    "a hidden length": (POST, JSON, "x: a\rcontent-length: 5", LENGTH),
    "a NUL": (POST, JSON, "x: a\0b", LENGTH),
    "no name": (POST, JSON, ": x", LENGTH),
    "a folded line": (POST, JSON, "x: a\r\n b", LENGTH),
    "a folded line with a tab": (POST, JSON, "x: a\r\n\tb", LENGTH),
    "a bare line feed": (POST, JSON, "x: a\nb: c", LENGTH),
    "no colon": (POST, JSON, "x", LENGTH),
    "two hosts": (POST, JSON, "host: evil.test", LENGTH),
    "HTTP/2 by prior knowledge": ("PRI * HTTP/2.0",),
    "HTTP/9": (POST.replace("1.1", "9.9"), JSON, LENGTH),
    "no version": (POST.removesuffix(" HTTP/1.1"), JSON, LENGTH),
    "a tunnel": ("CONNECT provider.test:443 HTTP/1.1",),
}
SHOWN_HEADS = {
    22: ("a length and chunks", "chunks and a length"),
    23: ("two lengths", "two lengths that differ", "a list of lengths", "a length with a plus", "a length in hex",
         "a negative length", "an empty length", "a length in Arabic", "a length in superscript",
         "a length without end"),
    24: ("an unknown coding", "a list of codings", "chunked twice", "two lines of codings", "identity",
         "a vertical tab", "a space before the colon", "a space before the name", "chunks in HTTP/1.0"),
    26: ("a bare CR", "a hidden length", "a NUL", "no name", "a folded line", "a folded line with a tab",
         "a bare line feed", "no colon"),
    27: ("HTTP/2 by prior knowledge",), 29: ("two hosts",),
    "S1": ("a length and chunks", "chunks and a length"), "S2": ("HTTP/2 by prior knowledge",),
    "S3": ("a bare line feed", "a folded line"),
    "S13": ("a length in Arabic", "a length in superscript"),
    "C18": ("HTTP/2 by prior knowledge", "a bare CR"),
}  # fmt: skip


@pytest.fixture
async def here(tmp_path):
    async with live(tmp_path, limits="body_bytes = 100000\nclose_linger_s = 0.1") as running:
        yield running


@pytest.mark.parametrize("case", cases(HEADS, SHOWN_HEADS))
async def test_a_head_that_two_parsers_might_read_in_two_ways(case, here):
    """400 and a close, in one segment and byte by byte; what stands behind it is never read as a request."""
    first_line, *headers = HEADS[case]
    raw = head(here, first_line, *headers) + b"0\r\n\r\n" + behind(here)
    check_refused(await sent(here, raw), 400, "bad_request")
    at = raw.index(b"\r\n\r\n") + 4
    client = await here.connect()
    with trio.fail_after(5), contextlib.suppress(trio.BrokenResourceError):
        for byte in raw[:at]:
            await client.send(bytes([byte]))
        await client.send(raw[at:])
    check_refused(await client.take(), 400, "bad_request")
    await check_nothing_ran(here)


CHUNKS = {
    "no size": b"zz\r\n", "an empty size": b"\r\nx\r\n", "negative": b"-1\r\nx\r\n", "a plus": b"+1\r\nx\r\n",
    "2^84": b"1" + b"0" * 21 + b"\r\n", "in hex": b"0x5\r\nhello\r\n",
    "too short for its data": b"3\r\nabcd\r\n0\r\n\r\n",
    "a bare line feed": b"5\nhello\n0\n\n", "no CRLF behind it": b"5\r\nhelloXX0\r\n\r\n",
    "an extension of a mebibyte": b"5;" + b"y" * (1 << 20) + b"\r\nhello\r\n0\r\n\r\n",
    "a trailer of a mebibyte": b"0\r\nx: " + b"y" * (1 << 20) + b"\r\n\r\n",
    "a NUL in a trailer": b"0\r\nx: a\0b\r\n\r\n",
}  # fmt: skip


@pytest.mark.threat(25, "C18")
@pytest.mark.parametrize("case", CHUNKS)
async def test_chunks_that_are_none(case, here):
    """400 and a close; neither the request nor what stands behind it runs."""
    raw = head(here, POST, JSON, CHUNKED) + CHUNKS[case] + behind(here)
    check_refused(await sent(here, raw), 400, "bad_request")
    await check_nothing_ran(here)


@pytest.mark.threat(25)
async def test_a_chunk_larger_than_any_body(here):
    """All behind its size is its data: 413 as soon as that crosses the limit, and nothing in it is a request."""
    raw = head(here, POST, JSON, CHUNKED) + b"1" + b"0" * 17 + b"\r\n" + behind(here) * 1000
    check_refused(await sent(here, raw), 413, "request_too_large")
    await check_nothing_ran(here)


TARGETS = {
    "absolute form": "http://gateway.test/v1/chat/completions", "another scheme": "https://evil.test/v1/chat/completions",
    "two slashes": "//v1/chat/completions", "two slashes inside": "/v1//chat/completions",
    "a dot": "/v1/./chat/completions", "two dots": "/v1/x/../chat/completions",
    "above the root": "/../v1/chat/completions",
    "an escaped slash": "/v1%2fchat/completions", "an escaped letter": "/v1/%63hat/completions",
    "escaped dots": "/v1/x/%2e%2e/chat/completions", "a parameter": "/v1/chat/completions;x=y",
    "a slash behind it": "/v1/chat/completions/", "another case": "/V1/Chat/Completions",
    "a backslash": "/v1\\chat\\completions",
    "a NUL": "/v1/chat/completions%00", "a space": "/v1/chat/completions%20", "a fragment": "/v1/chat/completions#x",
    "an asterisk": "*", "an escaped fragment": "/v1/chat/completions%23",
}  # fmt: skip


@pytest.mark.threat(30, "S3", "C3")
@pytest.mark.parametrize("case", TARGETS)
async def test_a_path_has_one_spelling(case, here):
    """404, never another route's answer; with a key or without."""
    for key in (True, False):
        body = json.dumps(question("sim")).encode()
        raw = head(
            here, f"POST {TARGETS[case]} HTTP/1.1", JSON, f"content-length: {len(body)}", "connection: close", key=key
        )
        answer = await sent(here, raw + body)
        assert answer.status == 404
        assert json.loads(answer.body)["error"]["code"] == "not_found"
        assert answer.headers["content-type"] == "application/json"
    await check_nothing_ran(here)


LARGE = {
    "a body by its length": ((POST, JSON, "content-length: 100001"), b"", 413, "request_too_large"),
    "a body by its chunks": ((POST, JSON, CHUNKED), b"2710\r\n" + b"y" * 10_000 + b"\r\n", 413, "request_too_large"),
    "one header": ((POST, "x: " + "y" * 70_000), b"", 431, "headers_too_large"),
    "many lines": ((POST, *["x: y"] * 101), b"", 431, "headers_too_large"),
    "many bytes in many lines": ((POST, *["x: " + "y" * 900] * 90), b"", 431, "headers_too_large"),
    "a target": (("GET /" + "y" * 9_000 + " HTTP/1.1",), b"", 414, "uri_too_long"),
    "a query": (("GET /v1/models?" + "y" * 9_000 + " HTTP/1.1",), b"", 414, "uri_too_long"),
}
SHOWN_LARGE = {
    14: ("a body by its length",), 15: ("a body by its chunks",),
    31: ("one header", "many lines", "many bytes in many lines", "a target", "a query"),
    "S6": ("one header", "many lines", "many bytes in many lines"),
    "S7": ("a body by its length", "a body by its chunks"),
}  # fmt: skip


@pytest.mark.parametrize("case", cases(LARGE, SHOWN_LARGE))
async def test_what_is_too_large(case, here):
    """Refused as soon as that is known, by its own status, and closed; a body before any of it is there."""
    (first_line, *headers), piece, status, code = LARGE[case]
    raw = head(here, first_line, *headers) + piece * 11
    check_refused(await sent(here, raw + behind(here)), status, code)
    await check_nothing_ran(here)


ODD_BODIES = {
    "gzip": ("content-encoding: gzip", gzip.compress(HELLO), 415),
    "a bomb": ("content-encoding: gzip", gzip.compress(bytes(50_000_000))[:90_000], 415),
    "deflate": ("content-encoding: deflate", b"x", 415),
    "a coding that is not there": ("content-encoding: br", HELLO, 415),
    "several codings": ("content-encoding: identity, gzip", HELLO, 415),
    "gzip that says nothing": ("x: y", gzip.compress(HELLO), 400),
}


@pytest.mark.threat(16)
@pytest.mark.parametrize("case", ODD_BODIES)
async def test_nothing_is_decompressed(case, here):
    """A coded body is refused by its header; one that does not say so is no JSON."""
    coding, body, status = ODD_BODIES[case]
    answer = await sent(
        here, head(here, POST, JSON, coding, f"content-length: {len(body)}", "connection: close") + body
    )
    assert answer.status == status
    code = json.loads(answer.body)["error"]["code"]
    assert code == "unsupported_media_type" if status == 415 else code in {"invalid_encoding", "invalid_json"}
    await check_nothing_ran(here)


KINDS = {
    "none": "x: y", "text": "content-type: text/plain", "a form": "content-type: application/x-www-form-urlencoded",
    "multipart": "content-type: multipart/form-data; boundary=" + "-" * 60_000,
    "multipart without a boundary": "content-type: multipart/form-data", "nearly": "content-type: application/jsonp",
    "two": "content-type: text/plain\r\ncontent-type: application/json",
}  # fmt: skip


@pytest.mark.threat(17, "C6")
@pytest.mark.parametrize("case", KINDS)
async def test_only_json_is_taken(case, here):
    """415, however the body is: it is not even looked at; and a stranger is told 401 whatever it says."""
    body = b"--" + b"-" * 60_000 + b"\r\n" * 100
    for key, status in ((True, 415), (False, 401)):
        raw = head(here, POST, KINDS[case], f"content-length: {len(body)}", "connection: close", key=key) + body
        assert (await sent(here, raw)).status == status
    await check_nothing_ran(here)


# --- what is served all the same, and what it must not change ---


async def served(here: Live, *headers: str, key: bool = True, host: bool = True, behind_it: bytes = b"") -> Answer:
    body = json.dumps(question("sim", stream=False)).encode()
    length = f"content-length: {len(body)}"
    return await sent(here, head(here, POST, JSON, length, *headers, key=key, host=host) + body + behind_it)


UPGRADES = ("h2c\r\nhttp2-settings: AAMAAABkAARAAAAAAAIAAAAA", "websocket\r\nsec-websocket-version: 13\r\n"
            "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==", "foo/2", "TLS/1.0")  # fmt: skip


@pytest.mark.threat(27, "S2")
@pytest.mark.parametrize("upgrade", UPGRADES, ids=lambda upgrade: upgrade.partition("\r")[0])
async def test_no_protocol_is_changed(upgrade, here):
    """The request is served as what it is; frames behind it are bytes of HTTP/1.1, and refused as such."""
    settings = "".join(f", {name}" for name in ("HTTP2-Settings",) if "h2c" in upgrade)
    answer = await served(here, f"upgrade: {upgrade}", f"connection: upgrade{settings}",
                          behind_it=b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0")  # fmt: skip
    assert answer.status == 200
    assert STATUS_LINE.findall(answer.raw) == [b"200", b"400"]
    assert [receipt["ending"] for receipt in await here.receipts()] == ["completed"]


@pytest.mark.threat(28)
async def test_trailers_are_nobodys(here):
    """Behind the chunks neither a credential nor a length counts: with a key it is served, without one it is not."""
    body = json.dumps(question("sim", stream=False)).encode()
    chunks = b"%x\r\n%b\r\n0\r\nauthorization: Bearer %b\r\ncontent-length: 5\r\n\r\n" % (
        len(body), body, here.key.encode(),
    )  # fmt: skip
    for key, status in ((True, 200), (False, 401)):
        raw = head(here, POST, JSON, CHUNKED, "connection: close", key=key)
        answer = await sent(here, raw + chunks)
        assert answer.status == status
    assert [receipt["ending"] for receipt in await here.receipts()] == ["completed"]


HOSTS = {"none": (), "empty": ("host: ",), "a path": ("host: gateway.test/v1",), "a user": ("host: x@gateway.test",),
         "not ASCII": ("host: \xff",), "a query": ("host: gateway.test?x",), "two": ("host: a", "host: b")}  # fmt: skip


@pytest.mark.threat(29)
@pytest.mark.parametrize("case", HOSTS)
async def test_hosts_that_are_none(case, here):
    """400 and a close."""
    check_refused(await served(here, *HOSTS[case], host=False, behind_it=behind(here)), 400, "bad_request")
    await check_nothing_ran(here)


@pytest.mark.threat(29, 32, "C3")
async def test_what_a_stranger_says_of_itself_decides_nothing(here):
    """Neither a strange Host nor forwarding headers nor names of users change key, account, address or links."""
    strange = (
        "host: admin.internal", "x-forwarded-host: evil.test", "x-forwarded-for: 6.6.6.6", "x_forwarded_for: 6.6.6.6",
        "forwarded: for=6.6.6.6;host=evil.test", "x-real-ip: 6.6.6.6", "x-user: root", "x-forwarded-proto: gopher",
        "x-original-url: /metrics", "x-rewrite-url: /metrics", "x-http-method-override: GET", "connection: close",
    )  # fmt: skip
    answer = await served(here, *strange, host=False)
    assert answer.status == 200
    (receipt,) = await here.receipts()
    assert (receipt["account_id"], receipt["key_id"]) == ("acc_agents", "k0000000")
    assert answer.headers["x-ainf-audit-url"] == f"http://gateway.test/v1/audit/{receipt['inference_id']}"
    assert b"evil.test" not in answer.raw
    assert (await served(here, *strange, host=False, key=False)).status == 401


@pytest.mark.threat(33)
async def test_no_header_is_stripped_because_another_names_it(here):
    """``Connection: authorization`` neither takes the credential away nor makes one."""
    named = "connection: close, authorization, x-api-key, content-length, host"
    assert (await served(here, named)).status == 200
    assert (await served(here, named, key=False)).status == 401


@pytest.mark.threat(34, "S4")
async def test_of_two_credentials_none_wins(here):
    """The same one twice is one; another beside it, in either order and by either header, is 401."""
    close = "connection: close"
    assert (await served(here, f"authorization: Bearer {here.key}", close)).status == 200
    for other in ("authorization: Bearer ainf_k0000000_x", "x-api-key: x", "authorization: Basic eDp5"):
        for headers in ((other, f"authorization: Bearer {here.key}"), (f"authorization: Bearer {here.key}", other)):
            answer = await served(here, *headers, close, key=False)
            assert (answer.status, json.loads(answer.body)["error"]["code"]) == (401, "ambiguous_credentials")


# --- time ---


async def drip(client: RawClient, piece: bytes) -> None:
    with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
        while True:
            await client.send(piece)
            await trio.sleep(0.02)


SLOW = {
    "a head": (b"GET /v1/models HTTP/1.1\r\nhost: gateway.test\r\n", b"x: y\r\n", "header_s = 0.2"),
    "nothing of a head": (b"G", b"", "header_s = 0.2"),
    "a body": (None, b" ", "body_s = 0.3"),
    "a body below the rate": (None, b" ", "body_grace_s = 0.3\nbody_min_bytes_per_s = 10000"),
    "nothing of a body": (None, b"", "body_s = 0.3"),
}


@pytest.mark.parametrize(
    "case",
    cases(SLOW, {
        18: ("a head", "nothing of a head"),
        19: ("a body", "a body below the rate", "nothing of a body"),
        "S5": ("a body", "a body below the rate", "nothing of a body"),
    }),
)  # fmt: skip
async def test_slow_requests(case, tmp_path):
    """However steadily it comes it is over in its time: 408, a close, and not a line of the log for each."""
    begin, piece, limits = SLOW[case]
    async with live(tmp_path, limits=f"{limits}\nclose_linger_s = 0.1") as here:
        raw = begin or head(here, POST, JSON, "content-length: 90000")
        clients = [await here.connect() for _ in range(5)]
        began = trio.current_time()
        lines = here.log.getvalue().count("\n")
        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                for client in clients:
                    await client.send(raw)
                    if piece:
                        nursery.start_soon(drip, client, piece)
                answers = [await client.take() for client in clients]
                nursery.cancel_scope.cancel()
        assert trio.current_time() - began >= 0.2
        for answer in answers:
            check_refused(answer, 408, "request_timeout")
        assert here.log.getvalue().count("\n") == lines
        await check_nothing_ran(here)


@pytest.mark.threat(21, "S10")
async def test_a_crowd_of_idle_connections(tmp_path):
    """Those over the cap of their address are turned away in words, idle ones go by themselves, others are served."""
    limits = "connections_per_peer = 20\nidle_s = 0.5\nclose_linger_s = 0.1"
    async with live(tmp_path, limits=limits) as here:
        clients = [await here.connect() for _ in range(60)]
        with trio.fail_after(20):
            turned_away = [await client.take() for client in clients[20:]]
            assert {answer.status for answer in turned_away} == {503}
            assert {answer.headers["x-should-retry"] for answer in turned_away} == {"true"}
            assert here.running.server.open_connections <= 20
            assert [(await client.take()).raw for client in clients[:20]] == [b""] * 20
            await eventually(lambda: here.running.server.open_connections == 0)
            answer = await here.ask("sim", stream=False)
        assert answer.status == 200

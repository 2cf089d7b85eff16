"""The surface as a client on a socket meets it: TLS, errors, kept connections, health, and bad neighbours."""

import contextlib
import json
import ssl

import pytest
import trio
import trustme

from ainf.protocols.registry import ENDPOINTS
from ainf.simulator import Simulator
from tests.gateway.live import Live, live
from tests.gateway.live_client import Answer, RawClient, eventually
from tests.gateway.world import question

STREAM = "sim-tokens-50-pace-5ms"


async def test_tls_from_end_to_end(tmp_path):
    """A stream over TLS arrives whole, with its receipt; cleartext on the same port breaks nothing."""
    authority = trustme.CA()
    pair = authority.issue_cert("127.0.0.1")
    pair.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    with (tmp_path / "cert.pem").open("wb") as chain:
        chain.writelines(blob.bytes() for blob in pair.cert_chain_pems)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    server = 'tls_cert = "cert.pem"\ntls_key = "key.pem"'
    async with live(tmp_path, STREAM, server=server, tls=trusting) as here:
        assert here.url.startswith("https://")
        client = await here.start(STREAM)
        await client.read_until(b'content":"')
        plain = RawClient(await trio.open_tcp_stream("127.0.0.1", int(here.url.rpartition(":")[2])))
        await plain.send(b"GET /healthz HTTP/1.1\r\nhost: gateway.test\r\n\r\n")
        await plain.take()
        taken = await client.take()
        assert (taken.status, len(taken.text)) == (200, 200)
        receipt = await here.get(f"/v1/audit/{taken.headers['x-ainf-inference-id']}")
        assert json.loads(receipt.body)["ending"] == "completed"


def request(here: Live, first_line: str, *headers: str, body: bytes = b"") -> bytes:
    lines = (first_line, "host: gateway.test", f"authorization: Bearer {here.key}", "connection: close", *headers)
    return "\r\n".join((*lines, "", "")).encode() + body


def chunked(size: int, piece: int = 60_000) -> bytes:
    return b"%x\r\n%b\r\n" % (piece, b"x" * piece) * (size // piece + 1)


POST = "POST /v1/chat/completions HTTP/1.1"
JSON = "content-type: application/json"
LENGTH_2 = "content-length: 2"
CHUNKED = "transfer-encoding: chunked"
ERRORS = {
    "an unknown path": ("GET /v1/nothing HTTP/1.1", (), b"", 404, "not_found"),
    "a path of the protocol that is not served": ("POST /v1/audio/speech HTTP/1.1", (JSON,), b"", 404, "not_found"),
    "another method": ("GET /v1/chat/completions HTTP/1.1", (), b"", 405, "method_not_allowed"),
    "another content type": (POST, ("content-type: text/plain", LENGTH_2), b"{}", 415, "unsupported_media_type"),
    "no content type": (POST, (LENGTH_2,), b"{}", 415, "unsupported_media_type"),
    "a content coding": (POST, (JSON, "content-encoding: gzip", LENGTH_2), b"{}", 415, "unsupported_media_type"),
    "broken JSON": (POST, (JSON, "content-length: 9"), b'{"model":', 400, "invalid_json"),
    "no JSON at all": (POST, (JSON, "content-length: 0"), b"", 400, "invalid_json"),
    "no object": (POST, (JSON, LENGTH_2), b"[]", 400, "invalid_json"),
    "no messages": (POST, (JSON, "content-length: 15"), b'{"model":"sim"}', 400, "missing_field"),
    "a body declared too large": (POST, (JSON, "content-length: 200000"), b"", 413, "request_too_large"),
    "a body that becomes too large": (POST, (JSON, CHUNKED), chunked(200_000), 413, "request_too_large"),
    "two lengths": (POST, (JSON, LENGTH_2, "content-length: 3"), b"{}", 400, "bad_request"),
    "a length and chunks": (POST, (JSON, LENGTH_2, CHUNKED), b"{}", 400, "bad_request"),
    "a long target": (f"GET /{'x' * 9000} HTTP/1.1", (), b"", 414, "uri_too_long"),
    "a head of many lines": ("GET /healthz HTTP/1.1", ("x-y: z",) * 200, b"", 431, "headers_too_large"),
    "not HTTP": ("nonsense", (), b"", 400, "bad_request"),
}  # fmt: skip


@pytest.mark.threat("S7")
async def test_every_refusal_is_json_with_a_verdict_and_opens_nothing(tmp_path):
    """Whatever is wrong with a request, the answer is an error object with its code, and no retry is asked for."""
    async with live(tmp_path, limits="body_bytes = 100000") as here:
        for name, (first_line, headers, body, status, code) in ERRORS.items():
            client = await here.connect()
            with trio.fail_after(5):
                with contextlib.suppress(trio.BrokenResourceError):  # refused while it is still sending
                    await client.send(request(here, first_line, *headers, body=body))
                taken = await client.take()
            assert taken.status == status, name
            assert taken.headers["content-type"] == "application/json", name
            error = json.loads(taken.body)["error"]
            assert error["code"] == code, name
            assert taken.headers["x-should-retry"] == "false", name
            assert taken.headers["x-request-id"] == error["request_id"], name
            assert "retry-after" not in taken.headers, name
        assert await here.rows("SELECT count(*) FROM inferences") == [(0,)]


@pytest.mark.threat("S10")
async def test_what_may_be_asked_again_says_when(tmp_path):
    """A request that came too slowly and a connection too many: a verdict, a time to wait, and an id of its own."""
    async with live(tmp_path, limits="header_s = 0.2\nconnections = 1") as here:
        slow = await here.connect()
        with trio.fail_after(5):
            await slow.send(b"GET /healthz HTTP/1.1\r\n")
            answers = [await (await here.connect()).take() for _ in range(2)]
            answers.append(await slow.take())
        assert [answer.status for answer in answers] == [503, 503, 408]
        for answer in answers:
            assert (answer.headers["x-should-retry"], answer.headers["retry-after"]) == ("true", "1")
            assert answer.headers["x-request-id"] == json.loads(answer.body)["error"]["request_id"]
        assert len({answer.headers["x-request-id"] for answer in answers}) == 3


PATHS = [*(f"POST {path}" for path in ENDPOINTS), "GET /v1/models", "GET /v1/audit/inf_0"]


@pytest.mark.threat(34, "C3")
async def test_a_wrong_credential_is_told_nothing_on_any_path(tmp_path):
    """No key, a wrong key and two keys get 401 on every path that needs one, before the body is looked at."""
    async with live(tmp_path) as here:
        for path in PATHS:
            bodies = set()
            for headers in ((), ("authorization: Bearer ainf_k0000000_wrong",), ("x-api-key: nonsense",)):
                client = await here.connect()
                lines = (f"{path} HTTP/1.1", "host: gateway.test", "connection: close", "content-length: 0", *headers)
                await client.send("\r\n".join((*lines, "", "")).encode())
                taken = await client.take()
                assert (taken.status, taken.headers["www-authenticate"]) == (401, "bearer")
                error = json.loads(taken.body)["error"]
                bodies.add((error["code"], error["message"]))
            assert len(bodies) == 1, "the answer tells one wrong key from another"


def text_of(answer: Answer, *, stream: bool) -> str:
    return answer.text if stream else json.loads(answer.body)["choices"][0]["message"]["content"]


@pytest.mark.parametrize("stream", [False, True])
async def test_a_connection_is_kept_after_an_answer_streamed_or_not(tmp_path, stream):
    """Several exchanges on one connection, one after the other and pipelined, each with its whole answer."""
    async with live(tmp_path) as here:
        client = await here.connect()
        asked = here.request(question("sim", stream=stream), keep_alive=True)
        answers = []
        for _ in range(3):
            await client.send(asked)
            answers.append(await client.take_one())
        await client.send(asked + asked)
        answers.append(await client.take_one())
        answers.append(await client.take_one())
        assert all(answer.status == 200 for answer in answers)
        texts = [
            answer.text if stream else json.loads(answer.body)["choices"][0]["message"]["content"] for answer in answers
        ]
        assert [len(text) for text in texts] == [80] * 5
        assert len({answer.headers["x-ainf-inference-id"] for answer in answers}) == 5
        assert here.running.server.open_connections == 1
        assert [receipt["ending"] for receipt in await here.receipts()] == ["completed"] * 5


async def test_health_readiness_and_metrics(tmp_path):
    """/healthz and /readyz need no key; the metrics count what ran; readiness ends with the drain, health does not."""
    async with live(tmp_path, "sim", "sim-stall-after-5", server="drain_s = 0.5") as here:
        assert json.loads((await here.get("/healthz", key="none")).body) == {"status": "ok"}
        ready = await here.get("/readyz", key="none")
        assert (ready.status, json.loads(ready.body)["status"]) == (200, "ready")
        await here.ask("sim")
        metrics = (await here.get("/metrics")).body.decode()
        assert 'ainf_exchanges_total{ending="completed"' in metrics
        assert here.key not in metrics
        kept = await here.connect()
        line = b"GET %b HTTP/1.1\r\nhost: gateway.test\r\n\r\n"
        running = await here.start("sim-stall-after-5")
        await running.read_until(b'content":"')
        await kept.send(line % b"/readyz")
        assert json.loads((await kept.take_one()).body)["running"] == 1
        late = [await here.connect() for _ in range(2)]
        for client in late:
            await client.send(b"GET /")
        await eventually(lambda: here.running.server.open_connections == 4)
        await trio.sleep(0.05)
        here.running.stop.set()
        await trio.sleep(0.05)
        await late[0].send((line % b"/readyz")[5:])
        answer: Answer = await late[0].take()
        assert (answer.status, json.loads(answer.body)["error"]["code"]) == (503, "shutting_down")
        assert answer.headers["x-should-retry"] == "true"
        await late[1].send((line % b"/healthz")[5:])
        assert (await late[1].take()).status == 200


BREAKS = (
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00",
    b"GET / HTTP/1.1\r\nhost: x\r\nupgrade: h2c\r\nhttp2-settings: \xff\xff\r\nconnection: upgrade\r\n\r\n",
    b"GET / HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-version: 13\r\n"
    b"sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\nsec-websocket-protocol: \xff\r\n\r\n\x81\x85\x00",
    b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
    b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000\r\n\r\n{",
    b"GET \x00 HTTP/1.1\r\n\r\n",
    b"\r\n\r\n\r\n",
)


@pytest.mark.threat("S2")
async def test_broken_connections_leave_a_running_stream_unharmed(tmp_path):
    """While a stream runs, every kind of broken connection comes and goes; the stream arrives whole."""
    model = "sim-tokens-200-pace-5ms"
    async with live(tmp_path, model, simulator=Simulator()) as here:
        client = await here.start(model)
        await client.read_until(b'content":"')
        for number in range(40):
            bad = await here.connect()
            await bad.send(BREAKS[number % len(BREAKS)])
            if number % 3 == 0:
                bad.reset()
            elif number % 3 == 1:
                await bad.close()
            else:
                await trio.sleep(0.005)
        taken = await client.take()
        assert taken.whole
        assert len(taken.text) == 800
        (receipt,) = await here.receipts()
        assert receipt["ending"] == "completed"
        for bad in here.clients:
            await bad.close()
        with trio.fail_after(5):
            await eventually(lambda: here.running.server.open_connections == 0)

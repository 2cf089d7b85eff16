"""What is refused before the application sees it: a table of heads."""

import h11
import pytest

from ainf.inference.errors import DownstreamError
from ainf.server import edge
from tests.server.limits import server_limits

LIMITS = server_limits(body_bytes=100, header_bytes=2000, header_lines=20, target_bytes=200)

ACCEPTED = {
    "plain": "GET /v1/models HTTP/1.1\r\nHost: a",
    "slash in a name": "GET /v1/models/ainf%2Fauto HTTP/1.1\r\nHost: a",
    "root": "GET / HTTP/1.1\r\nHost: a",
    "query": "GET /v1/x?a=%2f&b=//.. HTTP/1.1\r\nHost: a:8080",
    "ipv6 host": "GET /v1/x HTTP/1.1\r\nHost: [::1]:80",
    "dots in a segment": "GET /v1/models/gpt-4.1 HTTP/1.1\r\nHost: a",
    "body at its limit": "POST /v1/x HTTP/1.1\r\nHost: a\r\nContent-Length: 100",
    "chunked": "POST /v1/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked",
    "identity": "POST /v1/x HTTP/1.1\r\nHost: a\r\nContent-Encoding: identity\r\nContent-Length: 1",
    "http/1.0 without host": "GET /healthz HTTP/1.0",
    "upgrade is ignored": "GET /v1/x HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\nConnection: upgrade",
    "lines at their limit": "GET / HTTP/1.1\r\nHost: a" + "\r\nx: y" * 19,
}
REFUSED = {
    "TE and CL": ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked", "bad_request"),
    "two CL": ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1", "bad_request"),
    "two CL that differ": ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2", "bad_request"),
    "CL list": ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 5", "bad_request"),
    "CL plus": ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +5", "bad_request"),
    "CL hex": ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x5", "bad_request"),
    "CL negative": ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1", "bad_request"),
    "CL empty": ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: ", "bad_request"),
    "CL endless": ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: " + "9" * 30, "bad_request"),
    "TE unknown": ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked", "bad_request"),
    "TE list": ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked", "bad_request"),
    "TE vertical tab": ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \x0bchunked", "bad_request"),
    "space before colon": ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked", "bad_request"),
    "TE in 1.0": ("POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked", "bad_request"),
    "bare LF": ("GET / HTTP/1.1\nHost: a", "bad_request"),
    "bare CR": ("GET / HTTP/1.1\r\nHost: a\r\nx: a\rb", "bad_request"),
    "NUL": ("GET / HTTP/1.1\r\nHost: a\r\nx: a\0b", "bad_request"),
    "no header name": ("GET / HTTP/1.1\r\nHost: a\r\n: b", "bad_request"),
    "folded": ("GET / HTTP/1.1\r\nHost: a\r\nx: a\r\n b", "bad_request"),
    "TLS hello": ("\x16\x03\x01\x02\x00", "bad_request"),
    "no request line": ("hello", "bad_request"),
    "no host": ("GET / HTTP/1.1\r\nx: y", "bad_request"),
    "two hosts": ("GET / HTTP/1.1\r\nHost: a\r\nHost: a", "bad_request"),
    "empty host": ("GET / HTTP/1.1\r\nHost: ", "bad_request"),
    "host with a path": ("GET / HTTP/1.1\r\nHost: a/b", "bad_request"),
    "host with a user": ("GET / HTTP/1.1\r\nHost: a@b", "bad_request"),
    "host not ascii": ("GET / HTTP/1.1\r\nHost: \xff", "bad_request"),
    "h2 preface": ("PRI * HTTP/2.0", "bad_request"),
    "absolute form": ("GET http://a/v1 HTTP/1.1\r\nHost: a", "not_found"),
    "asterisk": ("OPTIONS * HTTP/1.1\r\nHost: a", "not_found"),
    "two slashes": ("GET //v1 HTTP/1.1\r\nHost: a", "not_found"),
    "two slashes inside": ("GET /v1//x HTTP/1.1\r\nHost: a", "not_found"),
    "dot segment": ("GET /v1/../x HTTP/1.1\r\nHost: a", "not_found"),
    "dot segment at the end": ("GET /v1/.. HTTP/1.1\r\nHost: a", "not_found"),
    "escaped letter": ("GET /v1/%63hat HTTP/1.1\r\nHost: a", "not_found"),
    "escaped slash": ("GET /v1%2fx HTTP/1.1\r\nHost: a", "not_found"),
    "escaped slash before the name": ("GET /v1/models%2fx HTTP/1.1\r\nHost: a", "not_found"),
    "escaped dots in a name": ("GET /v1/models/x%2f..%2fy HTTP/1.1\r\nHost: a", "not_found"),
    "dots in a name": ("GET /v1/models/x%2fy/../z HTTP/1.1\r\nHost: a", "not_found"),
    "another escape in a name": ("GET /v1/models/%61uto HTTP/1.1\r\nHost: a", "not_found"),
    "parameter": ("GET /v1;x HTTP/1.1\r\nHost: a", "not_found"),
    "backslash": ("GET /v1\\x HTTP/1.1\r\nHost: a", "not_found"),
    "connect": ("CONNECT a:80 HTTP/1.1\r\nHost: a", "bad_request"),
    "gzip": ("POST / HTTP/1.1\r\nHost: a\r\nContent-Encoding: gzip\r\nContent-Length: 1", "unsupported_media_type"),
    "body too large": ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 101", "request_too_large"),
    "long target": ("GET /" + "a" * 200 + " HTTP/1.1\r\nHost: a", "uri_too_long"),
    "endless target": ("GET /" + "a" * 2000, "uri_too_long"),
    "long head": ("GET / HTTP/1.1\r\nHost: a\r\nx: " + "y" * 2000, "headers_too_large"),
    "many lines": ("GET / HTTP/1.1\r\nHost: a" + "\r\nx: y" * 20, "headers_too_large"),
}


def refusal_of(head: str) -> str:
    """The code that the two checks, with h11 between them, refuse this head with; empty if none."""
    raw = head.encode("latin-1") + b"\r\n\r\n"
    parser = h11.Connection(h11.SERVER, max_incomplete_event_size=LIMITS.header_bytes)
    try:
        edge.check_raw_head(raw, LIMITS)
        parser.receive_data(raw)
        request = parser.next_event()
        assert isinstance(request, h11.Request)
        edge.check_request(request, LIMITS)
    except h11.RemoteProtocolError:
        return edge.malformed().code
    except DownstreamError as error:
        return error.code
    return ""


@pytest.mark.parametrize("head", ACCEPTED.values(), ids=ACCEPTED.keys())
def test_accepted(head):
    """A plain head passes."""
    assert not refusal_of(head)


@pytest.mark.threat(14, 16, 22, 23, 24, 26, 27, 29, 30, 31, "S1", "S2", "S3", "S6")
@pytest.mark.parametrize(("head", "code"), REFUSED.values(), ids=REFUSED.keys())
def test_refused(head, code):
    """An ambiguous, malformed or oversized head is refused with the code of its family."""
    assert refusal_of(head) == code


@pytest.mark.threat(31, "S6")
@pytest.mark.parametrize("name", ["long head", "endless target", "bare LF", "folded", "TLS hello", "TE and CL"])
def test_an_incomplete_head_is_refused_too(name):
    """What is wrong already is refused before the head's end has come."""
    head, code = REFUSED[name]
    with pytest.raises(DownstreamError) as refused:
        edge.check_raw_head(head.encode("latin-1"), LIMITS)
    assert refused.value.code == code


def test_any_beginning_of_a_good_head_passes():
    """No cut of an acceptable head looks wrong before the rest has come."""
    raw = b"POST /v1/x HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n"
    for end in range(1, len(raw) + 1):
        edge.check_raw_head(raw[:end], LIMITS)


@pytest.mark.parametrize(
    ("head", "path"),
    [
        (b"GET /v1/x?secret=1 HTTP/1.1\r\nHost: a", "/v1/x"),
        (b"GET /v1/x", "/v1/x"),
        (b"garbage", ""),
        (b"", ""),
        (b"GET /" + b"a" * 9000, "/" + "a" * 255),
    ],
)
def test_path_of(head, path):
    """The path is found in any head, without its query, and cut short."""
    assert edge.path_of(head) == path


def test_refusal_is_a_whole_response():
    """A refusal parses as one response that closes, with the headers and the body that it was given."""
    parser = h11.Connection(h11.CLIENT)
    parser.send(h11.Request(method="GET", target="/", headers=[("host", "a")]))
    parser.receive_data(edge.refusal(503, [(b"content-length", b"2"), (b"retry-after", b"3")], b"{}"))
    head = parser.next_event()
    assert isinstance(head, h11.Response)
    assert head.status_code == 503
    assert head.reason == b"Service Unavailable"
    assert dict(head.headers) == {b"content-length": b"2", b"retry-after": b"3", b"connection": b"close"}
    assert parser.next_event() == h11.Data(data=b"{}")
    assert isinstance(parser.next_event(), h11.EndOfMessage)


async def test_a_refusal_is_told(serve):
    """What the server refuses by itself is told, so that the metrics count it too."""
    bench = await serve()
    assert (await bench.ask("//odd")).status == 404
    assert bench.refusals == ["not_found"]

"""Requests and their bytes."""

import pytest

from ainf.inference.secret import Secret
from ainf.upstream.proxy import Proxy
from ainf.upstream.request import UpstreamRequest, request_head

HEADERS = ((b"authorization", Secret(b"Bearer secret")), (b"content-type", b"application/json"))
PROXY = Proxy.from_url("http://me:pass@proxy.test:81")


def test_a_request_is_written_as_http_1_1():
    """Our own headers stand around the caller's, and the length is the body's."""
    head = request_head("POST", "https://a.test/v1/x?y", HEADERS)
    assert head.with_body(b"{}") == (
        b"POST /v1/x?y HTTP/1.1\r\n"
        b"host: a.test\r\n"
        b"authorization: Bearer secret\r\n"
        b"content-type: application/json\r\n"
        b"accept-encoding: identity\r\n"
        b"content-length: 2\r\n"
        b"\r\n"
        b"{}"
    )


def test_the_head_is_made_once():
    """Requests that differ in their body only share one head."""
    url = "https://once.test/"
    assert request_head("POST", url, HEADERS) is request_head("POST", url, tuple(HEADERS))


def test_through_a_proxy_http_names_the_whole_url_and_https_does_not():
    """A proxy sees credentials of its own on plain requests; inside a tunnel nothing of it is sent to the provider."""
    plain = request_head("POST", "http://a.test/x", HEADERS, PROXY).with_body(b"")
    assert plain.startswith(b"POST http://a.test:80/x HTTP/1.1\r\nhost: a.test\r\n")
    assert b"proxy-authorization: Basic bWU6cGFzcw==\r\n" in plain
    tunnelled = request_head("POST", "https://a.test/x", HEADERS, PROXY).with_body(b"")
    assert tunnelled.startswith(b"POST /x HTTP/1.1\r\n")
    assert b"proxy" not in tunnelled


@pytest.mark.parametrize(
    "header",
    [
        (b"x", b"a\r\ny: b"),
        (b"x", b"a\nb"),
        (b"x", b"a\0"),
        (b"x y", b"a"),
        (b"", b"a"),
        (b"x:", b"a"),
        (b"Content-Length", b"5"),
        (b"transfer-encoding", b"chunked"),
        (b"Host", b"b.test"),
        (b"accept-encoding", b"gzip"),
        (b"connection", b"close"),
    ],
)
def test_a_header_cannot_break_the_framing(header):
    """Characters that end a header, and headers that we write ourselves, are refused."""
    with pytest.raises(ValueError, match="header"):
        request_head("POST", "https://a.test/", (header,))


def test_a_request_shows_neither_credentials_nor_content():
    """Its repr may stand in a log."""
    request = UpstreamRequest("https://a.test/", HEADERS, b"private")
    shown = f"{request!r} {request.headers!r} {request_head('POST', 'https://a.test/', HEADERS)!r}"
    assert "secret" not in shown
    assert "private" not in shown


def test_request_id_travels_beside_the_kept_head():
    """Each call's own id is sent as a header, without the head being made anew for it."""
    head = request_head("POST", "http://a.test/x", HEADERS)
    request_head.cache_clear()
    assert head.with_body(b"{}", "inf_1").endswith(b"content-length: 2\r\nx-client-request-id: inf_1\r\n\r\n{}")
    assert request_head.cache_info().misses == 0

import pytest

from ainf.simulator import http
from ainf.simulator.http import BadHttpError, Request, RequestReader, as_chunk, response_head
from tests.simulator.client import post

REQUEST = post(b'{"a": 1}', close=False, path="/v1/x?y=z", headers=["X-Api-Key: k"])


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_any_cut_gives_the_same_requests(size):
    """Two requests, however they are cut, come out whole and in order."""
    reader, requests = RequestReader(), []
    data = REQUEST + post(b"", method="GET")
    for at in range(0, len(data), size):
        requests += reader.feed(data[at : at + size])

    first, second = requests
    assert (first.method, first.path, first.body, first.keep_alive) == ("POST", "/v1/x", b'{"a": 1}', True)
    assert first.headers["x-api-key"] == "k"
    assert (first.query, second.query) == ("y=z", "")
    assert (second.method, second.body, second.keep_alive) == ("GET", b"", False)


@pytest.mark.parametrize("apart", [True, False])
def test_bytes_after_the_last_request_are_ignored(apart):
    """After a request with connection: close, more bytes are neither a request nor an error."""
    reader = RequestReader()
    pieces = [post(b"{}"), b"\r\n stray"] if apart else [post(b"{}") + b"\r\n stray"]

    assert [request.body for piece in pieces for request in reader.feed(piece)] == [b"{}"]
    assert reader.feed(post(b"{}")) == []


def test_a_chunked_body_is_put_together():
    """A chunked request body is read as one."""
    raw = (
        b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n"
        + as_chunk(b"one ")
        + as_chunk(b"two")
        + http.LAST_CHUNK
    )
    assert RequestReader().feed(raw) == [
        Request("POST", "/", {"transfer-encoding": "chunked"}, b"one two", keep_alive=True)
    ]


@pytest.mark.parametrize("garbage", [b"nonsense\r\n\r\n", b"\x16\x03\x01", b"GET / HTTP/1.1\r\nbad header\r\n\r\n"])
def test_garbage_is_refused(garbage):
    """What is not HTTP raises."""
    with pytest.raises(BadHttpError):
        RequestReader().feed(garbage)


def test_an_upgrade_is_refused():
    """The protocol is HTTP/1.1 and stays so."""
    with pytest.raises(BadHttpError):
        RequestReader().feed(b"GET / HTTP/1.1\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n")


def test_a_request_has_a_limit(monkeypatch):
    """A request over the limit raises; the limit counts each request alone."""
    monkeypatch.setattr(http, "MAX_REQUEST_BYTES", len(REQUEST))
    reader = RequestReader()
    for _ in range(3):
        assert reader.feed(REQUEST)
    with pytest.raises(BadHttpError):
        reader.feed(post(b"x" * 1000))


def test_heads_have_any_status():
    """Known and unknown statuses are written."""
    assert response_head(200, [("a", "b")]) == b"HTTP/1.1 200 OK\r\na: b\r\n\r\n"
    assert response_head(999, []) == b"HTTP/1.1 999 Unknown\r\n\r\n"

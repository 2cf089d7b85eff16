"""The same connections for any ``httpx.AsyncClient``."""

from collections.abc import AsyncIterator
from typing import Final

import httpx
import trio

from ainf.inference.errors import UpstreamError
from ainf.upstream.client import UpstreamCall, UpstreamClient
from ainf.upstream.request import UpstreamRequest

_WRITTEN_BY_US: Final = frozenset({
    b"accept-encoding", b"connection", b"content-length", b"host", b"transfer-encoding",
})  # fmt: skip
_ERRORS: Final[dict[str, type[httpx.TransportError]]] = {
    "upstream_unreachable": httpx.ConnectError,
    "upstream_timeout": httpx.ConnectTimeout,
    "upstream_protocol": httpx.RemoteProtocolError,
    "upstream_truncated": httpx.RemoteProtocolError,
    "upstream_error": httpx.ReadError,
}


class UpstreamTransport(httpx.AsyncBaseTransport):
    """An httpx transport over an ``UpstreamClient``, which it closes with itself.

    Time limits are the client's ``connect_s`` and the caller's cancel scopes; httpx's own timeouts have no effect. A
    HEAD request is refused: its answer declares a body that never comes.
    """

    def __init__(self, client: UpstreamClient) -> None:
        self._client = client

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request; the response must be closed, as httpx does.

        Raises:
            httpx.TransportError: see ``UpstreamCall``; its class by the error's code.
        """
        if request.method == "HEAD":
            raise httpx.UnsupportedProtocol("HEAD is not supported", request=request)
        headers = tuple(pair for pair in request.headers.raw if pair[0].lower() not in _WRITTEN_BY_US)
        body = await request.aread()
        url = f"{request.url.scheme}://{request.url.netloc.decode()}{request.url.raw_path.decode()}"
        call = self._client.call(UpstreamRequest(url, headers, body, request.method))
        try:
            head = await call.start()
        except UpstreamError as exc:
            raise _translate(exc, request) from exc
        except trio.Cancelled:
            call.abort()
            raise
        return httpx.Response(head.status, headers=list(head.headers), stream=_BodyStream(call, request))

    async def aclose(self) -> None:
        """Close the client."""
        self._client.close()


class _BodyStream(httpx.AsyncByteStream):
    """The body of an answer, one piece for each read. No generator: nobody closes one that is left early."""

    def __init__(self, call: UpstreamCall, request: httpx.Request) -> None:
        self._call = call
        self._request = request

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        try:
            data = await self._call.receive()
        except UpstreamError as exc:
            raise _translate(exc, self._request) from exc
        if not data:
            raise StopAsyncIteration
        return data

    async def aclose(self) -> None:
        await self._call.aclose()


def _translate(error: UpstreamError, request: httpx.Request) -> httpx.TransportError:
    return _ERRORS[error.code](error.message, request=request)

"""A provider on a loopback socket, plain or TLS, that does what a test's handler says."""

import re
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial

import trio
import trustme

from ainf.upstream.request import UpstreamRequest

Handler = Callable[[trio.abc.Stream], Awaitable[None]]


class Authority:
    """A certificate authority of its own, with a server's certificate for 127.0.0.1."""

    def __init__(self, folder):
        self._authority = trustme.CA()
        self.file = str(folder / "authority.pem")
        self._authority.cert_pem.write_to_path(self.file)

    def server_context(self, host: str = "127.0.0.1"):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._authority.issue_cert(host).configure_cert(context)
        return context


@asynccontextmanager
async def serving(handler: Handler, context=None) -> AsyncIterator[int]:
    """Serve on a free port, which is yielded; connections end with the block."""

    async def handle(stream: trio.SocketStream) -> None:
        talk: trio.abc.Stream = stream
        if context is not None:
            talk = trio.SSLStream(stream, context, server_side=True, https_compatible=True)
        try:
            await handler(talk)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # the gateway left: handlers that care look for it
        finally:
            await trio.aclose_forcefully(stream)

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, handle, 0, host="127.0.0.1"))
        yield listeners[0].socket.getsockname()[1]
        nursery.cancel_scope.cancel()


async def read_request(stream: trio.abc.Stream) -> bytes:
    """Read one request with a declared length."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += await _some(stream)
    head, _, body = data.partition(b"\r\n\r\n")
    declared = re.search(rb"content-length: (\d+)", head)
    length = int(declared[1]) if declared else 0
    while len(body) < length:
        body += await _some(stream)
    return head + b"\r\n\r\n" + body


async def _some(stream: trio.abc.Stream) -> bytes:
    data = bytes(await stream.receive_some(65536))
    if not data:
        raise trio.ClosedResourceError
    return data


def request_to(port: int, *, scheme: str = "http", host: str = "127.0.0.1", body: bytes = b"{}") -> UpstreamRequest:
    return UpstreamRequest(f"{scheme}://{host}:{port}/v1/x?y=1", ((b"authorization", b"Bearer secret"),), body)

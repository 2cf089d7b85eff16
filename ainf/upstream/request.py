"""A request to a provider, and its bytes. The head is made once for each target and set of headers."""

import re
from functools import lru_cache
from typing import Final, NamedTuple

import attrs

from ainf.inference.secret import HeaderValue, Secret
from ainf.upstream.origin import Origin, split_url
from ainf.upstream.proxy import Proxy

_OURS: Final = frozenset({
    b"accept-encoding", b"connection", b"content-length", b"expect", b"host", b"proxy-authorization", b"te",
    b"transfer-encoding", b"upgrade",
})  # fmt: skip
_TOKEN: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, section 5.6.2
_VALUE: Final = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")


@attrs.frozen(eq=False)
class UpstreamRequest:
    """What to ask. Framing, ``host`` and ``accept-encoding: identity`` are added; redirects are never followed."""

    url: str
    headers: tuple[tuple[bytes, HeaderValue], ...]
    body: bytes = attrs.field(repr=False)
    method: str = "POST"
    request_id: str | None = None
    """Ours for this call, sent as ``X-Client-Request-Id`` (platform.openai.com/docs/api-reference/debugging-requests);
    apart from the other headers, because their bytes are made once and kept."""

    def __repr__(self) -> str:
        return f"UpstreamRequest({self.method}, {len(self.body)} bytes)"  # neither credentials nor content


class RequestHead(NamedTuple):
    """Where a request goes and how it begins, up to the value of ``content-length``."""

    origin: Origin
    start: bytes

    def __repr__(self) -> str:
        return f"RequestHead({self.origin})"  # ``start`` holds credentials

    def with_body(self, body: bytes, request_id: str | None = None) -> bytes:
        """Return the whole request."""
        if request_id is None:
            return b"%b%d\r\n\r\n%b" % (self.start, len(body), body)
        return b"%b%d\r\nx-client-request-id: %b\r\n\r\n%b" % (self.start, len(body), request_id.encode("ascii"), body)


@lru_cache(maxsize=256)
def request_head(
    method: str, url: str, headers: tuple[tuple[bytes, HeaderValue], ...], proxy: Proxy | None = None
) -> RequestHead:
    """Return the head of a request; cached, since a provider's requests differ in their body only.

    Raises:
        ValueError: the URL is not an absolute http(s) URL, or a header is not a header or is ours to write.
    """
    origin, target = split_url(url)
    forwarded = proxy is not None and origin.scheme == "http"
    if forwarded:
        target = f"http://{origin.authority}{target}"
    lines = [f"{method} {target} HTTP/1.1".encode("ascii"), b"host: " + origin.host_header.encode("ascii")]
    for name, given in headers:
        value = given.reveal() if isinstance(given, Secret) else given
        if not _TOKEN.fullmatch(name) or not _VALUE.fullmatch(value):
            raise ValueError("a header holds a character that HTTP does not allow")
        if name.lower() in _OURS:
            raise ValueError(f"the header {name.decode('ascii')} is the transport's to write")
        lines.append(name + b": " + value)
    if forwarded and proxy is not None:
        lines.extend(proxy.header_lines())
    lines += [b"accept-encoding: identity", b"content-length: "]
    return RequestHead(origin, b"\r\n".join(lines))

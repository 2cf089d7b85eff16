"""Origins: where requests go, taken out of URLs."""

import re
from typing import Final, NamedTuple
from urllib.parse import urlsplit

_PORTS: Final = {"http": 80, "https": 443}
_PRINTABLE: Final = re.compile(r"[\x21-\x7e]*")


class Origin(NamedTuple):
    """Who answers: connections to equal origins are interchangeable."""

    scheme: str
    host: str
    port: int

    @property
    def authority(self) -> str:
        """Host and port, an IPv6 address in brackets."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def host_header(self) -> str:
        """The authority, without the port where it is the scheme's own."""
        return self.authority.removesuffix(f":{_PORTS[self.scheme]}")


def split_url(url: str) -> tuple[Origin, str]:
    """Return the origin of an absolute URL, and the request target: path and query as they stand.

    Raises:
        ValueError: not http(s), no host, credentials in it, or a character that must be encoded.
    """
    parts = urlsplit(url)
    if parts.scheme not in _PORTS or not parts.hostname or parts.username is not None:
        raise ValueError("a provider's URL is http:// or https:// with a host and without credentials")
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if not _PRINTABLE.fullmatch(parts.hostname) or not _PRINTABLE.fullmatch(target):
        raise ValueError("a provider's URL is ASCII without blanks (percent-encoded path, punycode host)")
    return Origin(parts.scheme, parts.hostname, parts.port or _PORTS[parts.scheme]), target

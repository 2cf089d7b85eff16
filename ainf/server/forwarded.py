"""Who the client is when a reverse proxy stands between."""

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network


class TrustedProxies:
    """The networks whose ``X-Forwarded-For`` is believed.

    Args:
        networks: CIDR strings, or single addresses.

    Raises:
        ValueError: one of them is no network.
    """

    def __init__(self, networks: Sequence[str]) -> None:
        self._networks: tuple[IPv4Network | IPv6Network, ...] = tuple(ip_network(network) for network in networks)

    def __contains__(self, peer: str) -> bool:
        address = _address(peer)
        return address is not None and self._trusts(address)

    def client_of(self, peer: str, headers: Iterable[tuple[bytes, bytes]]) -> str:
        """The nearest address that is not a trusted proxy, for a request that came from the trusted ``peer``.

        Only ``X-Forwarded-For`` counts, read from its right end: what a stranger wrote stands further left. At an
        entry that is no address the walk ends with the last hop that was one.
        """
        lines = b",".join(value for name, value in headers if name == b"x-forwarded-for")
        client = peer
        for hop in reversed(lines.decode("latin-1").split(",")):
            address = _address(hop.strip())
            if address is None:
                break
            client = str(address)
            if not self._trusts(address):
                break
        return client

    def _trusts(self, address: IPv4Address | IPv6Address) -> bool:
        return any(address in network for network in self._networks)


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(text)
    except ValueError:
        return None
    # A dual-stack listener shows IPv4 peers as ::ffff:a.b.c.d.
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address

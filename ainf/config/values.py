"""How one value of the configuration is read: what it must be, and how its default is shown.

A ``Kind`` turns what TOML gives into what the program uses, or says in one clause what the value must be.
"""

import difflib
import ipaddress
import math
import re
from collections.abc import Callable, Collection
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import SplitResult, urlsplit

import attrs

from ainf.config.lines import KeyPath
from ainf.inference.money import format_usd, parse_usd

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

THOUSAND = 1000
KIB = 1 << 10
MIB = 1 << 20
GIB = 1 << 30

_NAME = re.compile(r"[!-~]{1,128}")


class UnfitError(Exception):
    """A value is not what its setting must be; the text completes the sentence that the setting begins."""


class UnfitPartsError(Exception):
    """Parts of a value are not what they must be: pairs of the part's path in it and what is wrong with it."""

    def __init__(self, parts: list[tuple[KeyPath, str]]) -> None:
        super().__init__(parts)
        self.parts = parts


@attrs.frozen
class Address:
    """Where the server listens; port 0 takes a free one."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def wildcard(self) -> bool:
        """Whether this is every address of the machine, and so no name for it."""
        return self.host in {"0.0.0.0", "::"}  # noqa: S104 - compared with, not bound to


@attrs.frozen
class Kind:
    """One kind of value."""

    unit: str
    """What README's table says it is measured in."""
    parse: Callable[[object], Any]
    """Takes TOML's value; raises UnfitError or UnfitPartsError."""
    show: Callable[[Any], str] = str
    """Writes a parsed value as it would stand in the file."""


def _seconds(least: float, most: float = 1_000_000) -> Callable[[object], float]:
    def parse(value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
            raise UnfitError(f"must be a number of seconds from {least:g} to {most:,}")
        return float(value)

    return parse


def _whole(unit: str, least: int = 1, most: int = 1_000_000_000) -> Callable[[object], int]:
    def parse(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise UnfitError(f"must be a whole number of {unit} from {least:,} to {most:,}")
        return value

    return parse


def _thousandths(value: object) -> int | None:
    """Return a number in thousandths; None for what is none, or finer."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not -math.inf < value < math.inf:
        return None
    thousandths = Decimal(repr(value)) * THOUSAND
    return int(thousandths) if thousandths == thousandths.to_integral_value() else None


def _positive(value: object) -> int:
    thousandths = _thousandths(value)
    if thousandths is None or thousandths <= 0:
        raise UnfitError("must be a number over 0 with at most three decimals")
    return thousandths


def _share(value: object) -> int:
    thousandths = _thousandths(value)
    if thousandths is None or not 0 <= thousandths <= THOUSAND:
        raise UnfitError("must be a number from 0 to 1 with at most three decimals")
    return thousandths


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise UnfitError("must be true or false")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str) or not value or not value.isprintable():
        raise UnfitError("must be a text of printable characters, not empty")
    return value


def _name(value: object) -> str:
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise UnfitError("must be a name of 1 to 128 visible ASCII characters")
    return value


def _path(value: object) -> Path:
    return Path(_text(value)).expanduser()


def choice(*words: str) -> Kind:
    """Return the kind of a setting that is one of a few words."""
    listed = " or ".join(quoted(word) for word in words)

    def parse(value: object) -> str:
        if not isinstance(value, str) or value not in words:
            raise UnfitError(f"must be {listed}")
        return value

    return Kind(listed, parse, quoted)


def each(item: Kind, of_what: str) -> Kind:
    """Return the kind of a list of values of one kind."""

    def parse(value: object) -> tuple[Any, ...]:
        if not isinstance(value, list):
            raise UnfitError(f"must be a list of {of_what}")
        return tuple(item.parse(part) for part in value)

    def show(values: tuple[Any, ...]) -> str:
        return f"[{', '.join(item.show(value) for value in values)}]"

    return Kind(f"list of {of_what}", parse, show)


def quoted(value: object) -> str:
    """Return a text as it stands in a TOML file."""
    return f'"{value}"'


_ADDRESS = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<host>[A-Za-z0-9._-]+)):(?P<port>[0-9]{1,5})")


def _address(value: object) -> Address:
    match = _ADDRESS.fullmatch(value) if isinstance(value, str) else None
    if match is None or int(match["port"]) > 0xFFFF:
        raise UnfitError('must be "host:port", such as "127.0.0.1:8080" or "[::1]:8080"')
    return Address(match["six"] or match["host"], int(match["port"]))


def _network(value: object) -> Network:
    try:
        return ipaddress.ip_network(_text(value), strict=False)
    except ValueError:
        raise UnfitError('must be an address or network, such as "10.0.0.0/8"') from None


def _split_url(value: object, schemes: tuple[str, ...]) -> SplitResult:
    fault = f"must be {' or '.join(f'{scheme}://' for scheme in schemes)} and a host"
    try:
        parts = urlsplit(_text(value))
        parts.port  # noqa: B018 - the property checks the port and raises ValueError
    except ValueError:
        raise UnfitError(fault) from None
    if parts.scheme not in schemes or not parts.hostname or " " in parts.netloc:
        raise UnfitError(fault)
    if "@" in parts.netloc:
        raise UnfitError("must not hold credentials")
    if parts.query or parts.fragment:
        raise UnfitError("must not hold a query or fragment")
    return parts


def _url(value: object) -> str:
    return _split_url(value, ("http", "https")).geturl().rstrip("/")


def _proxy(value: object) -> str:
    parts = _split_url(value, ("http",))
    if parts.path not in {"", "/"}:
        raise UnfitError("must not hold a path")
    return parts.geturl().rstrip("/")


def unknown(name: str, known: Collection[str]) -> str:
    """Return what to say of a name that is not among those known, with the nearest one of them."""
    near = difflib.get_close_matches(name, known, n=1)
    return f"is unknown; did you mean {near[0]!r}?" if near else f"is unknown; known are {', '.join(known)}"


def _usd(value: object) -> int:
    if not isinstance(value, str):
        raise UnfitError('must be an amount of USD as a string such as "0.15", so that it is exact')
    try:
        return parse_usd(value)
    except ValueError as error:
        raise UnfitError(f"must be an amount of USD: {error}") from None


def _store_url(value: object) -> str:
    scheme, _, path = _text(value).partition(":")
    if scheme != "sqlite" or not path or path.startswith(("//", ":")):
        raise UnfitError('must be "sqlite:" and a path, such as "sqlite:ainf.db"')
    return f"sqlite:{Path(path).expanduser()}"


def _variable(value: object) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", value):
        raise UnfitError("must be the name of an environment variable (the key itself does not belong in this file)")
    return value


def _plain(value: float) -> str:
    return f"{value:g}"


SECONDS = Kind("s", _seconds(0.01), _plain)
"""How long something is waited for."""
LEASE = Kind("s", _seconds(0.5, 60), _plain)
"""Short enough that what a dead process left is soon closed, long enough that a busy one is not taken for dead."""
SECONDS_OR_NONE = Kind("s", _seconds(0), _plain)
INTERVAL = Kind("s", _seconds(0.1), _plain)
"""The time between two rounds of something that goes on for ever: much shorter, and it would do nothing else."""
WHOLE_SECONDS = Kind("s", _whole("seconds", most=32_767))
"""What the kernel counts for us; it takes no more."""
BYTES = Kind("bytes", _whole("bytes", most=GIB))
BYTES_OR_NONE = Kind("bytes", _whole("bytes", least=0, most=GIB))
BUFFER_BYTES = Kind("bytes", _whole("bytes", least=KIB, most=16 * MIB))
"""What is set aside for each connection or read, whether it is filled or not."""
BYTES_PER_SECOND = Kind("bytes per s", _whole("bytes per second", most=GIB))
TOKENS = Kind("tokens", _whole("tokens"))
COUNT = Kind("count", _whole("items"))
BYTES_PER_TOKEN = Kind("bytes per token", _positive, lambda value: f"{Decimal(value) / THOUSAND:.1f}")
SHARE = Kind("0 to 1", _share, lambda value: str(Decimal(value) / THOUSAND))
"""In thousandths."""
MILLISECONDS = Kind("ms", _whole("milliseconds"))
FLAG = Kind("flag", _flag, lambda value: str(value).lower())
TEXT = Kind("text", _text, quoted)
NAME = Kind("name", _name, quoted)
"""What a client may call something: a model, a target."""
PATH = Kind("path", _path, quoted)
URL = Kind("URL", _url, quoted)
PROXY_URL = Kind("URL", _proxy, quoted)
STORE_URL = Kind("URL", _store_url, quoted)
USD = Kind("USD", _usd, lambda value: quoted(format_usd(value)))
"""Nano-dollars, written as a decimal string of dollars."""
VARIABLE = Kind("variable", _variable, quoted)
FIELD_NAMES = each(Kind("field name", _text, quoted), "field names")
NAMES = each(NAME, "names")
PATTERNS = each(NAME, "patterns of names")
ADDRESSES = each(Kind("address", _address, quoted), "addresses")
NETWORKS = each(Kind("network", _network, quoted), "networks")

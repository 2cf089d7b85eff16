"""Who is asking: one extractor for every route and every form of credential."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ainf.admission import invalid_key
from ainf.inference.errors import DownstreamError
from ainf.inference.secret import Secret
from ainf.store.base import KeyRecord
from ainf.store.protocol import InferenceStore

_LONGEST_KEY = 256
_FAILURES_KEPT = 10_000


def presented_key(headers: Iterable[tuple[bytes, bytes]]) -> Secret:
    """Return the one key that a request presents, by ``Authorization: Bearer`` or ``x-api-key``.

    Raises:
        DownstreamError: ``ambiguous_credentials`` where two differ; ``invalid_api_key`` where there is none.
    """
    presented = set()
    for name, value in headers:
        if name == b"authorization":
            scheme, _, key = value.partition(b" ")
            presented.add(key.strip() if scheme.lower() == b"bearer" else b"")
        elif name == b"x-api-key":
            presented.add(value.strip())
    if len(presented) > 1:
        raise DownstreamError("ambiguous_credentials", "More than one credential was sent; send one.")
    key = presented.pop() if presented else b""
    if not key or len(key) > _LONGEST_KEY:
        raise invalid_key()
    return Secret(key)


def peer_of(scope: Mapping[str, Any]) -> str:
    """Return the client's address in an ASGI scope, or "" where there is none (in-memory tests)."""
    client = scope.get("client")
    return client[0] if client else ""


class FailureLimit:
    """How many failed authentications an address may make in a minute before it is told to wait.

    Counts in fixed minutes, for a bounded number of addresses; those beyond it are not counted until the next minute.
    """

    def __init__(self, per_minute: int, monotonic: Callable[[], float]) -> None:
        self._per_minute = per_minute
        self._monotonic = monotonic
        self._minute = 0
        self._failures: dict[str, int] = {}

    def check(self, peer: str) -> None:
        """Refuse an address that has failed too often.

        Raises:
            DownstreamError: ``rate_limited``.
        """
        self._turn()
        if self._failures.get(peer, 0) >= self._per_minute:
            wait = 60 - int(self._monotonic()) % 60
            raise DownstreamError("rate_limited", "Too many failed authentications; wait.", retry_after_s=max(1, wait))

    def note(self, peer: str) -> None:
        """Count a failure."""
        self._turn()
        if len(self._failures) < _FAILURES_KEPT or peer in self._failures:
            self._failures[peer] = self._failures.get(peer, 0) + 1

    def _turn(self) -> None:
        minute = int(self._monotonic()) // 60
        if minute != self._minute:
            self._minute = minute
            self._failures.clear()


class Authenticator:
    """Finds the key that a request presents."""

    def __init__(self, store: InferenceStore, now: Callable[[], int], failures: FailureLimit) -> None:
        self._store = store
        self._now = now
        self._failures = failures

    async def authenticate(self, headers: Iterable[tuple[bytes, bytes]], peer: str) -> KeyRecord:
        """Return the key of a request.

        The secret is digested before anything looks at it: only its SHA-256 reaches caches and SQL. Only failures are
        ever told to wait: many agents may share an address, and one with a broken key must not shut the others out.

        Raises:
            DownstreamError: ``invalid_api_key``, ``ambiguous_credentials``, ``rate_limited``.
            GatewayError: ``store_unavailable``.
        """
        try:
            record = await self._store.find_key(presented_key(headers).digest())
            if record is None or not _is_valid(record, self._now()):
                raise invalid_key()
        except DownstreamError:
            self._failures.check(peer)
            self._failures.note(peer)
            raise
        return record


def _is_valid(record: KeyRecord, now: int) -> bool:
    return record.revoked_at is None and (record.expires_at is None or record.expires_at > now)

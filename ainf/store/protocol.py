"""What an exchange needs of the store, as a protocol."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

from ainf.store.base import (
    AttemptOpened,
    AttemptOpening,
    Closing,
    Extended,
    Extension,
    FoundClaim,
    KeyRecord,
    Opened,
    Opening,
    Progress,
    ProgressSeen,
    Rejection,
    Settlement,
    StoredResponse,
    Unrouted,
)
from ainf.store.spooled import SpooledClosing
from ainf.store.transaction import Transaction

T = TypeVar("T")


class InferenceStore(Protocol):
    """What an exchange needs of the store.

    Under cancellation: an operation is cancellable only until it is queued; from then on it is awaited to its end, so
    that a caller never holds an answer "maybe committed". Every wait is bounded by the store's ``wait_s``.
    """

    @property
    def admits(self) -> bool:
        """Whether openings are taken: not while it cannot show that it lives, or has no room to settle in."""
        ...

    @property
    def epoch(self) -> int:
        """The epoch in which this process goes on."""
        ...

    async def find_key(self, digest: bytes) -> KeyRecord | None:
        """Return the key with this SHA-256 digest; cached, so that it costs nothing on the hot path.

        Raises:
            GatewayError: ``store_unavailable``.
        """
        ...

    async def open_inference(self, opening: Opening) -> Opened:
        """Set the hold aside and record the opening, durably.

        Raises:
            SpendError: ``spend_cap_exceeded``, ``insufficient_funds``; nothing was written.
            DownstreamError: ``invalid_api_key``: revoked or expired since it was looked up;
                ``idempotency_in_progress``: its idempotency key is in use; nothing was written.
            GatewayError: ``store_unavailable``: nothing is open, or what was queued will be closed at zero.
        """
        ...

    async def open_attempt(self, opening: AttemptOpening) -> AttemptOpened:
        """Set aside what another attempt of an open exchange needs, and record it, durably; it may be dialled then.

        Raises:
            GatewayError: ``store_unavailable``: it must not be dialled; what was queued is released by the closing.
        """
        ...

    async def note_unrouted(self, unrouted: Unrouted) -> None:
        """Record the outcome of a request for a routing target that is not admitted, durably.

        Raises:
            GatewayError: ``store_unavailable``.
        """
        ...

    async def extend_hold(self, extension: Extension) -> Extended:
        """Add to a hold as far as the caps allow, durably.

        Raises:
            GatewayError: ``store_unavailable``.
        """
        ...

    async def close_inference(self, closing: Closing) -> Settlement:
        """Settle: entries, settlement and audit event in one transaction; a repeated closing returns the first's.

        Raises:
            GatewayError: ``store_unavailable``: not known to be settled; recovery will.
        """
        ...

    async def spool(self, record: SpooledClosing) -> Settlement:
        """Keep a closing durably that the database does not take; it is settled, as it is, when that is back.

        Under cancellation: gives up waiting for the disk.

        Raises:
            GatewayError: ``store_unavailable``: it cannot be kept either; ``owe`` it.
        """
        ...

    def owe(self, closing: Closing) -> None:
        """Settle what can neither be committed nor kept now as soon as the database takes it; never waits."""
        ...

    async def record_progress(self, progress: Sequence[Progress]) -> ProgressSeen:
        """Make the progress of the running exchanges durable, in one transaction.

        Raises:
            GatewayError: ``store_unavailable``.
        """
        ...

    def note_rejection(self, rejection: Rejection) -> None:
        """Queue an audit event ``rejected`` without waiting; over a bound they fold into one with a count."""
        ...

    async def receipt(self, inference_id: str) -> dict[str, Any] | None:
        """Return the receipt of an exchange, open or closed (its keys are the wire's), or None.

        Raises:
            GatewayError: ``store_unavailable``.
        """
        ...

    async def report(self, operation: Callable[[Transaction], T]) -> T:
        """Run a synchronous operation that only reads, and may read very much: one at a time, beside all others.

        Raises:
            GatewayError: ``store_unavailable``: the database cannot be read, or not in time.
            AinfError: the operation's refusal.
        """
        ...

    async def find_claim(self, key_id: str, path: str, idempotency_key: str) -> FoundClaim | None:
        """Return what is known of an idempotency key; None where it was not used, or is forgotten.

        Raises:
            GatewayError: ``store_unavailable``.
        """
        ...

    async def find_response(self, response_id: str, account_id: str) -> StoredResponse | None:
        """Return the exchange that an account completed with a provider's response id (the newest if several), or None.

        Another account's response is as unknown as one that never was.

        Raises:
            GatewayError: ``store_unavailable``.
        """
        ...

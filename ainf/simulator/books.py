"""The simulator's own books: what it was asked, produced and billed, and when it saw the client leave.

Times are trio's clock. A provider bills what it had produced when it saw the cancel, so that is what is billed here:
the input once a model was at work and a 200 head was sent or a token produced, and every token produced, sent or not.
One that goes on (``bills-on``) bills the rest too; the books have it as soon as the client has left.
A refusal bills nothing, nor does a 200 that no model made (``html-200`` and its like).
"""

import base64
import hashlib
from collections import deque
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final

import attrs

# Headers worth keeping: they tell one request of the gateway (and one try of an SDK) from another.
_KEPT_HEADERS: Final = (
    "x-ainf-inference-id",
    "x-client-request-id",
    "x-request-id",
    "idempotency-key",
    "x-stainless-retry-count",
    "user-agent",
    "accept",
    "accept-encoding",
    "content-type",
    "anthropic-version",
    "anthropic-beta",
)
_CREDENTIALS: Final = ("authorization", "x-api-key", "x-goog-api-key")


class End(StrEnum):
    """How the simulator's side of a request ended."""

    COMPLETED = "completed"
    """Every step was played (which may include a broken answer)."""
    CANCELLED = "cancelled"
    """The client closed or reset the connection first."""
    RESET = "reset"
    """The simulator reset the connection."""
    CLOSED = "closed"
    """The simulator closed the connection before its answer was whole."""
    ABORTED = "aborted"
    """The simulator itself was stopped."""


@attrs.define
class Entry:
    """One request. Filled in while it runs; ``ended_at`` is None until it is over."""

    number: int
    """Counts every request to a provider's endpoint, from 1."""
    received_at: float
    method: str
    path: str
    headers: Mapping[str, str]
    """The few that matter; never a credential."""
    authorization_sha256: str | None
    """The first 16 hex digits of the credential's digest."""
    model: str | None = None
    stream: bool | None = None
    max_tokens: int | None = None
    input_tokens: int = 0
    """What the request's messages come to."""
    request_body: bytes | None = attrs.field(default=None, repr=False)
    """Kept only with ``keep_bytes``."""
    model_ran: bool = False
    """Whether a model was set to work (or a script in its place)."""
    bills_on: bool = False
    """Whether it goes on to the end of its answer for a client that has left."""
    status: int | None = None
    """The first status that was final (not 1xx)."""
    head_sent_at: float | None = None
    output_tokens: int = 0
    """Produced so far."""
    text_bytes: int = 0
    wire_bytes: int = 0
    """All bytes written, heads and framing included."""
    finish_sent: bool = False
    usage_sent: bool = False
    client_closed_at: float | None = None
    """When the simulator saw the client go, if that ended the request."""
    ended_at: float | None = None
    end: End | None = None
    written: bytearray | None = attrs.field(default=None, repr=False)
    """Exactly the bytes written; kept only with ``keep_bytes``."""

    @property
    def billed_input_tokens(self) -> int:
        """The input tokens that this request is charged for."""
        began = self.status == 200 or self.output_tokens > 0
        return self.input_tokens if self.model_ran and began else 0

    @property
    def billed_output_tokens(self) -> int:
        """The output tokens that this request is charged for."""
        return self.output_tokens

    def as_json(self) -> dict[str, Any]:
        """Return the entry as JSON values; kept bytes are in base64."""
        values = attrs.asdict(self)
        for name in ("request_body", "written"):
            kept = values[name]
            values[name] = None if kept is None else base64.b64encode(kept).decode("ascii")
        values["billed_input_tokens"] = self.billed_input_tokens
        values["billed_output_tokens"] = self.billed_output_tokens
        return values


@attrs.define
class Totals:
    """Sums over entries."""

    requests: int = 0
    open: int = 0
    completed: int = 0
    cancelled: int = 0
    other_ends: int = 0
    billed_input_tokens: int = 0
    billed_output_tokens: int = 0
    text_bytes: int = 0
    wire_bytes: int = 0

    def add(self, entry: Entry) -> None:
        """Add one entry."""
        self.requests += 1
        match entry.end:
            case None:
                self.open += 1
            case End.COMPLETED:
                self.completed += 1
            case End.CANCELLED:
                self.cancelled += 1
            case _:
                self.other_ends += 1
        self.billed_input_tokens += entry.billed_input_tokens
        self.billed_output_tokens += entry.billed_output_tokens
        self.text_bytes += entry.text_bytes
        self.wire_bytes += entry.wire_bytes


class Books:
    """Every request, in the order in which they came.

    Args:
        keep_bytes: keep the body received and the bytes written of each request.
        max_entries: older entries are folded into the totals and forgotten.
    """

    def __init__(self, *, keep_bytes: bool = False, max_entries: int = 100_000) -> None:
        self.keep_bytes = keep_bytes
        self.entries: deque[Entry] = deque()
        self._max_entries = max_entries
        self._folded = Totals()
        self._last_number = 0

    def open_entry(self, *, now: float, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Entry:
        """Enter a request; ``headers`` are all of its headers, of which the telling ones are kept."""
        self._last_number += 1
        credential = next((headers[name] for name in _CREDENTIALS if name in headers), None)
        entry = Entry(
            number=self._last_number,
            received_at=now,
            method=method,
            path=path,
            headers={name: headers[name] for name in _KEPT_HEADERS if name in headers},
            authorization_sha256=_digest(credential) if credential else None,
            request_body=body if self.keep_bytes else None,
            written=bytearray() if self.keep_bytes else None,
        )
        self.entries.append(entry)
        if len(self.entries) > self._max_entries:
            self._folded.add(self.entries.popleft())
        return entry

    def totals(self) -> Totals:
        """Return the sums over all entries, forgotten ones included."""
        totals = attrs.evolve(self._folded)
        for entry in self.entries:
            totals.add(entry)
        return totals

    def clear(self) -> None:
        """Forget every entry and sum; numbers start at 1 again."""
        self.entries.clear()
        self._folded = Totals()
        self._last_number = 0

    def as_json(self) -> dict[str, Any]:
        """Return entries and totals as JSON values."""
        return {"entries": [entry.as_json() for entry in self.entries], "totals": attrs.asdict(self.totals())}


def _digest(credential: str) -> str:
    return hashlib.sha256(credential.encode("latin-1")).hexdigest()[:16]

"""One answer that several clients may read: what an exchange says, kept for those who come while it runs.

An exchange with an idempotency key speaks to a ``Transcript`` instead of a client. Everyone who wants its answer, the
first client too, attaches a ``TranscriptReader``, which begins at the beginning and goes on at its client's own pace.

Strategy: while the whole answer is inside the limit everything is kept, and anybody may attach. Beyond it the front is
dropped as the slowest reader passes it, so nobody new can attach; the writer waits while the slowest reader is behind
by more than the limit, and where nobody reads nothing is kept. What a reader was given counts as passed when it comes
for more.
"""

import trio

from ainf.exchange.plan import Headers


class Transcript:
    """Implements ``Downstream`` for any number of readers, none included.

    ``write`` waits for the slowest reader, and has handed nothing over when it is cancelled; all else never waits for
    anybody.

    Args:
        limit: the most bytes of body that are kept.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._pieces: list[bytes] = []
        self._first = 0  # the number of the first piece that is kept
        self._said_bytes = 0
        self._readers: set[TranscriptReader] = set()
        self._news = trio.lowlevel.ParkingLot()
        self._room = trio.lowlevel.ParkingLot()
        self._attendance = trio.lowlevel.ParkingLot()
        self.head: tuple[int, Headers] | None = None
        self.ended = False
        """All was said."""
        self.aborted = False
        """No end will be said."""

    # --- the exchange's side ---

    async def start(self, status: int, headers: Headers) -> None:
        """Give the head."""
        await trio.lowlevel.checkpoint()
        self.head = (status, tuple(headers))

    async def write(self, data: bytes) -> None:
        """Give more of the body, when the slowest reader is near enough."""
        await trio.lowlevel.checkpoint()
        while self._is_held_up():
            await self._room.park()
        self._say(data)

    async def beat(self, data: bytes) -> None:
        """Do nothing: whoever reads beats by itself, and a heartbeat is not told again."""
        del data
        await trio.lowlevel.checkpoint()

    async def finish(self, data: bytes) -> None:
        """Give the last of the body. It waits for nobody: what an end holds is bounded."""
        await trio.lowlevel.checkpoint()
        self._say(data)
        self.ended = True
        self._news.unpark_all()

    def abort(self) -> None:
        """Say no more; readers are told that no end will come. Nothing where it has ended."""
        if not self.ended:
            self.aborted = True
            self._first = self.next_number
            self._pieces.clear()
            self._news.unpark_all()
            self._room.unpark_all()

    def told(self, end: bytes) -> bytes | None:
        """Return the whole body with ``end`` behind what was said; None where it is too large to be kept.

        See ``Downstream.told``.
        """
        if self._said_bytes + len(end) > self._limit:
            return None
        return b"".join([*self._pieces, end])

    # --- the readers' side ---

    @property
    def is_whole(self) -> bool:
        """Whether everything that was said is kept, so that a reader can begin."""
        return self._said_bytes <= self._limit

    @property
    def reader_count(self) -> int:
        """How many read now."""
        return len(self._readers)

    def attach(self) -> "TranscriptReader":
        """Return a reader at the beginning; ``is_whole`` must hold."""
        assert self.is_whole, "the beginning is gone"
        reader = TranscriptReader(self)
        self._readers.add(reader)
        self._attendance.unpark_all()
        return reader

    def detach(self, reader: "TranscriptReader") -> None:
        """Forget a reader: the writer waits for it no more."""
        self._readers.discard(reader)
        self._attendance.unpark_all()
        self.passed()

    def passed(self) -> None:
        """Note that a reader has come further, or left: drop what nobody needs, and let the writer go on."""
        if self.is_whole or self.aborted:
            return
        needed = min((reader.number for reader in self._readers), default=self.next_number)
        del self._pieces[: needed - self._first]
        self._first = needed
        self._room.unpark_all()

    async def wait_unread(self) -> None:
        """Wait until nobody reads. Cancelling it loses nothing."""
        while self._readers:
            await self._attendance.park()

    async def wait_read(self) -> None:
        """Wait until somebody reads. Cancelling it loses nothing."""
        while not self._readers:
            await self._attendance.park()

    @property
    def next_number(self) -> int:
        """The number of the piece that is said next."""
        return self._first + len(self._pieces)

    def said_before(self, number: int) -> bytes | None:
        """Return all that was said before a piece; None where it is not kept any more."""
        return b"".join(self._pieces[:number]) if self.is_whole and not self.aborted else None

    async def pieces_from(self, number: int) -> list[bytes]:
        """Return the pieces from one on, which is kept or the next to come; none only where no more is said.

        Waits for the first of them; cancelling it loses nothing.
        """
        while number == self.next_number and not (self.ended or self.aborted):
            await self._news.park()
        return self._pieces[number - self._first :]

    def _say(self, data: bytes) -> None:
        if self.aborted:
            return
        if data:
            self._pieces.append(data)
            self._said_bytes += len(data)
            self.passed()
        self._news.unpark_all()

    def _is_held_up(self) -> bool:
        if self.is_whole or self.aborted or not self._readers:
            return False
        return self._said_bytes - min(reader.passed_bytes for reader in self._readers) > self._limit


class TranscriptReader:
    """One reader's place in a transcript."""

    def __init__(self, transcript: Transcript) -> None:
        self._transcript = transcript
        self._in_hand: tuple[int, int] = (0, 0)
        self.number = 0
        """The first piece that it has not passed."""
        self.passed_bytes = 0

    @property
    def is_over(self) -> bool:
        """Whether what it was given last is the last of all; the transcript has ended."""
        pieces, _ = self._in_hand
        return self._transcript.ended and self.number + pieces == self._transcript.next_number

    async def receive(self) -> bytes:
        """Return what was said since the last call, all of it; empty only where no more is said.

        Cancelling it loses nothing: what it would have given is given by the next call.
        """
        pieces, size = self._in_hand
        self._in_hand = (0, 0)
        self.number += pieces
        self.passed_bytes += size
        if pieces:
            self._transcript.passed()
        given = await self._transcript.pieces_from(self.number)
        data = b"".join(given)
        self._in_hand = (len(given), len(data))
        return data

    def close(self) -> None:
        """Leave; idempotent."""
        self._transcript.detach(self)

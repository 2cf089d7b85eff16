"""What stands by for when the database is away or full: a spool for closings, and a ballast for room on its disk."""

from collections.abc import Callable
from pathlib import Path

import attrs
import trio

from ainf.store.ballast import Ballast, ballast_path
from ainf.store.batch import unavailable
from ainf.store.spool import Disk, Replayed, Settle, Spool, ThreadDisk
from ainf.store.spooled import SpooledClosing


@attrs.frozen
class ReserveTerms:
    """Where they are, and how large."""

    spool: Path | None = None
    """What the paths of the spool's files begin with; None: there is no spool."""
    ballast_bytes: int = 0
    """0: there is no ballast."""
    disk: Callable[[], Disk] = ThreadDisk
    """How the spool's disk is waited for."""

    def ballast_beside(self, database: str) -> Ballast | None:
        """Return the ballast of a database, not in place yet."""
        return Ballast(ballast_path(database), self.ballast_bytes) if self.ballast_bytes else None


class Reserves:
    """The reserves of one process. Where there is no spool or no ballast, what asks for it gets the answer of none."""

    def __init__(self, spool: Spool | None = None, ballast: Ballast | None = None, *, wait_s: float = 0) -> None:
        """Join the parts; ``wait_s`` is the longest that the ballast's disk is waited for."""
        self._spool = spool
        self._ballast = ballast
        self._wait_s = wait_s

    @classmethod
    async def open(cls, terms: ReserveTerms, ballast: Ballast | None, *, wait_s: float) -> "Reserves":
        """Make the spool, and put the ballast in place, where there is room for it.

        Raises:
            SpoolError: the spool cannot be made.
        """
        spool = None if terms.spool is None else await Spool.open(terms.spool, wait_s=wait_s, disk=terms.disk)
        reserves = cls(spool, ballast, wait_s=wait_s)
        await reserves.restore_ballast()
        return reserves

    async def aclose(self) -> None:
        """Let go of them; what waits in the spool, and the ballast, stay where they are."""
        if self._spool is not None:
            await self._spool.aclose()

    def hurry(self, wait_s: float) -> None:
        """Let nothing wait longer than this for a disk any more: the process is to end."""
        self._wait_s = min(self._wait_s, wait_s)
        if self._spool is not None:
            self._spool.hurry(wait_s)

    @property
    def admits(self) -> bool:
        """Whether there is the room that running exchanges need to be settled: only then may others be opened."""
        return self._ballast is None or self._ballast.is_in_place

    @property
    def waiting(self) -> int:
        """How many closings of this process wait in the spool."""
        return 0 if self._spool is None else self._spool.waiting

    @property
    def fault(self) -> str | None:
        """Why the ballast is not in place, where that is so."""
        if self._ballast is None or self._ballast.is_in_place:
            return None
        return "The disk is full." if self._ballast.fault is None else self._ballast.fault.strerror

    async def append(self, record: SpooledClosing) -> None:
        """Keep a closing durably: ``Spool.append``.

        Raises:
            GatewayError: ``store_unavailable``: it cannot be kept, or there is no spool.
        """
        if self._spool is None:
            raise unavailable()
        await self._spool.append(record)

    async def find(self, inference_id: str) -> SpooledClosing | None:
        """Return the closing of an exchange that waits in the spool of this process: ``Spool.find``."""
        if self._spool is None or not self._spool.holds(inference_id):
            return None
        return await self._spool.find(inference_id)

    async def replay(self, settle: Settle) -> None:
        """Settle what waits: ``Spool.replay``."""
        if self._spool is not None:
            await self._spool.replay(settle)

    def take_replayed(self) -> Replayed:
        """Return what came of all replays since this was called last: ``Spool.take_replayed``."""
        return Replayed() if self._spool is None else self._spool.take_replayed()

    async def restore_ballast(self) -> None:
        """Put the ballast back where there is room; do little where it is in place.

        Under cancellation: gives up waiting, as it does after a while; it may still be put back.
        """
        if self._ballast is not None:
            with trio.move_on_after(self._wait_s):
                await trio.to_thread.run_sync(self._ballast.restore, abandon_on_cancel=True)

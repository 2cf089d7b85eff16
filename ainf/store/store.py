"""The store: durable records behind one object, over SQLite or memory.

Two transactions an exchange, its opening and its closing, plus extensions; everything that is written goes through the
group-commit writer, everything that is only read goes beside it.
"""

import os
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, suppress
from functools import partial
from typing import Any, Final, TypeVar

import trio

from ainf.calibration import Calibration
from ainf.inference.errors import DownstreamError, GatewayError
from ainf.inference.outcome import Ending, Evidence
from ainf.inference.usage import Usage
from ainf.store import calibrations, claims, exchanges, recovery, routing
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
from ainf.store.batch import unavailable
from ainf.store.epochs import end_epoch
from ainf.store.keys import KeyCache, find_key
from ainf.store.leases import Lease
from ainf.store.parts import LeaseTerms, Opener, let_others_in
from ainf.store.reader import Reader
from ainf.store.receipts import receipt, spooled_receipt
from ainf.store.rejections import Rejections, append_rejections
from ainf.store.reserves import Reserves, ReserveTerms
from ainf.store.responses import find_response
from ainf.store.settling import close_inference
from ainf.store.spool import Replayed
from ainf.store.spooled import SpooledClosing
from ainf.store.sqlite import LockFile, real_path
from ainf.store.transaction import Transaction
from ainf.store.writer import Writer

T = TypeVar("T")

WAIT_S: Final = 5.0
FLUSH_S: Final = 1.0
"""How often a rejection may make a commit of its own; between, they wait for the next that comes anyway."""
FLUSHES: Final = 16
"""How many commits of rejections may wait for the database; what is noted behind them folds."""
RECOVERY_BATCH: Final = 200


def end_process(error: BaseException) -> None:
    """End this process at once: what is durable is no longer known here, and recovery will find out."""
    print(f"ainf: the ledger's writer died: {error!r}", file=sys.stderr, flush=True)  # noqa: T201 - nothing else may work
    os._exit(70)


class Store:
    """Implements ``base.InferenceStore``; made by ``Store.open``, or by hand over other parts."""

    def __init__(
        self,
        writer: Writer,
        reader: Reader,
        *,
        now: Callable[[], int],
        lease: Lease | None = None,
        lock: LockFile | None = None,
        reserves: Reserves | None = None,
    ) -> None:
        """Join the parts.

        Args:
            writer: what every write goes through.
            reader: what every read goes through.
            now: microseconds since 1970 UTC.
            lease: this process's own; None: it shows nobody that it lives, and need not.
            lock: on the database; None: it is not shared, or only for a moment.
            reserves: what stands by for when the database is away or full; None: nothing.
        """
        self._reserves = reserves or Reserves()
        self._lease = lease
        self._lock = lock
        self._writer = writer
        self._reader = reader
        self._now = now
        self._keys = KeyCache()
        self._rejections = Rejections()
        self._flushed_at = -FLUSH_S
        self._flushing = 0

    @classmethod
    @asynccontextmanager
    async def open(  # noqa: PLR0913 - each has a default of its own and is given by its name
        cls,
        url: str,
        *,
        now: Callable[[], int],
        kind: str = "gateway",
        wait_s: float = WAIT_S,
        on_fatal: Callable[[BaseException], None] = end_process,
        terms: LeaseTerms | None = None,
        reserves: ReserveTerms | None = None,
    ) -> "AsyncIterator[Store]":
        """Open the store, begin this process's epoch, and close both in good order at the end.

        Args:
            url: "sqlite:<path>" (made where it is not there) or "memory:".
            now: microseconds since 1970 UTC.
            kind: "gateway", of which a database has one at a time unless it is shared, or "command".
            wait_s: the longest that any call waits.
            on_fatal: called once when the writer has died; must end the process.
            terms: of its lease, which ``renew_lease`` keeps; None: it has none, and the database is not shared.
            reserves: of a spool and a ballast; None: there are none.

        Raises:
            ValueError: the URL names no store.
            LockedError, LinkedError: another gateway uses the database; its file has several names.
            SchemaError: it was written by a newer version, or has an older schema, and another gateway uses it.
            apsw.Error: the database cannot be opened or written.
            SpoolError: the spool cannot be made.
            OSError: the copy of it that is kept before its schema changes cannot be made.
        """
        scheme, _, path = url.partition(":")
        opener = Opener(kind, now, wait_s, on_fatal, terms)
        with ExitStack() as stack:
            lock: LockFile | None = None
            given, ballast = reserves or ReserveTerms(), None
            if scheme == "memory":
                parts = opener.open_memory()
            elif scheme == "sqlite" and path:
                path = real_path(path)
                if kind == "gateway":
                    lock = await opener.take_lock(path)
                    stack.callback(lock.release)
                ballast = given.ballast_beside(path)
                parts = await opener.open_sqlite(path, ballast, lock)
            else:
                raise ValueError(f'{url!r} is not a store; use "sqlite:<path>" or "memory:"')
            try:
                standby = await Reserves.open(given, ballast, wait_s=wait_s)
            except BaseException:
                await parts.aclose()
                raise
            store = cls(parts.writer, parts.reader, now=now, lease=parts.lease, lock=lock, reserves=standby)
            try:
                yield store
            finally:
                await store.aclose()

    async def aclose(self) -> None:
        """Write what is noted, end the epoch and the writer; each within ``wait_s``, whatever is cancelled meanwhile.

        An epoch of which a closing waits in the spool is not ended: the next process has to see to it.
        """
        if self._writer.fatal is None:
            self._flush()
            await self._wait_queued()
        if self._writer.fatal is None and not self._reserves.waiting:
            self._writer.submit_nowait(partial(end_epoch, at=self._now()))
        # First: SQLite's log is written back into the database by whoever closes it last, and a reader cannot.
        self._reader.close()
        await self._writer.aclose()
        await self._reserves.aclose()

    def hurry(self, wait_s: float) -> None:
        """Let nobody wait longer than this any more; see ``Writer.hurry``."""
        self._writer.hurry(wait_s)
        self._reserves.hurry(wait_s)

    # --- any operation ---

    async def read(self, operation: Callable[[Transaction], T]) -> T:
        """Run a synchronous operation in a reading transaction; see ``Reader.read``."""
        return await self._reader.read(operation)

    async def report(self, operation: Callable[[Transaction], T]) -> T:
        """See ``InferenceStore``."""
        return await self._reader.report(operation)

    async def write(self, operation: Callable[[Transaction], T]) -> T:
        """Run a synchronous operation through the writer, durably; see ``Writer.submit``.

        When it raises ``store_unavailable`` because the wait ran out, the operation may yet be committed.
        """
        try:
            return await self._submit(operation)
        finally:
            self._keys.clear()

    # --- exchanges: see InferenceStore ---

    async def find_key(self, digest: bytes) -> KeyRecord | None:
        """See ``InferenceStore``."""
        record = self._keys.get(digest, trio.current_time())
        if record is None:
            moment = trio.current_time()
            record = await self._reader.read(partial(find_key, digest=digest))
            if record is not None:
                self._keys.put(digest, record, moment)
        return record

    async def open_inference(self, opening: Opening) -> Opened:
        """See ``InferenceStore``."""
        if not self.admits:
            raise unavailable()
        try:
            return await self._submit(
                self._with_room(partial(exchanges.open_inference, opening=opening)),
                undo=partial(_close_at_zero, opening=opening),
            )
        except DownstreamError as error:
            if error.code == "invalid_api_key":
                # The key was ended by another process: what is kept of it is old.
                self._keys.clear()
            raise

    async def open_attempt(self, opening: AttemptOpening) -> AttemptOpened:
        """See ``InferenceStore``; what is committed too late is never dialled, and released by the closing."""
        return await self._submit(self._with_room(partial(exchanges.open_attempt, opening=opening)))

    async def note_unrouted(self, unrouted: Unrouted) -> None:
        """See ``InferenceStore``."""
        await self._submit(partial(routing.note_unrouted, unrouted=unrouted))

    async def extend_hold(self, extension: Extension) -> Extended:
        """See ``InferenceStore``."""
        return await self._submit(partial(exchanges.extend_hold, extension=extension))

    async def close_inference(self, closing: Closing) -> Settlement:
        """See ``InferenceStore``; one whose wait ran out is settled as soon as the writer comes to it."""
        return await self._submit(partial(close_inference, closing=closing), unattended=True)

    async def spool(self, record: SpooledClosing) -> Settlement:
        """See ``InferenceStore``."""
        await self._reserves.append(record)
        return record.settlement()

    def owe(self, closing: Closing) -> None:
        """See ``InferenceStore``."""
        self._writer.owe(partial(close_inference, closing=closing))

    async def record_progress(self, progress: Sequence[Progress]) -> ProgressSeen:
        """See ``InferenceStore``."""
        return await self._submit(partial(exchanges.record_progress, progress=progress, at=self._now()))

    def note_rejection(self, rejection: Rejection) -> None:
        """See ``InferenceStore``."""
        self._rejections.note(rejection)
        if self._writer.fatal is None and trio.current_time() >= self._flushed_at + FLUSH_S:
            self._flush()

    async def receipt(self, inference_id: str) -> dict[str, Any] | None:
        """See ``InferenceStore``; of one whose closing waits in the spool it is made from that."""
        spooled = await self._reserves.find(inference_id)
        found = None
        try:
            found = await self._reader.read(partial(receipt, inference_id=inference_id))
        except GatewayError:
            if spooled is None:
                raise
        return found if spooled is None else spooled_receipt(spooled, found)

    async def find_response(self, response_id: str, account_id: str) -> StoredResponse | None:
        """See ``InferenceStore``."""
        return await self._reader.read(partial(find_response, response_id=response_id, account_id=account_id))

    async def find_claim(self, key_id: str, path: str, idempotency_key: str) -> FoundClaim | None:
        """See ``InferenceStore``."""
        find = partial(claims.find, key_id=key_id, path=path, idempotency_key=idempotency_key, at=self._now())
        return await self._reader.read(find)

    async def forget_claims(self, at: int, most: int) -> int:
        """Forget idempotency keys that have expired, with their answers; at most so many.

        Returns:
            How many were forgotten; fewer than ``most``: that was all.

        Raises:
            GatewayError: ``store_unavailable``.
        """
        return await self._submit(partial(claims.purge, at=at, most=most))

    async def calibrations(self) -> dict[str, Calibration]:
        """Return what is kept of models' bytes per token, by their configured names.

        Raises:
            GatewayError: ``store_unavailable``.
        """
        return await self._reader.read(calibrations.load)

    async def add_calibrations(self, learnt: Mapping[str, Calibration]) -> dict[str, Calibration]:
        """Add what was newly learnt of models, durably; return what is kept of them now.

        Raises:
            GatewayError: ``store_unavailable``.
        """
        return await self._submit(partial(calibrations.add, learnt=learnt, at=self._now()))

    # --- leases ---

    @property
    def admits(self) -> bool:
        """See ``InferenceStore``."""
        return (self._lease is None or self._lease.is_held) and self._reserves.admits

    @property
    def epoch(self) -> int:
        """The epoch in which this process goes on, as far as it knows; 0 where it has no lease."""
        return 0 if self._lease is None else self._lease.epoch

    async def renew_lease(self) -> bool:
        """Show that this process lives.

        Returns:
            Whether it had been taken for dead, and goes on in a new epoch: what it opened before is not its own now.

        Raises:
            GatewayError: ``store_unavailable``.
        """
        assert self._lease is not None, "it has no lease"
        return self._lease.note(await self._submit(self._lease.renew))

    async def reap(self, at: int) -> list[str]:
        """Close what other processes left open that are dead now; return the ids of what was closed.

        Nothing is done where the database is not shared, or this process may itself have been out of touch lately.

        Raises:
            GatewayError: ``store_unavailable``.
        """
        if self._lease is None or not self._lease.is_shared or not self._lease.may_reap:
            return []
        return await self._abandon(await self._submit(partial(recovery.fence_dead, at=at, lease=self._lease)), at)

    async def recover(self, at: int) -> list[str]:
        """Close what dead processes left open; return the ids of what was closed. To be run before listening.

        Where no other process has the database, all others are dead; where it is shared, it is so from here on. Beside
        others it is not known yet whose lease ran out because they died: that is found out by ``reap``.
        Under cancellation: stops between batches; what is left is found again by the next start.

        Raises:
            GatewayError: ``store_unavailable``.
            LockedError: another process came in between that has the database for itself now.
            SchemaError: one that came in between changed its schema.
        """
        is_alone = self._lock is None or self._lock.is_alone
        lease = None if is_alone else self._lease
        closed = await self._abandon(await self._submit(partial(recovery.fence_dead, at=at, lease=lease)), at)
        if self._lock is not None:
            await let_others_in(self._lock, self._reader)
        return closed

    # --- reserves ---

    @property
    def reserves(self) -> Reserves:
        """What stands by for when the database is away or full."""
        return self._reserves

    async def replay_spool(self) -> Replayed:
        """Settle what waits in this process's spool, and in those of processes that are dead; cheap where nothing does.

        Each closing is an operation of its own and settles by its id: dying in the middle of it, or two processes that
        do it, change nothing. What the ledger cannot take for a defect is settled blindly, and kept for people. Returns
        what came of all replays since it was last taken. Under cancellation: stops between two; the rest waits on.

        Raises:
            GatewayError: ``store_unavailable``: the database or the spool's disk; the rest waits on.
        """
        await self._reserves.replay(self._settle)
        return self._reserves.take_replayed()

    # --- inside ---

    async def _wait_queued(self) -> None:
        """Wait for what is queued, ``wait_s`` at most: what comes too late for its client can still be taken back."""
        with trio.CancelScope(shield=True), suppress(Exception):  # whatever becomes of a job that does nothing
            await self._writer.submit(lambda _: None, unattended=True)

    async def _settle(self, record: SpooledClosing) -> Exception | None:
        """Settle a closing that waited; one that the ledger cannot take (a defect) blindly, as its end was told.

        Returns:
            The defect.

        Raises:
            GatewayError: ``store_unavailable``.
            Exception: another defect, because of which it cannot be settled at all.
        """
        try:
            await self.close_inference(record.told)
        except GatewayError:
            raise
        except Exception as defect:  # noqa: BLE001 - whatever it is, it must be settled
            await self.close_inference(record.blind)
            return defect
        return None

    async def _abandon(self, left: Sequence[str], at: int) -> list[str]:
        """Close what dead processes left open, but for what ended: what that came to is in their spools.

        Raises:
            GatewayError: ``store_unavailable``.
            ExceptionGroup: of defects; all that can be closed is.
        """
        if left:
            await self._reserves.replay(self._settle)
        closed: list[str] = []
        defects: list[Exception] = []
        for start in range(0, len(left), RECOVERY_BATCH):
            operations = [
                partial(recovery.abandon, inference_id=id_, at=at) for id_ in left[start : start + RECOVERY_BATCH]
            ]
            try:
                settled = await self._writer.submit_all(operations)
            except GatewayError:
                raise
            except Exception as defect:  # noqa: BLE001 - whatever it is, the others must be closed
                defects.append(defect)
            else:
                closed += [settlement.inference_id for settlement in settled if settlement is not None]
        if defects:
            raise ExceptionGroup("what was left open cannot be closed", defects)
        return closed

    async def _submit(
        self,
        operation: Callable[[Transaction], T],
        *,
        undo: Callable[[Transaction, T], object] | None = None,
        unattended: bool = False,
    ) -> T:
        self._flush()
        return await self._writer.submit(operation, undo=undo, unattended=unattended)

    def _with_room(self, operation: Callable[[Transaction], T]) -> Callable[[Transaction], T]:
        """Let an operation be refused for want of room, also where the disk turns out to be full while it waits.

        Raises:
            GatewayError: ``store_unavailable``: it is refused already.
        """
        if not self._reserves.admits:
            raise unavailable()
        return partial(_refused_without_room, reserves=self._reserves, operation=operation)

    def _flush(self) -> None:
        """Put what was noted into the next batch."""
        if self._flushing >= FLUSHES:
            return
        notes = self._rejections.take()
        if notes and self._writer.fatal is None:
            self._flushed_at = trio.current_time()
            self._flushing += 1
            self._writer.submit_nowait(partial(append_rejections, notes=notes), self._note_flushed)

    def _note_flushed(self, _: object) -> None:
        self._flushing -= 1


def _refused_without_room(tx: Transaction, reserves: Reserves, operation: Callable[[Transaction], T]) -> T:
    if not reserves.admits:
        raise unavailable()
    return operation(tx)


def _close_at_zero(tx: Transaction, opened: Opened, opening: Opening) -> None:
    """Settle an opening that was committed after its caller had been told that the store is away."""
    closing = Closing(
        inference_id=opening.inference_id,
        at=opening.at,
        ending=Ending.TERMINATED,
        error_code="store_unavailable",
        finish_reason="error",
        usage=Usage(),
        evidence=Evidence.METERED,
        cost_nusd=0,
        output_bytes=0,
        received_bytes=0,
        attempts=(),
        notes={"opened_late": True, "held_nusd": opened.held_nusd},
    )
    close_inference(tx, closing)

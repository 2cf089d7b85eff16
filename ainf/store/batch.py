"""One transaction for everything that waits: how a batch of operations is run and committed.

Strategy: operations check before they write, so a refusal needs no savepoint; it is only checked that nothing was
written. Any other failure, of an operation or of the commit, undoes the whole batch, and each of its operations is run
again in a transaction of its own: a bug then hits only its own caller. An error that leaves it unknown what is durable
is raised.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final, Generic, TypeVar, cast

import attrs
import trio

from ainf.inference.errors import AinfError, GatewayError
from ainf.store.transaction import Engine, Transaction

T = TypeVar("T")

OUT_OF_TOUCH: Final = "This gateway was out of touch; another one has closed this inference."
"""What is said of an exchange that recovery closed while it ran."""


def unavailable() -> GatewayError:
    """Return the error of a store that cannot be written now."""
    return GatewayError("store_unavailable", "The ledger cannot be written at the moment.", retry_after_s=1)


@attrs.define(eq=False)
class Job(Generic[T]):
    """An operation on its way through the writer."""

    operation: Callable[[Transaction], T]
    undo: Callable[[Transaction, T], object] | None = None
    """What takes a committed result back when nobody waits for it any more."""
    unattended: bool = False
    """Whether it is to run even though nobody waits for it (any more)."""
    on_done: Callable[["Job[T]"], None] | None = None
    """Called on the event loop when there is an outcome."""
    waiter: trio.lowlevel.Task | None = None
    given_up: bool = False
    done: bool = False
    """The outcome stands; set on the event loop."""
    ran: bool = False
    """Committed with ``result``, or refused with ``error``."""
    result: T | None = None
    error: Exception | None = None

    def outcome(self) -> T:
        """Return what the operation returned, or raise what it raised."""
        assert self.done
        if self.error is not None:
            raise self.error
        return cast("T", self.result)


class WroteBeforeRefusingError(AssertionError):
    """An operation wrote rows and then refused: a bug of ours."""


class BatchRunner:
    """Runs batches on one engine; used by one thread at a time."""

    __slots__ = ("_begin", "_engine", "_tx")

    def __init__(self, engine: Engine, tx: Transaction, begin: Callable[[Transaction], None] | None = None) -> None:
        """Join the parts; ``begin`` is what every transaction begins with."""
        self._engine = engine
        self._tx = tx
        self._begin = begin

    def run(self, jobs: Sequence[Job[Any]]) -> None:
        """Commit the jobs that are still wanted, and fill in their outcomes.

        Raises:
            Exception: it is not known what is durable; the process must end.
        """
        wanted = [job for job in jobs if job.unattended or not job.given_up]
        if not wanted:
            return
        try:
            self._engine.begin()
        except Exception as error:
            if not self._engine.is_unavailable(error):
                raise
            for job in wanted:
                job.error = unavailable()
            return
        failure = self._commit(wanted)
        if failure is not None and (self._engine.relieve(failure) or len(wanted) > 1):
            for job in wanted:
                self.run([job])

    def close(self) -> None:
        """Close the engine."""
        self._engine.close()

    def _commit(self, jobs: Sequence[Job[Any]]) -> Exception | None:
        """Run the jobs in the transaction that is open and commit it; else undo it, and return why."""
        head = self._tx.head
        try:
            if self._begin is not None:
                self._begin(self._tx)
            for job in jobs:
                self._run(job)
            self._engine.commit()
        except Exception as error:
            if self._engine.is_fatal(error):
                raise
            self._engine.rollback()
            self._tx.rewind(head)
            for job in jobs:
                job.result, job.ran = None, False
                job.error = unavailable() if self._engine.is_unavailable(error) else error
            return error
        return None

    def _run(self, job: Job[Any]) -> None:
        changes = self._engine.changes()
        job.error = None
        try:
            job.result = job.operation(self._tx)
        except AinfError as refusal:
            if self._engine.changes() != changes:
                raise WroteBeforeRefusingError(str(refusal)) from refusal
            job.error = refusal
        job.ran = True

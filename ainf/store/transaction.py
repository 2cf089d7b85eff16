"""What the store's operations are written against: a transaction that somebody else begins and commits.

An *operation* is a plain synchronous function ``(tx: Transaction, ...) -> result``. It checks first and writes after,
so that a refusal (an ``AinfError``) has written nothing; it does not begin, commit or roll back; it keeps no state of
its own between calls except in ``tx.memo``. Its SQL is standard as far as that goes, with ``?`` for parameters.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeAlias

from ainf import audit

Parameters: TypeAlias = Sequence[str | bytes | int | None]
Row: TypeAlias = tuple[Any, ...]


class Engine(Protocol):
    """One connection to a database; used by one thread at a time."""

    def begin(self) -> None:
        """Begin a transaction (a writing one, where the connection may write)."""
        ...

    def commit(self) -> None:
        """Make the transaction durable."""
        ...

    def rollback(self) -> None:
        """Undo the transaction, if one is open; never raises because there is none."""
        ...

    def execute(self, sql: str, parameters: Parameters = ()) -> list[Row]:
        """Run one statement and return all its rows."""
        ...

    def executemany(self, sql: str, rows: Sequence[Parameters]) -> None:
        """Run one statement for each row of parameters."""
        ...

    def changes(self) -> int:
        """Return a number that grows with every row written: tells whether an operation wrote anything."""
        ...

    def is_unavailable(self, error: BaseException) -> bool:
        """Whether an error says that the database is away (locked, full, read-only): worth asking again later."""
        ...

    def is_fatal(self, error: BaseException) -> bool:
        """Whether an error leaves it unknown what is durable (input/output, corruption): the process must end."""
        ...

    def relieve(self, error: BaseException) -> bool:
        """Do what can be done about an error that says that the disk is full; return whether to try again at once."""
        ...

    def close(self) -> None:
        """Close the connection; a transaction that is open is undone."""
        ...


class Transaction:
    """A transaction in which operations run, one after the other.

    Attributes:
        epoch: the number of this process's life: the fence of what it writes, and the name of its audit chain.
        memo: what operations may remember of rows that they read or wrote and that never change. It is emptied
            whenever anything is rolled back, so it never knows more than the database.
    """

    __slots__ = ("_engine", "_head", "memo")

    def __init__(self, engine: Engine, head: audit.Head) -> None:
        self._engine = engine
        self._head = head
        self.memo: dict[object, Any] = {}

    @property
    def epoch(self) -> int:
        """The epoch that this transaction writes in; 0 where it only reads."""
        return self._head.epoch

    @property
    def head(self) -> audit.Head:
        """The last event of the epoch's audit chain."""
        return self._head

    def execute(self, sql: str, parameters: Parameters = ()) -> list[Row]:
        """Run one statement and return all its rows."""
        return self._engine.execute(sql, parameters)

    def one(self, sql: str, parameters: Parameters = ()) -> Row | None:
        """Run one statement and return its only row, or None; more than one is a bug."""
        rows = self._engine.execute(sql, parameters)
        assert len(rows) <= 1, sql
        return rows[0] if rows else None

    def executemany(self, sql: str, rows: Sequence[Parameters]) -> None:
        """Run one statement for each row of parameters."""
        self._engine.executemany(sql, rows)

    def append_audit(self, kind: str, at: int, inference_id: str | None, body: Mapping[str, Any]) -> audit.Link:
        """Append an event to this epoch's chain; the body gets epoch, seq, kind, at and the inference id added."""
        assert self._head.epoch, "a reading transaction has no audit chain"
        event = audit.next_event(self._head, kind, at, inference_id, body)
        self._engine.execute(
            "INSERT INTO audit_events (epoch, seq, kind, inference_id, at, body, prev_hash, hash)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (event.epoch, event.seq, kind, inference_id, at, event.body, event.prev_hash, event.hash),
        )
        self._head = audit.Head(event.epoch, event.seq, event.hash)
        return audit.Link(event.hash, event.prev_hash)

    def enter(self, epoch: int) -> None:
        """Write in an epoch that was just begun: its chain is empty yet."""
        self._head = audit.Head(epoch)

    def rewind(self, head: audit.Head) -> None:
        """Put the chain back to where it was: for who rolled back."""
        self._head = head
        self.memo.clear()

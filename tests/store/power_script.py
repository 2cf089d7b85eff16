"""A gateway's store at work on a disk that may lose its power, and what must be found there afterwards.

The operations are those of a sequence of what happens to money, with idempotency keys, kept answers and rejections
besides. They are played in memory once, and run again in batches through the writer: they must answer the same. Each
time that a caller is told that something is durable, what the books say then is marked in the disk's log.
"""

import hashlib
import random
from collections.abc import Callable
from typing import Any

import apsw
import attrs
import pytest

from ainf.inference.outcome import Ending
from ainf.store import migrate as migration
from ainf.store.base import Claim, Closing, KeptAnswer, Opening
from ainf.store.batch import Job
from ainf.store.claims import purge
from ainf.store.epochs import begin_epoch
from ainf.store.exchanges import open_inference
from ainf.store.reader import InlineReader
from ainf.store.rejections import Folded, append_rejections
from ainf.store.settling import close_inference
from ainf.store.sqlite import SQLiteEngine
from ainf.store.store import Store
from ainf.store.transaction import Transaction
from ainf.store.verify import verify
from ainf.store.writer import InlineWriter
from tests.store.money_player import Player
from tests.store.money_script import random_script
from tests.store.power import Disk

LARGEST_BATCH = 32
WAIT_S = 5.0
LATER = 4_000_000_000_000_000
"""A time after all that a sequence can tell of."""


@attrs.define(eq=False)
class Ran:
    """An operation that ran, and what it answered."""

    operation: Callable[..., Any]
    args: tuple[Any, ...]
    named: dict[str, Any]
    answer: Any = None

    def again(self, tx: Transaction) -> Any:
        return self.operation(tx, *self.args, **self.named)

    def check(self, job: Job[Any]) -> None:
        assert repr(job.error or job.result) == repr(self.answer), self


@attrs.define
class Life:
    """What one process did: when it began, and its operations in their order."""

    at: int
    ran: list[Ran] = attrs.field(factory=list)


class Recorder(Player):
    """Plays a sequence in memory and keeps what it ran."""

    def __init__(self, rng: random.Random) -> None:
        super().__init__()
        self._rng = rng
        self._epoch = 0
        self.lives: list[Life] = []

    def run(self, operation: Callable[..., Any], *args: Any, **named: Any) -> Any:
        if operation is open_inference:
            args = (self._claiming(*args),)
        elif operation is close_inference:
            args = (self._answering(*args),)
        if self.tx.epoch != self._epoch:
            self._epoch = self.tx.epoch
            ((began,),) = self.engine.execute("SELECT started_at FROM instances WHERE epoch = ?", (self._epoch,))
            self.lives.append(Life(began))
        ran = Ran(operation, args, named)
        self.lives[-1].ran.append(ran)
        ran.answer = super().run(operation, *args, **named)
        return ran.answer

    def pass_time(self, us: int, border: str | None) -> None:
        super().pass_time(us, border)
        if border is not None:
            self.run(purge, at=self.now, most=10)

    def reject(self, key: int, status: str) -> None:
        super().reject(key, status)
        if self.keys:
            owner = self.keys[key % len(self.keys)]
            self.run(append_rejections, [Folded(owner.key_id, "rate_limited", "/v1/messages", 1, self.now, self.now)])

    def _claiming(self, opening: Opening) -> Opening:
        if self._rng.random() < 0.5:
            return opening
        fingerprint = opening.inference_id.encode().ljust(16)
        return attrs.evolve(opening, claim=Claim(f"once-{opening.inference_id}", fingerprint))

    def _answering(self, closing: Closing) -> Closing:
        """Keep an answer of up to several pages, where there is one that can be told again."""
        if closing.ending is not Ending.COMPLETED:
            return closing
        body = self._rng.randbytes(self._rng.choice((100, 3000, 20_000)))
        answer = KeptAnswer(200, True, (("content-type", "text/event-stream"),), body)
        return attrs.evolve(closing, answer=answer, frees_claim=False)


def recorded(seed: int, length: int) -> list[Life]:
    """Return what processes did in a sequence, one after the other."""
    recorder = Recorder(random.Random(seed))
    recorder.play(random_script(seed, length))
    return recorder.lives


def books(connection: apsw.Connection) -> str:
    """Return a digest of all that a database says: two that say the same have one digest."""
    digest = hashlib.sha256(str(connection.pragma("user_version")).encode())
    tables = connection.execute("SELECT type, name, sql FROM sqlite_schema ORDER BY type, name").fetchall()
    for type_, name, sql in tables:
        digest.update(f"{name} {sql}".encode())
        if type_ == "table":
            for row in connection.execute(f'SELECT * FROM "{name}"'):
                digest.update(repr(row).encode())
    return digest.hexdigest()


class Gateway:
    """A process at work on a disk."""

    def __init__(self, disk: Disk, *, engine: type[SQLiteEngine] = SQLiteEngine) -> None:
        self._disk = disk
        self._engine = engine
        self.connection = disk.connect()

    def told(self, _: object = None) -> str:
        """Mark what the books say: somebody was told. Return it."""
        says = books(self.connection)
        self._disk.mark(says)
        return says

    def migrate(self) -> None:
        """Bring the schema up to date, and tell of each version."""
        migrations = migration.known_migrations()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(migration, "_keep_copy", lambda *_: None)  # beside the disk, whose files have no real paths
            for newest in migrations:
                known = {number: sql for number, sql in migrations.items() if number <= newest}
                if newest >= self.connection.pragma("user_version"):
                    patch.setattr(migration, "known_migrations", lambda known=known: known)
                    migration.migrate(self.connection)
                    self.told()

    async def live(self, life: Life, rng: random.Random) -> None:
        """Run the operations of a life in batches; between them the operator may be at work."""
        engine = self._engine(self.connection)
        tx = begin_epoch(engine, "gateway", life.at)
        self.told()
        writer = InlineWriter(engine, tx, wait_s=WAIT_S, on_fatal=_never)
        left = list(life.ran)
        while left:
            size = rng.choice((1, 1, rng.randint(1, 8), rng.randint(1, LARGEST_BATCH)))
            batch, left = left[:size], left[size:]
            writer.submit_nowait(_nothing, self.told)
            for ran in batch:
                writer.submit_nowait(ran.again, ran.check)
            await writer.submit(_nothing)
            if rng.random() < 0.05 and not self.connection.in_transaction:
                self.connection.execute(rng.choice(("VACUUM", "PRAGMA wal_checkpoint(TRUNCATE)")))

    async def recover(self) -> dict[str, int]:
        """Begin anew, close what was left open, and look at the whole ledger; return what was settled for each."""
        engine = self._engine(self.connection)
        tx = begin_epoch(engine, "gateway", LATER)
        writer = InlineWriter(engine, tx, wait_s=WAIT_S, on_fatal=_never)
        await Store(writer, InlineReader(engine), now=lambda: LATER).recover(LATER)
        assert verify(tx) == []
        assert tx.execute("SELECT inference_id FROM holds") == []
        return dict(tx.execute("SELECT inference_id, settled_nusd FROM settlements"))

    def stop(self) -> None:
        """Close the connection, as a process that ends in good order does."""
        self.connection.close()


def _nothing(_: Transaction) -> None:
    """Write nothing: whoever waits for this waits for all that is queued before."""


def _never(error: BaseException) -> None:
    raise AssertionError("the writer died") from error

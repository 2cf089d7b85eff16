"""One database for all processes of a seed, and its weather.

The database is in memory and lives as long as the seed: a process that dies leaves in it what it had committed. All
processes share one connection, for a transaction never lasts over an await; so each of them is alone while it has one.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import apsw
import attrs
import trio

from ainf import audit
from ainf.store.epochs import begin_epoch, end_epoch
from ainf.store.migrate import migrate
from ainf.store.sqlite import MEMORY, SQLiteEngine, connect
from ainf.store.transaction import Transaction

T = TypeVar("T")

_template: list[bytes] = []


@attrs.define
class Weather:
    """What befalls the database; all of it is gone when it has passed."""

    refuses: type[apsw.Error] | None = None
    """What no transaction can begin for, or none can commit for where the disk is full."""
    queue_s: float = 0.0
    """How long what is queued waits for its transaction."""
    answer_s: float = 0.0
    """How long a commit's answer is on its way."""
    refuses_spool: bool = False
    """Whether nothing can be appended to a spool either."""
    room: int = 0
    """Commits that fit although the disk is full: a ballast made room for them."""
    breaks: str | None = None
    """Where the next write dies of an input/output error: at its "begin", its "commit", or "behind" it: committed."""
    broken: int = 0
    broken_behind: int = 0
    refused: int = 0
    spools_refused: int = 0
    ballasts_dropped: int = 0

    @property
    def is_full(self) -> bool:
        return self.refuses is apsw.FullError

    async def turn(self, phase: str, _: object) -> None:
        """Let a writer take its time."""
        await trio.sleep(self.queue_s if phase == "before" else self.answer_s)


class Database:
    """The rows of a seed."""

    def __init__(self) -> None:
        if not _template:
            engine = SQLiteEngine.open(MEMORY)
            _template.append(engine._connection.serialize("main"))
            engine.close()
        self.connection = connect(MEMORY)
        self.connection.deserialize("main", _template[0])
        assert migrate(self.connection)
        self.weather = Weather()

    def engine(self, make_room: Callable[[], bool]) -> "WeatheredEngine":
        return WeatheredEngine(self.connection, self.weather, make_room)

    def command(self, operation: Callable[[Transaction], T], at: int) -> T:
        """Run an operation as a command does: in an epoch of its own, whatever the weather."""
        engine = WeatheredEngine(self.connection, Weather())
        tx = begin_epoch(engine, "command", at)
        head = tx.head
        engine.begin()
        try:
            done = operation(tx)
            end_epoch(tx, at)
            engine.commit()
        except BaseException:
            engine.rollback()
            tx.rewind(head)
            raise
        return done

    def read(self, operation: Callable[[Transaction], T]) -> T:
        return operation(Transaction(WeatheredEngine(self.connection, Weather()), audit.Head(0)))

    def rows(self, sql: str, *params: Any) -> list[tuple[Any, ...]]:
        return self.connection.execute(sql, params).fetchall()

    def close(self) -> None:
        self.connection.close()


class WeatheredEngine(SQLiteEngine):
    """A process's way to the database."""

    __slots__ = ("_weather", "is_dead")

    def __init__(
        self, connection: apsw.Connection, weather: Weather, make_room: Callable[[], bool] | None = None
    ) -> None:
        super().__init__(connection, make_room=make_room)
        self._weather = weather
        self.is_dead = False
        """Whether its process was killed: what is left of it writes nothing."""

    def begin(self) -> None:
        if self.is_dead:
            raise apsw.IOError("the process was killed")
        if self._weather.refuses is not None and not self._weather.is_full:
            self._weather.refused += 1
            raise self._weather.refuses
        self._break("begin")
        super().begin()

    def commit(self) -> None:
        if self._weather.is_full and not self._takes_room():
            self._weather.refused += 1
            raise apsw.FullError
        self._break("commit")
        super().commit()
        self._break("behind")

    def close(self) -> None:
        """Leave the connection open: it is everybody's."""

    def _takes_room(self) -> bool:
        has_room = self._weather.room > 0
        self._weather.room -= has_room
        return has_room

    def _break(self, at: str) -> None:
        if self._weather.breaks != at:
            return
        self._weather.breaks = None
        self._weather.broken += 1
        if at == "behind":
            self._weather.broken_behind += 1
        if at == "commit":
            self.rollback()
        raise apsw.IOError(f"simulated, at {at}")


class ReadingEngine(WeatheredEngine):
    """The same for who only reads: neither locks nor a full disk stand in the way."""

    def begin(self) -> None:
        if self.is_dead:
            raise apsw.IOError("the process was killed")
        SQLiteEngine.begin(self)

    def commit(self) -> None:
        SQLiteEngine.commit(self)

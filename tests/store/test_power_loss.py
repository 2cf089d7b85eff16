"""The power is lost at every place of what SQLite does to the disk, and no acknowledged commit is.

What is found afterwards must be sound for SQLite, say what was told to callers last (or what was under way, the whole
of it), and be what a gateway recovers and goes on from. CI runs every tenth place, from a seed that it prints; ``make
law`` runs all.
"""

import random
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import cache
from pathlib import Path

import apsw
import pytest

from ainf.store.sqlite import SQLiteEngine
from tests.extent import SEED, STRIDE
from tests.store.old import write_schema_1, write_schema_2
from tests.store.power import DATABASE, SECTOR, Change, Cut, Disk, Image, Named, Platter, Synced, Written, cuts, told
from tests.store.power_script import Gateway, books, recorded

SEQUENCES, LENGTH = 8, 100
CHECKPOINT_PAGES = 40
"""So few that a sequence has several checkpoints; SQLite's own are a thousand."""
AGAIN = 5
"""Of so many cuts, one is followed by another while it is recovered from."""

pytestmark = pytest.mark.law


class LostError(AssertionError):
    """What is found is not what was told."""


@cache
def empty_books() -> Image:
    """A disk with the newest schema and nothing in it: made once."""
    disk = Disk({})
    gateway = Gateway(disk)
    gateway.migrate()
    gateway.stop()
    return disk.image()


def left_by(write: Callable[[Path], str], folder: Path) -> Image:
    """A disk as an older version left it."""
    return {DATABASE: Path(write(folder)).read_bytes()}


async def work(
    disk: Disk, number: int, *, synchronous: str | None = None, engine: type[SQLiteEngine] = SQLiteEngine
) -> None:
    """Let processes work through a sequence on a disk; all but the last one die."""
    gateway = Gateway(disk, engine=engine)
    gateway.connection.wal_autocheckpoint(CHECKPOINT_PAGES)
    if synchronous is not None:
        gateway.connection.pragma("synchronous", synchronous)
    gateway.told()
    rng = random.Random(number)
    for life in recorded(number, LENGTH):
        await gateway.live(life, rng)
    gateway.stop()


async def find(image: Image, expected: Collection[str]) -> tuple[dict[str, int], list[Change]]:
    """Check what is found after a power loss; return what was settled in the end, and what the disk went through."""
    disk = Disk(image)
    gateway = Gateway(disk)
    try:
        if gateway.connection.pragma("integrity_check") != "ok":
            raise apsw.CorruptError("an index is not its table's")
        if expected and gateway.told() not in expected:
            raise LostError("the books are not what was told")
        gateway.migrate()
        return await gateway.recover(), disk.log
    finally:
        gateway.stop()


async def lose_power(log: Sequence[Change], start: Image) -> int:
    """Cut a log at many places, and now and then the recovery too; return how often."""
    count = 0
    for place, platter, rng in places(log, start):
        what = f"AINF_SEED={SEED}: cut at place {place} of {len(log)}"
        try:
            image = platter.cut(rng)
            settled, recovery = await find(image, told(log, place))
            count += 1
            if not rng.randrange(AGAIN):
                again = rng.randrange(len(recovery) + 1)
                what += f", and at place {again} of {len(recovery)} of the recovery"
                image = Platter.after(recovery[:again], image).cut(rng)
                assert (await find(image, ()))[0] == settled
                count += 1
        except (AssertionError, apsw.Error) as error:
            raise AssertionError(f"{what}: {error!r}") from error
    return count


def places(log: Sequence[Change], start: Image) -> Iterator[tuple[int, Platter, random.Random]]:
    """Yield the places of a log to cut at: all of them, or a part that depends on the seed."""
    for number, (place, platter) in enumerate(cuts(log, start)):
        if (number + SEED) % STRIDE == 0:
            yield place, platter, random.Random(f"{SEED} {place}")


@pytest.mark.parametrize("number", range(SEQUENCES))
async def test_what_was_told_is_there(number, count_cases, tell):
    """Every acknowledged commit outlives the power, whole; nothing half of one does; all is recovered and verifies."""
    disk = Disk(empty_books())
    await work(disk, SEED + number)
    count_cases("power cuts", await lose_power(disk.log, empty_books()))
    if not number:
        tell(f"power cuts: from seed {SEED}")


async def test_a_new_database_is_made_or_not(count_cases):
    """While the database is made it is not there, or has one of the schema's versions; the next start goes on."""
    disk = Disk({})
    disk.mark(books(apsw.Connection(":memory:")))
    gateway = Gateway(disk)
    gateway.migrate()
    gateway.stop()
    count_cases("power cuts", await lose_power(disk.log, {}))


@pytest.mark.parametrize("write", [write_schema_1, write_schema_2])
async def test_an_old_database_is_brought_up_to_date_or_not(write, tmp_path, count_cases):
    """It is whole, in one version or the next, with all its rows, and the next start goes on from there (K11)."""
    start = left_by(write, tmp_path)
    disk = Disk(start)
    gateway = Gateway(disk)
    gateway.told()
    gateway.migrate()
    gateway.stop()
    count_cases("power cuts", await lose_power(disk.log, start))


async def test_a_compacted_database_says_the_same(count_cases):
    """A VACUUM and a checkpoint that empties the log change nothing of what is found (K11)."""
    full = Disk(empty_books())
    await work(full, SEED)
    start = full.image()
    disk = Disk(start)
    gateway = Gateway(disk)
    gateway.told()
    gateway.connection.execute("VACUUM")
    gateway.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    gateway.stop()
    count_cases("power cuts", await lose_power(disk.log, start))


# --- what weaker stores would lose is seen ---


class EarlyEngine(SQLiteEngine):
    """Says that a commit is done, and does it when the next transaction begins."""

    __slots__ = ()

    def begin(self):
        if self._connection.in_transaction:
            super().commit()
        super().begin()

    def commit(self):
        pass

    def rollback(self):
        pass


async def losses(disk: Disk) -> Counter[type[Exception]]:
    """Cut the log at every fourth place, and count what is not as it should be, by its kind."""
    found: Counter[type[Exception]] = Counter()
    for place, platter in cuts(disk.log, empty_books()):
        if place % 4:
            continue
        try:
            await find(platter.cut(random.Random(place)), told(disk.log, place))
        except (LostError, apsw.Error) as error:
            found[type(error)] += 1
    return found


@pytest.mark.parametrize("synchronous", ["NORMAL", "OFF"])
async def test_a_weaker_setting_loses_what_was_told(synchronous):
    """Without a sync for each commit, acknowledged commits are gone; without any, the database breaks."""
    disk = Disk(empty_books())
    await work(disk, 1, synchronous=synchronous)
    found = await losses(disk)
    assert found[LostError] > 10
    assert (found[apsw.CorruptError] > 0) == (synchronous == "OFF")


async def test_a_disk_that_lies_loses_what_was_told():
    """Where a sync does nothing, acknowledged commits are gone and the database breaks."""
    disk = Disk(empty_books(), syncs=False)
    await work(disk, 1)
    found = await losses(disk)
    assert found[LostError] > 10
    assert found[apsw.CorruptError] > 0


async def test_who_speaks_before_the_commit_loses_what_was_told():
    """A writer whose callers wake before the commit is done is found out."""
    disk = Disk(empty_books())
    await work(disk, 1, engine=EarlyEngine)
    assert (await losses(disk))[LostError] > 10


# --- the disk itself ---


def survivors(*changes: Change, **files: bytes) -> set[tuple[tuple[str, bytes], ...]]:
    """What may be found after changes to these files: each image that some seed has."""
    platter = Platter.after(changes, files)
    return {tuple(sorted(platter.cut(random.Random(seed)).items())) for seed in range(500)}


def test_what_was_synced_is_there():
    """Bytes, a size and a name that were synced are found, whatever else is."""
    wrote = [Named("new", 1), Written(1, 0, b"n" * SECTOR), Synced(1, folder_too=True)]
    assert survivors(Written(0, 1, b"bb"), Cut(0, 2), Synced(0, folder_too=False), *wrote, file=b"aaa") == {
        (("file", b"ab"), ("new", b"n" * SECTOR))
    }


def test_what_was_not_synced_is_there_or_not():
    """A write of two sectors arrives, or not, or by halves in either order; a sector may be torn."""
    found = {dict(each)["file"] for each in survivors(Written(0, 0, b"b" * 2 * SECTOR), file=b"a" * 2 * SECTOR)}
    halves = {bytes([one]) * SECTOR + bytes([two]) * SECTOR for one in b"ab" for two in b"ab"}
    assert halves < found
    assert all(len(each) == 2 * SECTOR and set(each) <= set(b"ab") for each in found)


def test_a_file_that_grew_may_have_anything_there():
    """Its size is the old or the new one; where nothing arrived are zeros, or what was there."""
    found = {dict(each)["file"] for each in survivors(Written(0, SECTOR, b"b" * SECTOR), file=b"a" * SECTOR)}
    ends = {each[SECTOR:] for each in found}
    assert {b"", b"b" * SECTOR, bytes(SECTOR)} < ends
    assert all(each[:SECTOR] == b"a" * SECTOR and len(each) in {SECTOR, 2 * SECTOR} for each in found)


def test_a_name_that_was_not_synced_is_there_or_not():
    """A file that was made may be missing, one that was removed may be back with its bytes."""
    found = {tuple(name for name, _ in each) for each in survivors(Named("old", None), Named("new", 1), old=b"a")}
    assert found == {(), ("old",), ("new",), ("new", "old")}

# ruff: noqa: N802 - the names are SQLite's
"""A disk that loses its power: SQLite's files in memory, which know what had reached the platter.

``Disk`` is a VFS. SQLite reads and writes through it as through a page cache, and every change is noted in its log, as
is what a caller marks between. ``Platter`` goes along such a log; ``cut`` is what is found if the power is lost there:

- What a file was when it was last synced is on the platter. Of what was written since, each sector arrived or not, in
  any order; a sector that was being written may be half of each. So may the file's size; where a file grew and nothing
  arrived there are zeros, or what happens to stand on the platter.
- Names are entries of a folder, made, moved and removed in the same way until the folder is synced. As SQLite's own VFS
  does, the first sync of a new log or journal syncs its folder too, and that of a database does not.

One assumption is SQLite's (power-safe overwrite): a write changes no byte outside its own range.

Only one connection may use a disk: a VFS in Python has no shared memory, so that SQLite must keep the log's index in
its own (``locking_mode=EXCLUSIVE``). What is written, and the order of the syncs, is the same.
"""

import itertools
import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, TypeAlias

import apsw
import attrs

from ainf.store.sqlite import configure

SECTOR: Final = 512
CHANCES: Final = (0.0, 0.1, 0.5, 0.9, 1.0)
"""How much of what was written last arrives: none, some, or all."""
DATABASE: Final = "/ainf.db"
Image: TypeAlias = Mapping[str, bytes]
"""The files of a disk, by name."""

_numbers = itertools.count()


@attrs.frozen
class Written:
    """Bytes were written to a file."""

    file: int
    offset: int
    data: bytes


@attrs.frozen
class Cut:
    """A file was cut to a size."""

    file: int
    size: int


@attrs.frozen
class Synced:
    """A file was synced."""

    file: int
    folder_too: bool


@attrs.frozen
class Named:
    """A name was given to a file, or taken away."""

    name: str
    file: int | None


@attrs.frozen
class FolderSynced:
    """The folder was synced."""


@attrs.frozen
class Marked:
    """Something that the disk knows nothing of came about; what is told of it is the caller's."""

    what: Any


Change: TypeAlias = Written | Cut | Synced | Named | FolderSynced | Marked


class Disk(apsw.VFS):
    """A disk in memory; one that does not sync says that it did."""

    def __init__(self, image: Image, *, syncs: bool = True) -> None:
        self.log: list[Change] = []
        self.syncs = syncs
        self._files = [bytearray(content) for content in image.values()]
        self._names = {name: number for number, name in enumerate(image)}
        self._name = f"disk-{next(_numbers)}"
        super().__init__(self._name, base="")

    def connect(self) -> apsw.Connection:
        """Open the database with the store's own settings."""
        connection = apsw.Connection(DATABASE, vfs=self._name)
        try:
            connection.pragma("locking_mode", "EXCLUSIVE")
            configure(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def image(self) -> Image:
        """Return the files as their readers see them."""
        return {name: bytes(self._files[number]) for name, number in self._names.items()}

    def mark(self, what: Any) -> None:
        """Note in the log that something came about."""
        self.log.append(Marked(what))

    # --- what SQLite calls ---

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> "_Open | _Volatile":
        if name is None:
            return _Volatile()
        path = name if isinstance(name, str) else name.filename()
        is_new = path not in self._names
        if is_new:
            self._names[path] = len(self._files)
            self.log.append(Named(path, len(self._files)))
            self._files.append(bytearray())
        syncs_folder = is_new and bool(flags[0] & (apsw.SQLITE_OPEN_WAL | apsw.SQLITE_OPEN_MAIN_JOURNAL))
        number = self._names[path]
        return _Open(self, number, self._files[number], syncs_folder=syncs_folder)

    def xDelete(self, path: str, sync_folder: bool) -> None:
        del self._names[path]
        self.log.append(Named(path, None))
        if sync_folder and self.syncs:
            self.log.append(FolderSynced())

    def xAccess(self, path: str, _flags: int) -> bool:
        return path in self._names

    def xFullPathname(self, path: str) -> str:
        return path


class _Volatile:
    """A file without a name: what is in it is nobody's any more after a power loss."""

    def __init__(self, content: bytearray | None = None) -> None:
        self._content = bytearray() if content is None else content

    def xRead(self, amount: int, offset: int) -> bytes:
        return bytes(self._content[offset : offset + amount])

    def xWrite(self, data: bytes, offset: int) -> None:
        missing = offset - len(self._content)
        if missing > 0:
            self._content.extend(bytes(missing))
        self._content[offset : offset + len(data)] = data

    def xTruncate(self, size: int) -> None:
        del self._content[size:]

    def xFileSize(self) -> int:
        return len(self._content)

    def xSync(self, flags: int) -> None:
        pass

    def xLock(self, level: int) -> None:
        pass

    def xUnlock(self, level: int) -> None:
        pass

    def xCheckReservedLock(self) -> bool:
        return False

    def xFileControl(self, _operation: int, _pointer: int) -> bool:
        return False

    def xSectorSize(self) -> int:
        return 4096

    def xDeviceCharacteristics(self) -> int:
        return apsw.SQLITE_IOCAP_POWERSAFE_OVERWRITE

    def xClose(self) -> None:
        pass


class _Open(_Volatile):
    """A file with a name: every change is noted."""

    def __init__(self, disk: Disk, number: int, content: bytearray, *, syncs_folder: bool) -> None:
        super().__init__(content)
        self._disk, self._number, self._syncs_folder = disk, number, syncs_folder

    def xWrite(self, data: bytes, offset: int) -> None:
        super().xWrite(data, offset)
        self._disk.log.append(Written(self._number, offset, bytes(data)))

    def xTruncate(self, size: int) -> None:
        super().xTruncate(size)
        self._disk.log.append(Cut(self._number, size))

    def xSync(self, flags: int) -> None:
        if self._disk.syncs:
            self._disk.log.append(Synced(self._number, self._syncs_folder))
            self._syncs_folder = False


class Platter:
    """What had reached a disk, at each place of its log."""

    def __init__(self, image: Image) -> None:
        self._files = [_File(content) for content in image.values()]
        self._names: dict[str, list[int | None]] = {name: [number] for number, name in enumerate(image)}

    @classmethod
    def after(cls, log: Sequence[Change], start: Image) -> "Platter":
        """Return the platter at the end of a log."""
        platter = cls(start)
        for change in log:
            platter.take(change)
        return platter

    def take(self, change: Change) -> None:
        """Go one place on in the log."""
        match change:
            case Written(file, offset, data):
                self._files[file].write(offset, data)
            case Cut(file, size):
                self._files[file].cut(size)
            case Synced(file, folder_too):
                self._files[file].sync()
                if folder_too:
                    self._sync_folder()
            case Named(name, file):
                if file == len(self._files):
                    self._files.append(_File(b""))
                self._names.setdefault(name, [None]).append(file)
            case FolderSynced():
                self._sync_folder()
            case Marked():
                pass

    def _sync_folder(self) -> None:
        self._names = {name: entries[-1:] for name, entries in self._names.items()}

    def cut(self, rng: random.Random) -> Image:
        """Return what is found when the power is lost here: one of the many things that may be."""
        chance = rng.choice(CHANCES)
        found = {name: _pick(entries, rng, chance) for name, entries in self._names.items()}
        return {name: self._files[file].found(rng) for name, file in found.items() if file is not None}


class _File:
    """A file: its bytes at the last sync, and each version of what changed since, by sector; an empty one is a hole."""

    def __init__(self, content: bytes) -> None:
        self._synced = content
        self._now = bytearray(content)
        self._sizes = [len(content)]
        self._sectors: dict[int, list[bytes]] = {}

    def write(self, offset: int, data: bytes) -> None:
        missing = offset - len(self._now)
        if missing > 0:
            self._now.extend(bytes(missing))
        self._now[offset : offset + len(data)] = data
        self._changed(offset, offset + len(data))

    def cut(self, size: int) -> None:
        before = len(self._now)
        del self._now[size:]
        self._changed(size, before)

    def sync(self) -> None:
        self._synced = bytes(self._now)
        self._sizes = [len(self._now)]
        self._sectors.clear()

    def _changed(self, begin: int, end: int) -> None:
        self._sizes.append(len(self._now))
        for sector in range(begin // SECTOR, -(-end // SECTOR)):
            at = sector * SECTOR
            versions = self._sectors.setdefault(sector, [self._synced[at : at + SECTOR]])
            versions.append(bytes(self._now[at : at + SECTOR]))

    def found(self, rng: random.Random) -> bytes:
        chance = rng.choice(CHANCES)
        size = _pick(self._sizes, rng, chance)
        content = bytearray(self._synced.ljust(max(self._sizes), b"\0"))
        for sector, versions in self._sectors.items():
            arrived = _pick(versions, rng, chance)
            if rng.random() < 0.02:  # the power went while this one was written, from either end
                torn, other = rng.randrange(SECTOR), _pick(versions, rng, chance)
                arrived = _filled(arrived, rng)[:torn] + _filled(other, rng)[torn:]
            content[sector * SECTOR : (sector + 1) * SECTOR] = _filled(arrived, rng)
        return bytes(content[:size])


def _filled(sector: bytes, rng: random.Random) -> bytes:
    """Fill up what of a sector was never written: with zeros, or what happens to stand there."""
    missing = SECTOR - len(sector)
    return sector + (rng.randbytes(missing) if missing and rng.random() < 0.5 else bytes(missing))


def _pick(versions: list[Any], rng: random.Random, chance: float) -> Any:
    """Return the newest version, with this chance, or one of those before it."""
    return versions[-1] if len(versions) == 1 or rng.random() < chance else rng.choice(versions[:-1])


def cuts(log: Sequence[Change], start: Image) -> Iterator[tuple[int, Platter]]:
    """Yield each place of a log at which the power may be lost, behind all that is marked there, and the platter."""
    platter = Platter(start)
    for place in range(len(log) + 1):
        if place:
            platter.take(log[place - 1])
        if place == len(log) or not isinstance(log[place], Marked):
            yield place, platter


def told(log: Sequence[Change], place: int) -> set[Any]:
    """Return what was marked last before a place of a log, and what was under way: the next mark."""
    before = [change.what for change in log[:place] if isinstance(change, Marked)]
    under_way = next((change.what for change in log[place:] if isinstance(change, Marked)), None)
    return {*before[-1:], under_way}

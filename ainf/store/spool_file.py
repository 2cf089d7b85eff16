"""A spool file: lines that are there for good when an append has returned. Everything here blocks.

Strategy: the writer appends at the end that it knows of and syncs, so that a line is there whole or, torn, was never
promised. What an append that failed left behind is cut off before the next one. A reader goes by line ends and
checksums alone and trusts no size: a line that is not what its checksum says is left out, and all others are read. A
file belongs to its writer as long as that has it locked; one without a lock was left by a writer that is dead.
"""

import errno
import fcntl
import itertools
import os
import re
import weakref
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import attrs

from ainf.store.files import sync_folder, write_all
from ainf.store.spooled import SpooledClosing, record_of

PIECE: Final = 1 << 20
"""How many bytes are looked through at once, and the rest of the last line."""

_OWN: Final = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC


class SpoolError(Exception):
    """The spool cannot be made; the text says why and what to do."""


@attrs.frozen
class Place:
    """Where in a file a record stands."""

    inference_id: str
    offset: int
    size: int


@attrs.frozen
class Found:
    """What stands in a piece of a file."""

    places: tuple[Place, ...]
    """Its records, in their order."""
    broken: int
    """Lines that are none; a last one without its end does not count, for nobody was promised that."""
    end: int
    """Where the next piece begins; where it began itself: nothing is left."""


class SpoolFile:
    """One file, locked; made by ``create`` or ``adopt``. One thread at a time may write it, others may read."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor = descriptor
        self._end = os.fstat(descriptor).st_size
        self._is_doubtful = False
        # A thread may come back with a file for which nobody waits any more: it is let go of then, too.
        self._let_go = weakref.finalize(self, os.close, descriptor)

    @classmethod
    def create(cls, prefix: Path) -> "SpoolFile":
        """Make a file for this process, ``<prefix>.<process id>-<number>``, readable for its owner alone.

        Raises:
            SpoolError: it cannot be made there.
        """
        try:
            for number in itertools.count():
                path = prefix.with_name(f"{prefix.name}.{os.getpid()}-{number}")
                with suppress(FileExistsError):
                    file = cls._locked(path, os.open(path, _OWN, 0o600))
                    if file is not None:
                        sync_folder(path.parent)
                        return file
        except OSError as error:
            raise SpoolError(
                f"the spool {prefix}.* cannot be made ({error.strerror}): store.spool must name files in a folder that"
                " this user may write to"
            ) from error
        raise AssertionError("numbers do not end")

    @classmethod
    def adopt(cls, path: Path) -> "SpoolFile | None":
        """Take over the file of a dead writer; None where its writer lives, or it is gone.

        Raises:
            OSError: it cannot be opened.
        """
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        return cls._locked(path, descriptor)

    @classmethod
    def _locked(cls, path: Path, descriptor: int) -> "SpoolFile | None":
        """Return a file that was opened, locked; None where another process was first, be it to remove it."""
        file = None
        try:
            with suppress(BlockingIOError, FileNotFoundError):
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.path.samestat(os.fstat(descriptor), path.stat()):
                    file = cls(path, descriptor)
        finally:
            if file is None:
                os.close(descriptor)
        return file

    def append(self, lines: Sequence[bytes]) -> list[int]:
        """Append lines durably, all of them or none; return where each begins.

        Raises:
            OSError: none of them is there.
        """
        if self._is_doubtful:
            raise OSError(errno.EIO, "an earlier append could not be synced")
        start = self._end
        try:
            if os.fstat(self._descriptor).st_size != start:
                os.ftruncate(self._descriptor, start)
            write_all(self._descriptor, b"".join(lines), start)
            self._sync()
        except OSError:
            with suppress(OSError):
                os.ftruncate(self._descriptor, start)
            raise
        ends = list(itertools.accumulate(map(len, lines), initial=start))
        self._end = ends.pop()
        return ends

    def read(self, place: Place) -> SpooledClosing | None:
        """Return the record at a place; None where it is not there, or not any more.

        Raises:
            OSError: the file cannot be read.
        """
        return record_of(os.pread(self._descriptor, place.size, place.offset))

    def find(self, start: int = 0) -> Found:
        """Return what stands in the next piece of the file, however large that is.

        Args:
            start: where the piece begins: 0, or the end of the one before.

        Raises:
            OSError: it cannot be read.
        """
        places: list[Place] = []
        offset, broken = start, 0
        with os.fdopen(os.dup(self._descriptor), "rb") as file:
            file.seek(start)
            while offset < start + PIECE and (line := file.readline()):
                record = record_of(line)
                if record is not None:
                    places.append(Place(record.closing.inference_id, offset, len(line)))
                else:
                    broken += line.endswith(b"\n") and line != b"\n"
                offset += len(line)
        return Found(tuple(places), broken, offset)

    @property
    def is_clear(self) -> bool:
        """Whether nothing was appended since it was made or cleared, and nothing was tried that could not be synced."""
        return self._end == 0 and not self._is_doubtful

    def clear(self) -> None:
        """Take everything out of it, durably.

        Raises:
            OSError: it may all still be there.
        """
        os.ftruncate(self._descriptor, 0)
        self._end = 0
        self._is_doubtful = False
        self._sync()

    def keep(self) -> Path:
        """Give it another name, by which nobody takes it for a spool; return that.

        Raises:
            OSError: it has its name still.
        """
        names = (self.path.with_name(f"{self.path.name}.kept-{number}") for number in itertools.count())
        kept = next(name for name in names if not name.exists())
        return self.path.rename(kept)

    def remove(self) -> None:
        """Remove it.

        Raises:
            OSError: it is still there.
        """
        self.path.unlink()

    def close(self) -> None:
        """Let go of it; nothing may be called any more. Who finds it takes it for a dead writer's."""
        self._let_go()

    def _sync(self) -> None:
        try:
            os.fsync(self._descriptor)
        except OSError:
            # What a later sync says is not to be relied on: the system forgets what it could not write.
            self._is_doubtful = True
            raise


def left_files(prefix: Path) -> list[Path]:
    """Return the paths of all spool files of a prefix, this process's too, in the order of their names.

    None where their folder cannot be read.
    """
    named = re.compile(re.escape(prefix.name) + r"\.[0-9]+-[0-9]+")
    with suppress(OSError):
        return sorted(path for path in prefix.parent.iterdir() if named.fullmatch(path.name))
    return []

"""The ballast: room on the database's disk that nothing uses until the disk is full, so that what runs can be settled.

It is a file that really takes its room. When the database cannot grow any more the file is removed, and what was
refused for want of room is tried again. From then on, until the file could be put back, nothing may be admitted: what
is left of the room is for those that run.
"""

import errno
import os
import threading
from pathlib import Path
from typing import Final

from ainf.store.files import write_all

_BLOCK: Final = 512
"""What ``st_blocks`` counts in, whatever the file system's own blocks are."""
_CHUNK: Final = 1 << 20
_UNABLE: Final = frozenset({errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS})
"""What file systems say that cannot set room aside."""
_ROOM: Final = 2
"""How many times its size must be free before it is put in place: it must not be what fills the disk."""


class Ballast:
    """The ballast of one database; several processes may have the same. Everything here blocks.

    Args:
        path: of its file.
        size: in bytes.
    """

    def __init__(self, path: Path, size: int) -> None:
        self.path = path
        self._size = size
        self._restoring = threading.Lock()
        self._drops = 0
        self.is_in_place = False
        """Whether it was there when it was looked at last: only then may anything be admitted."""
        self.fault: OSError | None = None
        """Why it could not be put in place."""

    def drop(self) -> bool:
        """Remove it; return whether that made room. Never raises, and waits for nobody."""
        self._drops += 1  # first: whoever is putting it in place sees this, or is undone by what follows
        self.is_in_place = False
        try:
            self.path.unlink()
        except OSError:
            return False
        return True

    def restore(self) -> bool:
        """Put it in place where there is room for it and some more; return whether it is. Cheap where it is there."""
        if self._restoring.acquire(blocking=False):
            drops = self._drops
            try:
                if not self._is_there():
                    self._make()
                self.is_in_place, self.fault = True, None
                if self._drops != drops:
                    raise _needed_meanwhile()
            except OSError as error:
                self.is_in_place, self.fault = False, error
            finally:
                self._restoring.release()
        return self.is_in_place

    def _is_there(self) -> bool:
        """Whether it still is, after it was known to take its room."""
        if not self.is_in_place:
            return False
        try:
            return self.path.stat().st_size == self._size
        except FileNotFoundError:
            return False

    def _make(self) -> None:
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            _find_room(descriptor, self._size)
            os.ftruncate(descriptor, self._size)
            _take_room(descriptor, self._size)
            os.fsync(descriptor)
            is_there = os.path.samestat(os.fstat(descriptor), self.path.stat())
        except OSError:
            self.drop()
            raise
        finally:
            os.close(descriptor)
        if not is_there:
            raise _needed_meanwhile()


def _needed_meanwhile() -> OSError:
    return OSError(errno.ENOSPC, "the room was needed meanwhile")


def ballast_path(database: str) -> Path:
    """Return the path of a database's ballast."""
    return Path(f"{database}.ballast")


def has_room(path: Path, size: int) -> bool:
    """Whether a ballast of this size is in place, or could be; nothing is changed.

    Raises:
        OSError: its folder cannot be looked at.
    """
    taken = path.stat().st_blocks * _BLOCK if path.exists() else 0
    return taken >= size or _has_free(os.statvfs(path.parent), size)


def _find_room(descriptor: int, size: int) -> None:
    """Make sure that there is room, unless the file has it already.

    Raises:
        OSError: there is not.
    """
    if os.fstat(descriptor).st_blocks * _BLOCK < size and not _has_free(os.fstatvfs(descriptor), size):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _has_free(disk: os.statvfs_result, size: int) -> bool:
    return disk.f_bavail * disk.f_frsize >= _ROOM * size


def _take_room(descriptor: int, size: int) -> None:
    try:
        os.posix_fallocate(descriptor, 0, size)
    except OSError as error:
        if error.errno not in _UNABLE:
            raise
        # Not zeros, for some file systems keep these in no room at all.
        for offset in range(0, size, _CHUNK):
            write_all(descriptor, os.urandom(min(_CHUNK, size - offset)), offset)

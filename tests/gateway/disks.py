"""A disk that can be filled: a small tmpfs, or, where this machine lets nobody mount one, the system's answers made up.

What is made up is what the gateway is told, and nothing else: while a file is there that says so, ``crashing`` lets
every write to a file fail as on a full disk, SQLite's too.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import attrs
import trio

from tests.gateway.crashing import FailingDisk

_PIECE: Final = b"\0" * 4096
_PROC: Final = Path("/proc")
"""Where nobody makes a file."""


@attrs.frozen
class Disk:
    """A folder for a database, with an end to its room."""

    folder: Path
    sign: Path | None = None
    """The file that says that it is full, where that is made up."""

    @property
    def fault(self) -> str:
        """What must be armed in a gateway that is to use it."""
        return "" if self.sign is None else f"full={self.folder}"

    def fill(self) -> None:
        """Leave no room."""
        if self.sign is not None:
            self.sign.touch()
            return
        with self._filler.open("ab", buffering=0) as filler:
            try:
                while True:
                    filler.write(_PIECE)
            except OSError:
                return

    def free(self) -> None:
        """Give the room back."""
        (self.sign or self._filler).unlink()

    async def remount(self, mode: str) -> Path:
        """Let it be "ro" or "rw"; return its folder, or another one where nobody can write.

        Nobody may have a file on it open for writing.
        """
        if self.sign is not None:
            return _PROC
        assert await _runs("mount", "-o", f"remount,{mode}", str(self.folder))
        return self.folder

    @property
    def _filler(self) -> Path:
        return self.folder / "filler"


@asynccontextmanager
async def small_disk(folder: Path, size: int) -> AsyncIterator[Disk]:
    """Make a disk of so many bytes at an empty folder, and take it away behind the block."""
    if os.geteuid() != 0 or not await _runs(
        "mount", "-t", "tmpfs", "-o", f"size={size},mode=700", "tmpfs", str(folder)
    ):
        yield Disk(folder, FailingDisk.sign_of(folder))
        return
    try:
        yield Disk(folder)
    finally:
        with trio.CancelScope(shield=True):
            await _runs("umount", "--lazy", str(folder))


async def _runs(*command: str) -> bool:
    return (await trio.run_process(command, capture_stdout=True, capture_stderr=True, check=False)).returncode == 0

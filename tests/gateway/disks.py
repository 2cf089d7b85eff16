"""A disk that can be filled, whatever the machine allows: a small tmpfs, one of a namespace of its own, or one made up.

What is made up is the file system's answer alone: while a file is there that says so, ``crashing`` lets every write to
a file fail for want of room, SQLite's too.
"""

import os
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import attrs
import trio

from tests.gateway.process import Place

_PIECE: Final = b"\0" * 4096
_HOLD: Final = '"$@" && echo made && exec sleep 3600'


@attrs.frozen
class Disk:
    """A place for a database, with an end to it."""

    place: Place
    sign: Path | None = None
    """The file that says that it is full, where that is made up."""

    @property
    def fault(self) -> str:
        """What must be armed in a gateway that is to use it."""
        return "" if self.sign is None else f"full={self.sign}"

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

    @property
    def _filler(self) -> Path:
        return self.place.folder / "filler"


@asynccontextmanager
async def small_disk(folder: Path, size: int) -> AsyncIterator[Disk]:
    """Make a disk of so many bytes at an empty folder, and take it away behind the block."""
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size},mode=700", "tmpfs", str(folder)]
    if os.geteuid() == 0 and (await _run(mount)).returncode == 0:
        try:
            yield Disk(Place(folder))
        finally:
            with trio.CancelScope(shield=True):
                await _run(["umount", "--lazy", str(folder)])
        return
    alone = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", _HOLD, "sh", *mount]
    held = await trio.lowlevel.open_process(
        alone,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    assert held.stdout is not None
    try:
        if await held.stdout.receive_some() == b"made\n":
            enter = ("nsenter", f"--target={held.pid}", "--user", "--mount", "--preserve-credentials")
            seen = Path(f"/proc/{held.pid}/root{folder}")
            yield Disk(Place(seen, folder, (*enter, f"--wd={Path.cwd()}", "--")))
        else:
            yield Disk(Place(folder), folder.with_name(f"{folder.name}-is-full"))
    finally:
        with trio.CancelScope(shield=True):
            held.kill()
            await held.wait()


async def _run(command: list[str]) -> "subprocess.CompletedProcess[bytes]":
    return await trio.run_process(command, capture_stdout=True, capture_stderr=True, check=False)

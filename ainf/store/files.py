"""What the files beside the database are written with."""

import os
from pathlib import Path


def write_all(descriptor: int, data: bytes, offset: int) -> None:
    """Write all of some bytes at a place of a file.

    Raises:
        OSError: not all of them are written.
    """
    view = memoryview(data)
    while view:
        written = os.pwrite(descriptor, view, offset)
        view, offset = view[written:], offset + written


def sync_folder(folder: Path) -> None:
    """Make it durable which files are in a folder.

    Raises:
        OSError: it is not known to be.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

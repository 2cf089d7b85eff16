"""Files beside the database."""

import os

import pytest

from ainf.store import files


def test_all_is_written_however_little_at_a_time(tmp_path, monkeypatch):
    """What the system takes in pieces is all there, in its place."""
    write = os.pwrite
    monkeypatch.setattr(files.os, "pwrite", lambda fd, data, at: write(fd, bytes(data[:3]), at))
    path = tmp_path / "file"
    path.write_bytes(b"..")
    descriptor = os.open(path, os.O_RDWR)
    files.write_all(descriptor, b"all of it", 2)
    os.close(descriptor)
    assert path.read_bytes() == b"..all of it"


def test_a_folder_that_is_none_is_not_synced(tmp_path):
    """Who asks is told that it is not durable."""
    files.sync_folder(tmp_path)
    path = tmp_path / "file"
    path.touch()
    with pytest.raises(NotADirectoryError):
        files.sync_folder(path)

"""The ballast: it takes its room, gives it when it is needed, and comes back when there is enough for it."""

import errno
import os
import stat
import threading
from types import SimpleNamespace

import pytest

from ainf.store import ballast as module
from ainf.store.ballast import Ballast

SIZE = 1 << 20


@pytest.fixture
def ballast(tmp_path):
    return Ballast(tmp_path / "a.db.ballast", SIZE)


def taken(ballast):
    return ballast.path.stat().st_blocks * 512


def free(monkeypatch, room):
    """Let the disk have so many bytes free."""
    monkeypatch.setattr(module.os, "fstatvfs", lambda _: SimpleNamespace(f_bavail=room // 4096, f_frsize=4096))


def test_it_takes_its_room(ballast):
    """All of its bytes are set aside on the disk, not promised only; its owner alone may read it."""
    assert not ballast.is_in_place
    assert ballast.restore()
    assert (ballast.is_in_place, ballast.fault) == (True, None)
    assert ballast.path.stat().st_size == SIZE
    assert taken(ballast) >= SIZE
    assert stat.S_IMODE(ballast.path.stat().st_mode) == 0o600


@pytest.mark.parametrize("code", [errno.EOPNOTSUPP, errno.EINVAL])
def test_where_room_cannot_be_set_aside_it_is_written(ballast, monkeypatch, code):
    """With what no file system can make smaller."""

    def unable(*_):
        raise OSError(code, "not here")

    monkeypatch.setattr(module.os, "posix_fallocate", unable)
    assert ballast.restore()
    assert taken(ballast) >= SIZE
    assert len(set(ballast.path.read_bytes())) == 256


def test_it_makes_room_once(ballast):
    """What is not there cannot be dropped."""
    ballast.restore()
    assert ballast.drop()
    assert not ballast.path.exists()
    assert not ballast.is_in_place
    assert not ballast.drop()


def test_it_is_put_back(ballast):
    """As soon as there is room for it and some more."""
    ballast.restore()
    ballast.drop()
    assert ballast.restore()
    assert taken(ballast) >= SIZE


def test_it_waits_for_room_and_some_more(ballast, monkeypatch):
    """It must not be what fills the disk; while it waits it takes none of what is left."""
    free(monkeypatch, 2 * SIZE - 4096)
    assert not ballast.restore()
    assert (ballast.fault.errno, ballast.path.exists()) == (errno.ENOSPC, False)
    free(monkeypatch, 2 * SIZE)
    assert ballast.restore()
    assert ballast.fault is None


def test_one_that_is_there_needs_no_more_room(ballast, monkeypatch):
    """It is that of the process before, or of one that shares the database: a full disk is no reason against it."""
    ballast.restore()
    free(monkeypatch, 0)
    assert Ballast(ballast.path, SIZE).restore()


@pytest.mark.parametrize("size", [0, 7, SIZE])
def test_one_that_takes_no_room_is_none(ballast, size):
    """A file that is too short, or has holes, is filled."""
    ballast.path.touch()
    os.truncate(ballast.path, size)
    assert ballast.restore()
    assert taken(ballast) >= SIZE


def test_one_of_another_size_is_made_fit(tmp_path, ballast):
    """The setting was changed."""
    Ballast(ballast.path, 3 * SIZE).restore()
    assert ballast.restore()
    assert (ballast.path.stat().st_size, taken(ballast) < 2 * SIZE) == (SIZE, True)


def test_one_that_is_there_is_only_looked_at(ballast, monkeypatch):
    """Every few seconds: it is not opened again."""
    ballast.restore()
    monkeypatch.setattr(module.os, "open", None)
    assert ballast.restore()


def test_one_that_another_process_dropped_is_missed(ballast, monkeypatch):
    """They have the same disk."""
    ballast.restore()
    Ballast(ballast.path, SIZE).drop()
    free(monkeypatch, 0)
    assert not ballast.restore()
    assert not ballast.is_in_place


def test_half_of_one_is_taken_back(ballast, monkeypatch):
    """Where the room turned out not to be there."""

    def full(descriptor, offset, size):
        os.pwrite(descriptor, b"x" * 8192, offset)
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(module.os, "posix_fallocate", full)
    assert not ballast.restore()
    assert not ballast.path.exists()
    assert ballast.fault.strerror == "full"


def test_room_that_is_needed_while_it_is_put_back(ballast, monkeypatch):
    """It is given at once, and the ballast is not in place then."""
    allocate = os.posix_fallocate

    def meanwhile(*where):
        allocate(*where)
        assert ballast.drop()

    monkeypatch.setattr(module.os, "posix_fallocate", meanwhile)
    assert not ballast.restore()
    assert (ballast.is_in_place, ballast.path.exists()) == (False, False)


def test_room_that_is_needed_when_it_was_just_put_back(ballast, monkeypatch):
    """Also where it was dropped between the last look at it and the word that it is there."""
    make = ballast._make

    def meanwhile():
        make()
        assert ballast.drop()

    monkeypatch.setattr(ballast, "_make", meanwhile)
    assert not ballast.restore()
    assert (ballast.is_in_place, ballast.fault.strerror) == (False, "the room was needed meanwhile")
    monkeypatch.undo()
    assert ballast.restore()


def test_nobody_waits_for_one_that_hangs(ballast, monkeypatch):
    """While the disk keeps who puts it back, others go on, and the room is given."""
    begun, go = threading.Event(), threading.Event()
    allocate = os.posix_fallocate

    def hanging(*where):
        begun.set()
        assert go.wait(10)
        allocate(*where)

    monkeypatch.setattr(module.os, "posix_fallocate", hanging)
    thread = threading.Thread(target=ballast.restore)
    thread.start()
    assert begun.wait(10)
    assert not ballast.restore()
    assert ballast.drop()
    go.set()
    thread.join()
    assert not ballast.is_in_place


def test_whether_there_is_room_can_be_asked(ballast, monkeypatch):
    """Without taking any: there is where it is in place, or twice its size is free."""
    for room, has in ((2 * SIZE - 4096, False), (2 * SIZE, True)):
        disk = SimpleNamespace(f_bavail=room // 4096, f_frsize=4096)
        monkeypatch.setattr(module.os, "statvfs", lambda _, disk=disk: disk)
        assert module.has_room(ballast.path, SIZE) is has
    assert not ballast.path.exists()
    ballast.restore()
    monkeypatch.setattr(module.os, "statvfs", lambda _: SimpleNamespace(f_bavail=0, f_frsize=4096))
    assert module.has_room(ballast.path, SIZE)
    assert module.ballast_path("/x/a.db").name == "a.db.ballast"


def test_a_folder_that_may_not_be_written(tmp_path):
    """It is not in place, and why is told; nothing is raised."""
    ballast = Ballast(tmp_path / "none" / "a.db.ballast", SIZE)
    assert not ballast.restore()
    assert ballast.fault.errno == errno.ENOENT
    assert not ballast.drop()

"""SQLite as the store uses it: settings, version, lock file."""

import multiprocessing
import os
from pathlib import Path

import apsw
import pytest

from ainf.store.sqlite import LinkedError, LockedError, LockFile, SQLiteEngine, check_version, connect, real_path
from tests.store.faults import broken, full


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "ainf.db")


def test_settings(path):
    """Every commit is synced to a write-ahead log, foreign keys hold, and readers keep as much as they may."""
    connection = connect(path)
    found = [connection.pragma(name) for name in ("journal_mode", "synchronous", "foreign_keys")]
    assert found == ["wal", 2, 1]
    connection.close()
    for how, cache in ({}, -2048), ({"cache_kib": 256}, -256):
        reader = SQLiteEngine.open_reader(path, **how)
        assert reader.execute("PRAGMA cache_size") == [(cache,)]
        reader.close()


def test_a_new_database_is_its_owners_alone(path):
    """Nobody else may read the answers that it keeps, nor the files beside it; one that is there stays as it was."""
    engine = SQLiteEngine.open(path)
    files = sorted(Path(path).parent.glob(Path(path).name + "*"))
    assert len(files) > 1
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}
    engine.close()
    Path(path).chmod(0o640)
    SQLiteEngine.open(path).close()
    assert Path(path).stat().st_mode & 0o777 == 0o640


def test_a_foreign_key_is_refused(path):
    """A row that points nowhere cannot be written."""
    engine = SQLiteEngine.open(path)
    engine.begin()
    with pytest.raises(apsw.ConstraintError):
        engine.execute("INSERT INTO keys (key_id, digest, account_id, created_at) VALUES ('k', x'00', 'none', 1)")
    engine.rollback()
    engine.close()


def test_a_reader_cannot_write(path):
    """A reading connection refuses to write, and sees what was committed."""
    writer = SQLiteEngine.open(path)
    reader = SQLiteEngine.open_reader(path)
    writer.begin()
    writer.execute("INSERT INTO instances (kind, started_at) VALUES ('command', 1)")
    writer.commit()
    reader.begin()
    assert reader.execute("SELECT count(*) FROM instances") == [(1,)]
    with pytest.raises(apsw.ReadOnlyError):
        reader.execute("INSERT INTO instances (kind, started_at) VALUES ('command', 1)")
    reader.rollback()
    reader.close()
    writer.close()


def test_a_second_writer_is_waited_for_and_then_unavailable(path, monkeypatch):
    """Two processes write in turn; one that has to wait too long is told that the store is away."""
    monkeypatch.setattr("ainf.store.sqlite.BUSY_MS", 20)
    first, second = SQLiteEngine.open(path), SQLiteEngine.open(path)
    first.begin()
    with pytest.raises(apsw.BusyError) as caught:
        second.begin()
    assert second.is_unavailable(caught.value)
    first.commit()
    second.begin()
    second.commit()
    first.close()
    second.close()


def test_rollback_without_a_transaction_does_nothing(path):
    """It may be called whatever state a failure left."""
    engine = SQLiteEngine.open(path)
    engine.rollback()
    engine.close()


@pytest.mark.parametrize("version", ["3.51.2", "3.46.1", "3.7.0"])
def test_an_old_sqlite_is_refused(version):
    """The versions that can corrupt a database in WAL mode are refused by name."""
    with pytest.raises(RuntimeError, match=version):
        check_version(version)


@pytest.mark.parametrize("version", ["3.51.3", "3.54.1", "4.0.0"])
def test_a_new_sqlite_is_taken(version):
    """From 3.51.3 on it is sound; numbers are compared as numbers."""
    check_version(version)


def test_errors_are_told_apart(path):
    """A full disk or a crowd may pass; an input/output error leaves it unknown what is durable."""
    engine = SQLiteEngine.open(path)
    assert (engine.is_unavailable(full()), engine.is_fatal(full())) == (True, False)
    assert (engine.is_unavailable(broken()), engine.is_fatal(broken())) == (False, True)
    assert (engine.is_unavailable(ValueError()), engine.is_fatal(ValueError())) == (False, False)
    crowd = apsw.ProtocolError("locking protocol")
    assert (engine.is_unavailable(crowd), engine.is_fatal(crowd)) == (True, False)
    assert not engine.relieve(full())
    no_index = broken()
    no_index.extendedresult = apsw.SQLITE_IOERR_SHMSIZE
    assert (engine.is_unavailable(no_index), engine.is_fatal(no_index)) == (True, False)
    engine.close()


def test_room_is_made_where_the_disk_is_full(path):
    """And for nothing else; it is worth another try where there was any to make."""
    rooms = [True, False]
    engine = SQLiteEngine.open(path, make_room=lambda: rooms.pop(0))
    assert not engine.relieve(broken())
    assert (engine.relieve(full()), engine.relieve(full()), rooms) == (True, False, [])
    engine.close()


def test_a_file_has_one_path(path, monkeypatch):
    """Whatever symbolic links and folders it is reached through, and whether it is there yet or not."""
    folder = Path(path).parent
    (folder / "link.db").symlink_to("ainf.db")
    (folder / "twice.db").symlink_to(folder / "link.db")
    (folder / "inner").symlink_to(folder, target_is_directory=True)
    monkeypatch.chdir(folder)
    for _ in range(2):
        for name in ("ainf.db", "link.db", "twice.db", "inner/ainf.db", "inner/inner/link.db"):
            assert real_path(name) == real_path(str(folder / name)) == path
        Path(path).touch()


def test_a_file_with_two_names_is_none_to_be_opened(path):
    """Hard links cannot be told from the file, so both names are refused, with what to do; one name is enough again."""
    other = Path(f"{path}.other")
    Path(path).touch()
    other.hardlink_to(path)
    for name in (path, str(other)):
        with pytest.raises(LinkedError, match=rf"{name} has 2 names .*remove all but one"):
            real_path(name)
    other.unlink()
    assert real_path(path) == path
    assert real_path(str(other.parent)) == os.fspath(other.parent)  # a folder has many; that it is none is told later


def take_lock(path, results):
    try:
        LockFile(path)
    except LockedError as error:
        results.put(str(error))
    else:
        results.put("locked")


def test_one_gateway_process(path):
    """A second one is told who has the database and what to do; when the first is gone, the next may have it."""
    lock = LockFile(path)
    with pytest.raises(LockedError, match=r"another ainf gateway uses .*ainf\.db\.lock.*store\.url"):
        LockFile(path)
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    process = context.Process(target=take_lock, args=(path, results))
    process.start()
    assert "another ainf gateway" in results.get(timeout=20)
    process.join()
    lock.release()
    LockFile(path).release()
    results.close()
    results.join_thread()

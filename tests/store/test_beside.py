"""What commands do to a database beside a gateway."""

import pytest

from ainf.inference.errors import DownstreamError
from ainf.store.beside import BooksError, StoreState, read_books, state_of, write_books
from ainf.store.migrate import known_migrations
from ainf.store.sqlite import LockFile, SQLiteEngine
from tests.store.books import START, Books
from tests.store.old import write_schema_1

NEWEST = max(known_migrations())


async def test_write_then_read(tmp_path):
    """Writing makes the database and an epoch of its own; reading makes neither."""
    url = f"sqlite:{tmp_path}/ainf.db"
    assert await write_books(url, lambda tx: tx.epoch, now=lambda: START) == 1
    assert await write_books(url, lambda tx: tx.epoch, now=lambda: START) == 2
    epochs = read_books(url, lambda tx: tx.execute("SELECT kind, ended_at FROM instances"))
    assert epochs == [("command", START), ("command", START)]


def test_there_is_nothing_to_read(tmp_path):
    """A database that is not there is not made by looking."""
    with pytest.raises(BooksError, match="There is no database"):
        read_books(f"sqlite:{tmp_path}/ainf.db", lambda tx: tx)
    assert list(tmp_path.iterdir()) == []


async def test_what_cannot_be_used(tmp_path):
    """A file that is no database, or a folder that is none, is told in words."""
    (tmp_path / "text").write_text("this is not a database, but long enough to be looked at as one\n" * 100)
    with pytest.raises(BooksError, match="text cannot be used: "):
        await write_books(f"sqlite:{tmp_path}/text", lambda tx: tx, now=lambda: START)
    with pytest.raises(BooksError, match="cannot be used: "):
        await write_books(f"sqlite:{tmp_path}/none/ainf.db", lambda tx: tx, now=lambda: START)


async def test_a_refusal_passes_through(tmp_path):
    """What an operation refuses is not taken for the database's fault."""

    def refuse(tx):
        raise DownstreamError("not_found", "no")

    url = f"sqlite:{tmp_path}/ainf.db"
    with pytest.raises(DownstreamError):
        await write_books(url, refuse, now=lambda: START)
    with pytest.raises(DownstreamError):
        read_books(url, refuse)


def test_state(tmp_path):
    """It tells what is there, and whether a gateway has it, without making anything."""
    path = f"{tmp_path}/ainf.db"
    assert state_of(f"sqlite:{path}") == StoreState(path, None, NEWEST, gateway_runs=False)
    assert list(tmp_path.iterdir()) == []
    books = Books(tmp_path)
    assert state_of(f"sqlite:{path}") == StoreState(path, NEWEST, NEWEST, gateway_runs=False)
    for is_shared in (False, True):
        lock = LockFile(path, is_shared=is_shared)
        lock.share()
        assert state_of(f"sqlite:{path}").gateway_runs
        lock.release()
        assert not state_of(f"sqlite:{path}").gateway_runs
    books.sql("PRAGMA user_version = 99")
    for look in (state_of, lambda url: read_books(url, lambda tx: tx.epoch)):
        with pytest.raises(BooksError, match=f"has schema 99, this ainf knows up to {NEWEST}"):
            look(f"sqlite:{path}")


def test_state_through_a_link(tmp_path):
    """A gateway on the file is seen whichever way leads there; the path is told as it was written."""
    (tmp_path / "big").mkdir()
    link = tmp_path / "link.db"
    link.symlink_to(tmp_path / "big" / "ainf.db")
    lock = LockFile(f"{tmp_path}/big/ainf.db")
    assert state_of(f"sqlite:{link}") == StoreState(str(link), None, NEWEST, gateway_runs=True)
    SQLiteEngine.open(f"{tmp_path}/big/ainf.db").close()
    assert state_of(f"sqlite:{link}") == StoreState(str(link), NEWEST, NEWEST, gateway_runs=True)
    lock.release()
    assert not state_of(f"sqlite:{link}").gateway_runs


async def test_a_database_with_two_names(tmp_path):
    """Nothing is read or written of a file that has hard links: it is told in words."""
    SQLiteEngine.open(f"{tmp_path}/ainf.db").close()
    (tmp_path / "other.db").hardlink_to(tmp_path / "ainf.db")
    url = f"sqlite:{tmp_path}/other.db"
    for look in (state_of, lambda url: read_books(url, lambda tx: tx)):
        with pytest.raises(BooksError, match=r"other\.db cannot be used: .* has 2 names"):
            look(url)
    with pytest.raises(BooksError, match=r"other\.db cannot be used: .* has 2 names"):
        await write_books(url, lambda tx: tx, now=lambda: START)


async def test_an_old_database(tmp_path):
    """What its schema lacks is not looked for: it is told what to do, and once something writes it can be read."""
    path = write_schema_1(tmp_path)
    url = f"sqlite:{path}"
    assert state_of(url) == StoreState(path, 1, NEWEST, gateway_runs=False)
    with pytest.raises(BooksError, match=f"has schema 1, this ainf reads {NEWEST}: start `ainf serve`"):
        read_books(url, lambda tx: tx.epoch)
    assert state_of(url).schema == 1
    await write_books(url, lambda tx: tx.epoch, now=lambda: START)
    assert read_books(url, lambda tx: tx.execute("SELECT sum(long_cache_write_tokens) FROM settlements")) == [(0,)]

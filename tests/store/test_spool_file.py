"""A spool file: what was appended is there, what was torn or is broken is not, and nobody takes another's."""

import errno
import itertools
import os
import stat

import pytest

from ainf.store import spool_file
from ainf.store.spool_file import Place, SpoolError, SpoolFile, left_files
from ainf.store.spooled import line_of
from tests.store.waiting import waiting

ONE, TWO, THREE = (line_of(waiting(number)) for number in (1, 2, 3))
LONG = line_of(waiting(4, notes={"long": "x" * 999}))


@pytest.fixture
def prefix(tmp_path):
    return tmp_path / "a.db.spool"


@pytest.fixture
def file(prefix):
    return SpoolFile.create(prefix)


def left(file):
    """Let the writer die; return its file, taken over."""
    file.close()
    adopted = SpoolFile.adopt(file.path)
    assert adopted is not None
    return adopted


def pieces(file):
    """What stands in a file, piece by piece."""
    found = [file.find()]
    while found[-1].end > (found[-2].end if found[1:] else 0):
        found.append(file.find(found[-1].end))
    return found[:-1]


def ids(file):
    found = pieces(file)
    return [place.inference_id for piece in found for place in piece.places], sum(piece.broken for piece in found)


def test_it_is_its_owners_alone(file, prefix):
    """Its name begins with the prefix; others may not read it, for it may hold answers."""
    assert file.path.name == f"a.db.spool.{os.getpid()}-0"
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600
    assert left_files(prefix) == [file.path]
    assert file.is_clear


def test_two_of_one_process_are_two(file, prefix):
    """A file that is there is never taken for one's own."""
    other = SpoolFile.create(prefix)
    assert other.path != file.path
    assert sorted([file.path, other.path]) == left_files(prefix)


def test_what_is_appended_is_found(file):
    """By its place at once, and by whoever reads the file from its beginning."""
    assert file.append([ONE]) == [0]
    assert file.append([TWO, THREE]) == [len(ONE), len(ONE) + len(TWO)]
    assert file.read(Place("inf-000002", len(ONE), len(TWO))) == waiting(2)
    assert not file.is_clear
    adopted = left(file)
    assert ids(adopted) == (["inf-000001", "inf-000002", "inf-000003"], 0)
    assert [adopted.read(place) for place in adopted.find().places] == [waiting(1), waiting(2), waiting(3)]
    assert list(ids(adopted)) == [["inf-000001", "inf-000002", "inf-000003"], 0], "reading changes nothing"


@pytest.mark.parametrize("size", [1, len(ONE) - 1, len(ONE), len(ONE) + 1, len(ONE) + 2])
def test_a_large_file_is_found_in_pieces(file, monkeypatch, size):
    """Wherever a piece would end, it ends with a line; together they are what stands in the file, each line once."""
    lines = [ONE, b"\n", b"x\n", TWO, LONG, b"\nyy\n", THREE]
    file.append([*lines, TWO[:-1]])
    whole = file.find()
    monkeypatch.setattr(spool_file, "PIECE", size)
    found = pieces(file)
    assert tuple(place for piece in found for place in piece.places) == whole.places
    assert ids(file) == (["inf-000001", "inf-000002", "inf-000004", "inf-000003", "inf-000002"], 2)
    ends = {0, *itertools.accumulate(len(line) for line in file.path.read_bytes().splitlines(keepends=True))}
    starts = [0, *(piece.end for piece in found)]
    assert {*starts} <= ends
    assert starts[-1] == file.path.stat().st_size
    # Less than a piece, and a line: that of the longest record.
    assert max(end - start for start, end in itertools.pairwise(starts)) < size + len(LONG)


def test_a_place_where_nothing_is_any_more(file):
    """Is no record; nor is half of one."""
    file.append([ONE, TWO])
    assert file.read(Place("inf-000001", 0, len(ONE) - 2)) is None
    file.clear()
    assert file.read(Place("inf-000001", 0, len(ONE))) is None
    assert file.is_clear
    file.append([THREE])
    assert ids(file) == (["inf-000003"], 0)


def test_a_torn_end_is_nothing(file):
    """Wherever the last line was cut: it was never promised, and what is before it is all there."""
    file.append([ONE])
    whole = file.path.read_bytes()
    adopted = left(file)
    for cut in range(1, len(TWO) - 1):
        adopted.path.write_bytes(whole + TWO[:cut])
        assert ids(adopted) == (["inf-000001"], 0), cut
    adopted.path.write_bytes(whole + b"\0" * 4096)
    assert ids(adopted) == (["inf-000001"], 0)


def test_a_broken_line_loses_no_other(file):
    """Whatever became of it, be it that its end is gone or that it says it is longer than the file: it is counted."""
    adopted = left(file)
    for broken, lines in [
        (b"x" + TWO[1:], 1), (TWO[:1] + b"x" + TWO[2:], 1), (TWO[:-1] + b"x", 1), (b"\xff\n", 1),
        (b"\n" * 9, 0), (TWO[:40] + b"\n" + TWO[40:], 2), (b"99999999 {}\n", 1), (TWO[:-9], 1),
    ]:  # fmt: skip
        for after, more in ((THREE, ["inf-000003"]), (b"\n", [])):
            adopted.path.write_bytes(ONE + broken + after)
            assert ids(adopted) == (["inf-000001", *more], lines), (broken, after)
    adopted.path.write_bytes(ONE + TWO[:-1] + THREE)
    assert ids(adopted) == (["inf-000001", "inf-000002", "inf-000003"], 0)


@pytest.mark.parametrize("written", [0, 1, 40, len(LONG)])
def test_an_append_that_failed_half_way_is_cut_off(file, monkeypatch, written):
    """The next record stands behind the last whole one, also where nothing could be cut off at once."""
    file.append([ONE])
    write, cut = os.pwrite, os.ftruncate

    def full(descriptor, data, at):
        if written:
            write(descriptor, bytes(data)[:written], at)
        raise OSError(errno.ENOSPC, "full")

    def stuck(descriptor, size):
        raise OSError(errno.EIO, "stuck")

    monkeypatch.setattr(spool_file.os, "pwrite", full)
    monkeypatch.setattr(spool_file.os, "ftruncate", stuck)
    with pytest.raises(OSError, match="full"):
        file.append([LONG])
    monkeypatch.setattr(spool_file.os, "ftruncate", cut)
    monkeypatch.setattr(spool_file.os, "pwrite", write)
    assert file.append([THREE]) == [len(ONE)]
    assert file.path.read_bytes() == ONE + THREE


def test_a_batch_is_there_whole_or_not_at_all(file, monkeypatch):
    """What of it was written before the disk was full is taken back."""
    write = os.pwrite

    def full(descriptor, data, at):
        if at:
            raise OSError(errno.ENOSPC, "full")
        return write(descriptor, bytes(data)[: len(ONE)], at)

    monkeypatch.setattr(spool_file.os, "pwrite", full)
    with pytest.raises(OSError, match="full"):
        file.append([ONE, TWO])
    assert file.path.read_bytes() == b""
    assert file.is_clear


def test_what_could_not_be_synced_is_not_trusted(file, monkeypatch):
    """After a sync that failed nothing more is promised, until the file could be emptied, and that synced."""
    file.append([ONE])
    sync = os.fsync

    def failing(descriptor):
        raise OSError(errno.EIO, "gone")

    monkeypatch.setattr(spool_file.os, "fsync", failing)
    with pytest.raises(OSError, match="gone"):
        file.append([TWO])
    monkeypatch.setattr(spool_file.os, "fsync", sync)
    assert file.path.read_bytes() == ONE
    with pytest.raises(OSError, match="synced"):
        file.append([TWO])
    assert file.read(Place("inf-000001", 0, len(ONE))) == waiting(1)
    file.clear()
    file.append([THREE])
    assert ids(file) == (["inf-000003"], 0)


def test_every_append_is_synced(file, monkeypatch):
    """Before it returns."""
    synced = []
    sync = os.fsync
    monkeypatch.setattr(spool_file.os, "fsync", lambda fd: synced.append(os.fstat(fd).st_size) or sync(fd))
    file.append([ONE])
    file.append([TWO, THREE])
    assert synced == [len(ONE), len(ONE + TWO + THREE)]


def test_a_living_writers_file_is_not_taken_over(file, prefix):
    """Its lock says that it lives; a dead one's is gone with it. What is removed meanwhile is nobody's."""
    assert SpoolFile.adopt(file.path) is None
    adopted = left(file)
    assert SpoolFile.adopt(adopted.path) is None
    adopted.remove()
    adopted.close()
    assert SpoolFile.adopt(adopted.path) is None
    assert left_files(prefix) == []


def test_a_file_that_another_process_removed_before_it_was_locked(prefix, monkeypatch):
    """It looked like a dead writer's for a moment: another one is made, for what is written to it would be lost."""
    lock = spool_file.fcntl.flock
    removed = []

    def late(descriptor, how):
        if not removed:
            removed.extend(left_files(prefix))
            removed[0].unlink()
        lock(descriptor, how)

    monkeypatch.setattr(spool_file.fcntl, "flock", late)
    file = SpoolFile.create(prefix)
    assert file.path.exists()
    file.append([ONE])
    assert left_files(prefix) == [file.path]


def test_what_is_kept_is_no_spool(file, prefix):
    """It has another name, one of its own, and all that it held."""
    file.append([ONE])
    names = set()
    for _ in range(2):
        adopted = left(file)
        kept = adopted.keep()
        adopted.close()
        names.add(kept.name)
        assert kept.read_bytes() == ONE
        assert left_files(prefix) == []
        file = SpoolFile.create(prefix)
        file.append([ONE])
    assert len(names) == 2
    assert all(name.startswith("a.db.spool.") for name in names)


@pytest.mark.parametrize("name", ["a.db.spool", "a.db.spool.7", "a.db.spool.7-0.kept-0", "xa.db.spool.7-0", "a.db"])
def test_other_files_are_not_looked_at(tmp_path, prefix, name):
    """Only what is named like a spool of this database."""
    (tmp_path / name).touch()
    assert left_files(prefix) == []


def test_a_folder_that_is_not_there_is_told(tmp_path):
    """With what to do about it."""
    with pytest.raises(SpoolError, match=r"store\.spool must name files in a folder that this user may write to"):
        SpoolFile.create(tmp_path / "none" / "spool")
    assert left_files(tmp_path / "none" / "spool") == []

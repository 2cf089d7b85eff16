"""Batches: one commit for all, refusals that write nothing, and failures that stay with their own caller."""

import apsw
import pytest

from ainf import audit
from ainf.inference.errors import GatewayError, SpendError
from ainf.store.batch import BatchRunner, Job, WroteBeforeRefusingError
from ainf.store.epochs import begin_epoch
from ainf.store.sqlite import MEMORY, SQLiteEngine
from tests.store.faults import FaultyEngine, broken, full


@pytest.fixture
def engine():
    engine = FaultyEngine(SQLiteEngine.open(MEMORY))
    yield engine
    engine.close()


@pytest.fixture
def tx(engine):
    return begin_epoch(engine.inner, "gateway", 1)


def note(text):
    """An operation that writes one audit event and returns its hash."""
    return lambda tx: tx.append_audit("note", 1, None, {"text": text}).hash


def refuse(_):
    raise SpendError("spend_cap_exceeded", "no")


def write_and_refuse(tx):
    note("half")(tx)
    raise SpendError("spend_cap_exceeded", "no")


def bug(tx):
    note("half")(tx)
    raise ZeroDivisionError


def notes(engine):
    return [row[0] for row in engine.inner.execute("SELECT body ->> 'text' FROM audit_events WHERE kind = 'note'")]


def run(engine, tx, *operations):
    jobs = [Job(operation) for operation in operations]
    BatchRunner(engine, tx).run(jobs)
    return jobs


def test_a_batch_is_one_commit(engine, tx):
    """However many operations, they are made durable together, in their order."""
    jobs = run(engine, tx, note("a"), note("b"), note("c"))
    assert engine.commits == 1
    assert notes(engine) == ["a", "b", "c"]
    assert [job.error for job in jobs] == [None] * 3


def test_a_refusal_is_its_callers_alone(engine, tx):
    """The others of the batch are committed with it, once."""
    jobs = run(engine, tx, note("a"), refuse, note("b"))
    assert isinstance(jobs[1].error, SpendError)
    assert (engine.commits, notes(engine)) == (1, ["a", "b"])


@pytest.mark.parametrize(
    ("operation", "error"), [(bug, ZeroDivisionError), (write_and_refuse, WroteBeforeRefusingError)]
)
def test_a_bug_is_its_callers_alone(engine, tx, operation, error):
    """What it wrote is undone, and the others are run again, each in a transaction of its own."""
    jobs = run(engine, tx, note("a"), operation, note("b"))
    assert isinstance(jobs[1].error, error)
    assert notes(engine) == ["a", "b"]
    assert (jobs[0].error, jobs[2].error) == (None, None)


def test_a_failed_commit_is_retried_alone(engine, tx):
    """The first commit fails: each operation gets a commit of its own."""
    engine.commit_faults[1] = full()
    jobs = run(engine, tx, note("a"), note("b"))
    assert engine.commits == 3
    assert notes(engine) == ["a", "b"]
    assert [job.error for job in jobs] == [None, None]


def test_a_commit_that_fails_again_is_unavailable(engine, tx):
    """Only the one whose own commit fails is told so, and nothing of it is there."""
    engine.commit_faults |= {1: full(), 3: full()}
    jobs = run(engine, tx, note("a"), note("b"), note("c"))
    assert notes(engine) == ["a", "c"]
    assert isinstance(jobs[1].error, GatewayError)
    assert (jobs[1].error.code, jobs[1].ran, jobs[1].result) == ("store_unavailable", False, None)


def test_a_locked_database_is_waited_for_once(engine, tx):
    """A transaction that cannot begin is not tried again for each operation, which would wait as often."""
    engine.begin_faults[1] = apsw.BusyError("database is locked")
    jobs = run(engine, tx, note("a"), note("b"))
    assert engine.begins == 1
    assert [job.error.code for job in jobs] == ["store_unavailable"] * 2


def test_what_leaves_it_open_what_is_durable_is_raised(engine, tx):
    """An input/output error is nobody's refusal: it ends the writer."""
    engine.commit_faults[1] = broken()
    with pytest.raises(apsw.IOError):
        run(engine, tx, note("a"))


def test_the_chain_has_no_gap_after_a_failure(engine, tx):
    """Events that were undone leave neither a gap nor a wrong link, and what was remembered of them is forgotten."""

    def remember(tx):
        tx.memo["seen"] = True

    run(engine, tx, note("a"), remember)
    assert tx.memo == {"seen": True}
    engine.commit_faults[2] = full()
    run(engine, tx, note("b"), bug, note("c"))
    assert tx.memo == {}
    rows = engine.inner.execute(
        "SELECT epoch, seq, kind, inference_id, at, body, prev_hash, hash FROM audit_events ORDER BY seq"
    )
    assert list(audit.faults([audit.Event(*row) for row in rows], tx.epoch)) == []
    assert notes(engine) == ["a", "c"]


def test_who_gave_up_is_skipped(engine, tx):
    """An operation that nobody waits for any more is not begun, unless it is meant to run unattended."""
    jobs = [Job(note("a"), given_up=True), Job(note("b"), given_up=True, unattended=True)]
    BatchRunner(engine, tx).run(jobs)
    assert notes(engine) == ["b"]
    BatchRunner(engine, tx).run(jobs[:1])
    assert engine.commits == 1


def test_room_that_was_made_is_used_at_once(engine, tx):
    """Where the disk was full and there is room now, what failed is run again, each by itself, be it only one."""
    engine.relieve = lambda error: isinstance(error, apsw.FullError)
    engine.commit_faults[1] = full()
    (job,) = run(engine, tx, note("a"))
    assert (job.error, job.ran, notes(engine)) == (None, True, ["a"])
    engine.commit_faults[engine.commits + 1] = full()
    assert [job.error for job in run(engine, tx, note("b"), note("c"))] == [None, None]
    assert notes(engine) == ["a", "b", "c"]


def test_room_is_asked_for_once_for_each_failure(engine, tx):
    """Where none could be made, one that was alone is refused."""
    asked = []
    engine.relieve = lambda error: bool(asked.append(error))
    engine.commit_faults |= {1: full(), 2: full(), 3: full()}
    (job,) = run(engine, tx, note("a"))
    assert isinstance(job.error, GatewayError)
    assert len(asked) == 1
    assert [bool(job.error) for job in run(engine, tx, note("b"), note("c"))] == [True, False]
    assert len(asked) == 3

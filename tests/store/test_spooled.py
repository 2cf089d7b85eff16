"""The record of a closing that waits: what is written of it is read, and nothing else is."""

import attrs
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ainf.inference.outcome import Ending, Evidence
from ainf.store.spooled import line_of, record_of
from tests.store.records import COST, closing_of
from tests.store.waiting import ANSWER, waiting

RICH = waiting(
    answer=ANSWER, frees_claim=False, claim_expires_at=7, notes={"clamp_tokens": 3, "window": "day", "é\n": ["\u2028"]},
    charges=(COST,), served=1, first_byte_us=4,
)  # fmt: skip


@pytest.mark.parametrize(
    "record",
    [
        waiting(),
        RICH,
        waiting(record=closing_of(3, 40, 0)),
        waiting(cost_nusd=None, evidence=Evidence.NONE, attempts=()),
        waiting(ending=Ending.CLIENT_DISCONNECTED, finish_reason=None, cost_nusd=2**62),
        attrs.evolve(waiting(), clamp_tokens=4, router="ainf-inference", labels={}),
    ],
)
def test_what_is_written_is_read(record):
    """A line is one line, and gives the record that it was made of: every field, the kept answer's bytes too."""
    line = line_of(record)
    assert line.endswith(b"\n")
    assert line.startswith(b"\n")
    assert line.count(b"\n") == 2
    assert record_of(line) == record
    assert record_of(line[:-1]) == record


def test_a_torn_line_is_no_record():
    """However much of it is missing at its end."""
    line = line_of(RICH)
    assert [size for size in range(len(line) - 1) if record_of(line[:size]) is not None] == []


@given(st.data())
def test_a_line_of_which_a_byte_is_another_is_no_record(data):
    """Wherever that is."""
    line = bytearray(line_of(RICH))
    place = data.draw(st.integers(1, len(line) - 2))
    line[place] ^= data.draw(st.integers(1, 255))
    assert record_of(bytes(line)) is None


@given(st.binary(max_size=300))
def test_garbage_is_no_record(garbage):
    """Whatever stands there."""
    assert record_of(garbage) is None


def test_a_record_that_is_not_understood_is_none():
    """One that lacks what this version needs, or says what cannot be, though its checksum is right."""
    import hashlib

    for body in (
        b"{}",
        b"[]",
        b"7",
        b'"\xff"',
        b"[" * 9999,
        line_of(RICH)[66:-1].replace(b'"held_nusd":50', b'"held_nusd":"50"'),
    ):
        assert record_of(hashlib.sha256(body).hexdigest().encode() + b" " + body) is None


def test_it_comes_to_what_it_will_be_settled_at():
    """The hold is divided by the cost; there are no hashes yet."""
    settlement = waiting(cost_nusd=60).settlement()
    assert (settlement.held_nusd, settlement.settled_nusd, settlement.released_nusd, settlement.overrun_nusd) == (
        50, 50, 0, 10,
    )  # fmt: skip
    assert (settlement.hash, settlement.prev_hash) == (None, None)
    assert not settlement.is_empty
    assert waiting(cost_nusd=None).settlement().settled_nusd == 50
    assert waiting(received_bytes=0).settlement().is_empty


def test_it_is_settled_with_a_note():
    """Since when it waited, beside what else was to be known."""
    told = RICH.told
    assert told.notes == {**RICH.closing.notes, "spooled_at": told.at}
    assert attrs.evolve(told, notes=RICH.closing.notes) == RICH.closing


def test_what_json_cannot_say_is_a_defect():
    """It is raised where it is to be written, not where it is read."""
    with pytest.raises((TypeError, msgspec.MsgspecError)):
        line_of(waiting(notes={"odd": object()}))

"""Decisions, read back as the room of routing wrote them."""

import msgspec
import pytest

from ainf.routing.hint import Hint
from ainf.store.decisions import Candidate, Decided, decision_of, read_decision
from tests.store.books import Books
from tests.store.routed import PRICES, RULESET, Routed, decision

CASES = {
    "plain": decision(),
    "hint": decision(Hint(550, 50_000_000, "code", "cost"), requested="fleet-auto"),
    "unknown preference": decision(Hint(preference="sweetest")),
    "resting": decision(small={"rests_s": 2.5}),
    "learnt": decision(large={"quality": 700, "observations": 9, "latency_ms": 80}),
    "nothing": decision(Hint(min_quality=990), has_tools=True),
}


@pytest.mark.parametrize("case", CASES)
def test_everything_written_is_read(case):
    """What a record says is what was decided; nothing in it goes unread."""
    decided = CASES[case]
    read = read_decision(decided.record())
    assert read.ranked == decided.ranked
    assert (read.target, read.requested, read.ruleset) == ("fleet", decided.requested, decided.ruleset.hash)
    assert (read.floor, read.floor_from, read.preference) == (decided.floor, decided.floor_from, decided.preference)
    assert read.barred == decided.barred == ("secret",)
    written = msgspec.json.decode(decided.record())
    assert said(msgspec.to_builtins(read), written) == written


def said(read, written):
    """Return what was read, as far as it was written."""
    if isinstance(written, dict):
        return {name: said(read[name], part) for name, part in written.items()}
    if isinstance(written, list):
        return [said(one, part) for one, part in zip(read, written, strict=True)]
    return read


def test_what_is_left_out_has_its_default():
    """A record names only what is known, and not as usual."""
    read = read_decision(decision(Hint(preference="balanced")).record())
    assert (read.hint.min_quality, read.hint.max_cost_nusd, read.hint.task_type) == (None, None, None)
    assert read.unknown_preference is None
    weak = next(one for one in read.candidates if one.model == "weak")
    assert weak == Candidate(
        model="weak",
        provider="weak-vendor",
        quality=300,
        quality_from="prior",
        input_tokens=1000,
        output_tokens=500,
        cost_nusd=3_000_000,
        price=PRICES["weak"].version,
        fell="floor",
    )


def test_a_later_version_may_say_more():
    """Fields and filters that this version does not know do not keep a decision from being read."""
    record = msgspec.json.decode(decision().record())
    record["mood"] = "good"
    record["candidates"][0] |= {"fell": "mood", "mood": 3}
    read = read_decision(msgspec.json.encode(record).decode())
    assert isinstance(read, Decided)
    assert read.candidates[0].fell == "mood"


def test_of_an_exchange(tmp_path):
    """A routed exchange has its decision from its opening on; a pinned one has none."""
    books = Books(tmp_path)
    routed = Routed(books)
    found = decision_of(books.tx, routed.open(decision()))
    assert found is not None
    assert found.ruleset == RULESET.hash
    assert decision_of(books.tx, books.open(routed.key)) is None
    assert decision_of(books.tx, "none") is None

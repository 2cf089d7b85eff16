"""Secrets: what shows them, and what does not."""

import copy
import json
import pickle

import attrs
import msgspec
import pytest

from ainf.inference.secret import Secret

TEXT = "sk-canary-0123456789"


@attrs.frozen
class Holder:
    name: str
    key: Secret


SECRET = Secret(TEXT.encode())
HELD = Holder("main", SECRET)


@pytest.mark.parametrize(
    "shown",
    [
        repr(SECRET), str(SECRET), f"{SECRET}", f"{SECRET!r}", f"{SECRET:}", "%s %r" % (SECRET, SECRET),  # noqa: UP031 - one more way
        repr(HELD), repr([SECRET]), repr({"key": SECRET}), str(attrs.asdict(HELD)), repr(ValueError(SECRET)),
        str(ValueError(SECRET)), repr(dir(SECRET)),
    ],
)  # fmt: skip
def test_nothing_prints_it(shown):
    """No way of turning it, or what holds it, into text shows it, or how long it is."""
    assert "canary" not in shown
    assert "0123" not in shown
    assert str(len(TEXT)) not in shown


@pytest.mark.parametrize(
    "write",
    [
        pickle.dumps, copy.copy, copy.deepcopy, json.dumps, msgspec.json.encode, msgspec.msgpack.encode, bytes, len,
        iter, memoryview, lambda secret: b"Bearer " + secret, lambda secret: f"{secret:>9}", vars,
        lambda secret: msgspec.json.encode(Holder("main", secret)), lambda secret: b"x" in secret,
    ],
)  # fmt: skip
def test_nothing_writes_it_by_accident(write):
    """What would copy or send it fails, and does not show it."""
    with pytest.raises(TypeError) as caught:
        write(SECRET)
    assert "canary" not in str(caught.value)


def test_only_reveal_gives_it_away():
    """The one who sends it asks for it by name."""
    assert SECRET.reveal() == TEXT.encode()


def test_it_is_compared_by_its_digest():
    """It equals nothing by accident, not even its own bytes; equal ones have equal digests."""
    assert SECRET != TEXT
    assert TEXT.encode() != SECRET
    assert Secret(TEXT.encode()) != SECRET
    assert SECRET.digest() == Secret(TEXT.encode()).digest() != Secret(TEXT.encode()[:-1]).digest()
    assert len(SECRET.digest()) == 32

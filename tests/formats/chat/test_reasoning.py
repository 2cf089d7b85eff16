import pytest

from ainf.formats.chat.reasoning import SOURCE, entry_of, opaque_in, told_in, unsealed_in
from ainf.inference.conversation import Opaque

FOREIGN = Opaque("messages.redacted", "a:b.c=")


def test_told():
    """The text of entries is joined, of summaries too; secrets tell nothing."""
    entries = [
        {"type": "reasoning.text", "text": "a", "signature": "s"},
        {"type": "reasoning.summary", "summary": "b"},
        {"type": "reasoning.encrypted", "data": "c", "text": "d"},
        {"type": "reasoning.text", "text": 7},
    ]
    assert told_in(entries) == "ab"


@pytest.mark.parametrize(
    "odd", [None, 7, "x", {"type": "reasoning.text"}, [7, None, [], {}, {"type": 7}, {"type": ["x"]}, {"text": "a"}]]
)
def test_what_is_no_entry(odd):
    """Whatever else stands there says nothing and breaks nothing."""
    assert (told_in(odd), opaque_in(odd), unsealed_in(odd)) == ("", [], [])


def test_an_entry_goes_back_as_it_came():
    """A provider's own entry is given back with the text that it signs, its number anew."""
    entry = {"type": "reasoning.text", "text": "hm", "signature": "s", "format": "f", "id": "i", "index": 4}
    (opaque,) = opaque_in([entry])
    assert opaque.source == SOURCE
    assert entry_of(opaque, "hm", 0) == entry | {"index": 0}
    summary = {"type": "reasoning.summary", "summary": "hm", "signature": "s"}
    (signed,) = opaque_in([summary])
    assert signed == Opaque(SOURCE, '{"type":"reasoning.summary","signature":"s"}')
    assert entry_of(signed, "hm", 1) == summary | {"index": 1}
    (secret,) = opaque_in([{"type": "reasoning.encrypted", "data": "d", "id": None, "x": [1]}])
    assert entry_of(secret, "", 2) == {"type": "reasoning.encrypted", "data": "d", "index": 2}


def test_another_formats_data_is_sealed_and_told_apart():
    """What a client sends back is its maker's again; a provider that says the same is not believed."""
    entry = entry_of(FOREIGN, "", 0)
    assert entry == {"type": "reasoning.encrypted", "data": FOREIGN.sealed(), "index": 0}
    assert unsealed_in([entry]) == [FOREIGN]
    assert [opaque.source for opaque in opaque_in([entry])] == [SOURCE]


@pytest.mark.parametrize("data", ["", "[]", "{}", '{"type":7}', '{"type":["reasoning.text"]}', "[" * 5000, "{oops"])
def test_data_that_is_no_entry(data):
    """Own data that was meddled with is given back sealed, as what it is."""
    assert entry_of(Opaque(SOURCE, data), "hm", 0)["data"] == f"ainf.chat:{data}"


def test_broken_text():
    """Lone surrogates of a provider become U+FFFD, so that all of it can be written."""
    (opaque,) = opaque_in([{"type": "reasoning.encrypted", "data": "a\ud83d"}])
    assert opaque.data.encode().count("\ufffd".encode()) == 1

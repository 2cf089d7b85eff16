import pytest

from ainf.formats.gemini.part_writer import PartWriter, merged
from ainf.inference.conversation import Opaque
from ainf.inference.events import BlockDelta, BlockEnd, BlockKind, BlockStart


def parts_of(*events, shows_refusals=True):
    writer = PartWriter(shows_refusals=shows_refusals)
    return [part for event in events for part in writer.send(event)] + writer.end()


def block(index, kind, *texts, opaque=None, name=None):
    call_id = f"c{index}" if name else None
    return [
        BlockStart(index, kind, call_id, name),
        *(BlockDelta(index, text) for text in texts),
        BlockEnd(index, opaque),
    ]


CALL = {"functionCall": {"name": "f", "args": {"a": 1}, "id": "c9"}}


def call(*texts):
    return block(9, BlockKind.TOOL_CALL, *texts or ('{"a":', "1}"), name="f")


def test_text():
    """Text and thoughts go on piece by piece."""
    assert parts_of(*block(0, BlockKind.REASONING, "h", "m"), *block(1, BlockKind.TEXT, "a", "b")) == [
        {"text": "h", "thought": True},
        {"text": "m", "thought": True},
        {"text": "a"},
        {"text": "b"},
    ]


def test_call():
    """A call is a part when it is whole; one that never ends is none."""
    assert parts_of(*call()) == [CALL]
    assert parts_of(*call("")) == [{"functionCall": {"name": "f", "args": {}, "id": "c9"}}]
    assert parts_of(*call()[:-1]) == []


@pytest.mark.parametrize("text", ["{broken", "[]", "7", "{" * 5000, '{"a":' * 100_000])
def test_broken_call(text):
    """Arguments that are no object cannot be said on this wire; that a call was left out is told."""
    writer = PartWriter(shows_refusals=True)
    assert [part for event in call(text) for part in writer.send(event)] == []
    assert writer.is_broken


def test_custom_call():
    """Free-form input stands under a name of its own."""
    events = block(1, BlockKind.CUSTOM_TOOL_CALL, "any ", "thing", name="f")
    assert parts_of(*events) == [{"functionCall": {"name": "f", "args": {"input": "any thing"}, "id": "c1"}}]


@pytest.mark.parametrize(("shows", "parts"), [(True, [{"text": "no"}]), (False, [])])
def test_refusal(shows, parts):
    """A refusal is text, unless this format's own end says it already."""
    assert parts_of(*block(0, BlockKind.REFUSAL, "no"), shows_refusals=shows) == parts


def signature(source, data="s"):
    return block(0, BlockKind.REASONING, opaque=Opaque(source, data))


@pytest.mark.parametrize(
    ("source", "signs_text", "signs_call"),
    [("gemini", True, True), ("gemini.text", True, False), ("gemini.call", False, True)],
)
def test_signature_of_the_next_part(source, signs_text, signs_call):
    """A signature stands on the part behind it if it is of that part's kind, else on an empty part before it."""
    own, signed = [{"text": "", "thoughtSignature": "s"}], {"thoughtSignature": "s"}
    text = parts_of(*signature(source), *block(1, BlockKind.TEXT, "a", "b"))
    assert text == ([{"text": "a"} | signed, {"text": "b"}] if signs_text else [*own, {"text": "a"}, {"text": "b"}])
    assert parts_of(*signature(source), *call()) == ([CALL | signed] if signs_call else [*own, CALL])
    thought = [{"text": "hm", "thought": True}]
    assert parts_of(*signature(source), *block(1, BlockKind.REASONING, "hm")) == own + thought
    assert parts_of(*signature(source)) == own
    assert parts_of(*signature(source), *block(1, BlockKind.REASONING, opaque=Opaque(source, "t"))) == [
        *own,
        {"text": "", "thoughtSignature": "t"},
    ]


def test_signature_of_a_thought():
    """A thought's signature follows its text; that of another provider travels sealed in the same place."""
    own = parts_of(*block(0, BlockKind.REASONING, "hm", opaque=Opaque("gemini", "s")))
    assert own == [{"text": "hm", "thought": True}, {"text": "", "thought": True, "thoughtSignature": "s"}]
    (sealed,) = parts_of(*signature("messages.redacted"))
    assert sealed == {"text": "", "thought": True, "thoughtSignature": "YWluZi5tZXNzYWdlcy5yZWRhY3RlZDpz"}


def test_merged():
    """Pieces of one text are joined, and of one thought with its signature; what a signature parts stays apart."""
    thought, signed = {"text": "h", "thought": True}, {"thoughtSignature": "s"}
    assert merged([thought, thought, thought | {"text": ""} | signed, thought, {"text": "a"}, {"text": "b"}]) == [
        {"text": "hh", "thought": True} | signed,
        thought,
        {"text": "ab"},
    ]
    assert merged([{"text": "a"}, {"text": "b"} | signed, {"text": "c"}, CALL, {"text": "d"}]) == [
        {"text": "a"},
        {"text": "bc"} | signed,
        CALL,
        {"text": "d"},
    ]


def test_merging_changes_no_part():
    """The parts that are joined are not written to."""
    parts = [{"text": "a"}, {"text": "b"}]
    merged(parts)
    assert parts == [{"text": "a"}, {"text": "b"}]

import time

import pytest

from ainf.formats.responses.blocks import BlockTracker
from ainf.formats.responses.wire import view_of
from ainf.inference.errors import UpstreamError
from ainf.inference.events import BlockKind
from tests.formats.responses.support import blocks_of, call, message


def take(*documents, output=()):
    tracker = BlockTracker()
    events = [one for document in documents for one in tracker.take(view_of(document))]
    return [block[:4] for block in blocks_of(events + tracker.finish(list(output)))]


def delta(kind, piece, at=0, **fields):
    return {"type": f"response.{kind}.delta", "output_index": at, "delta": piece, **fields}


def item(kind, document, at=0):
    return {"type": f"response.output_item.{kind}", "output_index": at, "item": document}


HI = [(BlockKind.TEXT, None, None, "Hi")]


@pytest.mark.parametrize(
    "documents",
    [
        [delta("output_text", "Hi")],
        [delta("output_text", "H"), {"type": "response.output_text.done", "text": "Hi"}],
        [{"type": "response.output_text.done", "text": "Hi"}, item("done", message("Hi"))],
        [{"type": "response.content_part.added", "part": {"type": "output_text", "text": "Hi"}}],
        [{"type": "response.content_part.done", "part": {"type": "output_text", "text": "Hi"}}],
        [item("added", message("Hi"))],
        [item("done", message("Hi"))],
        [item("done", message("Hi")), item("done", message("Hi")), delta("output_text", "late")],
    ],
)
def test_a_text_is_said_once(documents):
    """Whichever events of a text a server sends, it is said whole, and once."""
    assert take(*documents) == HI
    assert take(*documents, output=[message("Hi")]) == HI


def test_only_the_whole_output():
    """A server that sends nothing but the end says everything there."""
    assert take(output=[message("Hi"), call("{}")]) == [*HI, (BlockKind.TOOL_CALL, "c_1", "f", "{}")]


def test_an_output_that_leaves_items_out():
    """Where the output at the end has other items in the places of those that were seen, it says nothing new."""
    thought = {"id": "rs_1", "type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}]}
    assert take(item("done", thought), item("done", message("Hi"), 1), output=[message("Hi")]) == [
        (BlockKind.REASONING, None, None, "hm"),
        *HI,
    ]


@pytest.mark.parametrize("at", [-1, -2, 1, 1 << 31])
def test_an_item_in_a_place_that_there_is_not(at):
    """An item outside the output at the end is none of it, which says nothing new."""
    assert take(item("done", message("Hi"), at), output=[message("Hi")]) == HI


def test_many_items_at_the_end():
    """What the end of an item costs does not grow with the blocks of other items."""
    texts = [delta("output_text", "x", at) for at in range(1_000)]
    output = [message("x")] * 1_000 + [{}] * 100_000
    began = time.process_time()
    assert len(take(*texts, output=output)) == 1_000
    assert time.process_time() - began < 2


def test_parts_of_reasoning_are_paragraphs():
    """The parts of one item's reasoning are one block."""
    pieces = [delta("reasoning_summary_text", piece, summary_index=n) for n, piece in [(0, "a"), (0, "b"), (1, "c")]]
    assert take(*pieces, delta("reasoning_text", "d", content_index=0)) == [
        (BlockKind.REASONING, None, None, "ab\n\nc\n\nd")
    ]


def test_reasoning_without_a_word_is_no_block():
    """An item of reasoning that neither tells nor hides anything says nothing."""
    assert take(item("done", {"id": "rs_1", "type": "reasoning", "summary": []})) == []


def test_a_call_waits_for_its_name():
    """Arguments that come before their call are said with it."""
    early = delta("function_call_arguments", '{"a"')
    assert take(early, item("done", call('{"a":1}'))) == [(BlockKind.TOOL_CALL, "c_1", "f", '{"a":1}')]
    assert take(item("added", call("", name="")), early, item("done", call('{"a":1}'))) == [
        (BlockKind.TOOL_CALL, "c_1", "f", '{"a":1}')
    ]


@pytest.mark.parametrize(
    ("document", "found"),
    [
        (call({"a": 1}), (BlockKind.TOOL_CALL, "c_1", "f", '{"a":1}')),
        (call("{}", call_id=None), (BlockKind.TOOL_CALL, "fc_1", "f", "{}")),
        (call("{}", call_id=None, id=7, name=None), (BlockKind.TOOL_CALL, "call_0", "", "{}")),
        ({"type": "custom_tool_call", "call_id": "c", "name": "f", "input": "x"},
         (BlockKind.CUSTOM_TOOL_CALL, "c", "f", "x")),
    ],
)  # fmt: skip
def test_odd_calls(document, found):
    """A call is read whatever it lacks."""
    assert take(item("done", document)) == [found]


def test_kinds_never_mix():
    """A part of another kind in the same place is a block of its own."""
    assert take(item("added", call("")), delta("reasoning_summary_text", "hm"), delta("output_text", "Hi")) == [
        (BlockKind.TOOL_CALL, "c_1", "f", ""),
        (BlockKind.REASONING, None, None, "hm"),
        *HI,
    ]


@pytest.mark.parametrize("place", ["output_index", "content_index"])
def test_many_blocks(place):
    """A provider that opens blocks without end is out of bounds."""
    with pytest.raises(UpstreamError, match="more parts"):
        take(*(delta("output_text", "x", **{place: number}) for number in range(1100)) if place != "output_index"
             else (delta("output_text", "x", number) for number in range(1100)))  # fmt: skip


def test_many_paragraphs():
    """Parts of one item are bounded too."""
    with pytest.raises(UpstreamError, match="more parts"):
        take(*(delta("reasoning_summary_text", "x", summary_index=number) for number in range(1100)))


@pytest.mark.parametrize(
    "document",
    [
        item("added", 7),
        item("done", {"type": ["x"], "content": 3}),
        item("done", {"type": "message", "content": [7, {"type": []}, {"type": "output_text", "text": 7}]}),
        {"type": "response.content_part.added", "part": "x"},
        delta("output_text", 7),
        delta("output_text", ""),
        {"type": "response.output_text.done", "text": None},
        item("done", {"type": "web_search_call", "status": "completed"}),
    ],
)
def test_what_says_nothing(document):
    """Events of the wrong shape, and tools that a provider runs, add no output."""
    assert "".join(said for *_, said in take(document)) == ""

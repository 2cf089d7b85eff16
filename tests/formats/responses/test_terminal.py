from ainf.formats.base import Answer
from ainf.formats.responses.frames import End, first_object
from ainf.formats.responses.terminal import output_of, terminal_group
from ainf.formats.responses.transcript import Transcript
from ainf.formats.responses.wire import COMPLETED, INCOMPLETE, view_of
from tests.formats.responses.support import USAGE, call, documents, listener, message, validate

BASE = first_object(listener(), Answer(), is_translated=True)


def transcript(*told):
    made = Transcript(1 << 16)
    for document in told:
        made.take(view_of(document), 1)
    return made


def test_beginning_and_end():
    """A client that knows nothing is told the beginning, then the end."""
    found = validate(terminal_group(transcript(), BASE, End(COMPLETED), USAGE))
    assert [one["type"] for one in found] == ["response.created", "response.completed"]
    assert found[1]["response"]["usage"]["total_tokens"] == 19


def test_what_is_open_is_closed_in_order():
    """Items are ended in their order, with numbers that go on."""
    begun = {"type": "response.created", "sequence_number": 6}
    items = [
        {"type": "response.output_item.added", "sequence_number": number, "output_index": at, "item": item}
        for number, at, item in [(7, 1, call("")), (8, 0, message("") | {"content": []})]
    ]
    made = transcript(begun, *items)
    found = documents(terminal_group(made, BASE, End(INCOMPLETE, "max_output_tokens"), USAGE))
    assert [(one["sequence_number"], one.get("output_index")) for one in found] == [(9, 0), (10, 1), (11, None)]
    assert found[-1]["response"]["output"] == output_of(made) == [found[0]["item"], found[1]["item"]]
    assert {item["status"] for item in output_of(made)} == {"incomplete"}


def test_what_was_done_is_repeated():
    """An item that was done is repeated as it was, and not ended again."""
    done = {"type": "response.output_item.done", "output_index": 0, "item": message("Hi")}
    found = documents(terminal_group(transcript(done), BASE, End(COMPLETED), USAGE))
    assert [one["type"] for one in found] == ["response.created", "response.completed"]
    assert found[1]["response"]["output"] == [message("Hi")]

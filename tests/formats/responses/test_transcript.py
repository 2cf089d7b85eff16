import json

import pytest

from ainf.formats.responses.transcript import Transcript
from ainf.formats.responses.wire import decode_event, delta_text
from tests.formats.responses.support import call, message


def tell(transcript, *documents):
    """Tell events; return what only their repetition brought."""
    late = 0
    for document in documents:
        payload = json.dumps(document).encode()
        view, _ = decode_event(payload)
        said = delta_text(view)
        if said is None:
            late += transcript.take(view, len(payload))
        else:
            transcript.say(view, said)
    return late


def payloads(*documents):
    return [json.dumps(document).encode() for document in documents]


CREATED = {"type": "response.created", "sequence_number": 0, "response": {"id": "resp_1"}}
ADDED = {"type": "response.output_item.added", "sequence_number": 1, "output_index": 0,
         "item": message("") | {"content": [], "status": "in_progress"}}  # fmt: skip
PART = {"type": "response.content_part.added", "sequence_number": 2, "output_index": 0, "content_index": 0,
        "part": {"type": "output_text", "text": ""}}  # fmt: skip
HE = {"type": "response.output_text.delta", "sequence_number": 3, "output_index": 0, "content_index": 0, "delta": "He"}
TEXT_DONE = {"type": "response.output_text.done", "sequence_number": 4, "output_index": 0, "content_index": 0,
             "text": "Hello"}  # fmt: skip
PART_DONE = PART | {"type": "response.content_part.done", "sequence_number": 5}
ITEM_DONE = {"type": "response.output_item.done", "sequence_number": 6, "output_index": 0, "item": message("Hello")}
ALL = [CREATED, ADDED, PART, HE, TEXT_DONE, PART_DONE, ITEM_DONE]


def state(transcript):
    items = [(item.document("incomplete"), item.final is not None) for item in transcript.items]
    parts = [
        (part.text, part.said, part.is_said, part.is_done) for item in transcript.items for part in item.parts.values()
    ]
    return items, parts, transcript.next_number, transcript.is_created


@pytest.mark.parametrize("kept", range(len(ALL) + 1))
def test_rewind(kept):
    """Taking events back leaves what there was before them."""
    transcript, before = Transcript(1 << 16), Transcript(1 << 16)
    tell(transcript, *ALL)
    tell(before, *ALL[:kept])
    if kept < len(ALL):
        transcript.rewind(payloads(*ALL[kept:]))
    assert state(transcript) == state(before)


def test_rewind_without_numbers():
    """Where a server numbers nothing, events are counted."""
    transcript = Transcript(1 << 16)
    bare = [{name: value for name, value in document.items() if name != "sequence_number"} for document in ALL]
    tell(transcript, *bare)
    assert transcript.next_number == 7
    transcript.rewind([*payloads(*bare[4:]), b"no JSON"])
    assert transcript.next_number == 4


def test_an_event_without_a_number_among_others():
    """A keep-alive has no number and takes none, told or taken back."""
    transcript = Transcript(1 << 16)
    tell(transcript, *ALL[:4], {"type": "keepalive"})
    assert transcript.next_number == ALL[3]["sequence_number"] + 1
    transcript.rewind(payloads({"type": "keepalive"}))
    assert transcript.next_number == ALL[3]["sequence_number"] + 1
    transcript.rewind(payloads(ALL[3]))
    assert transcript.next_number == ALL[3]["sequence_number"]


def test_late_text_is_found_once():
    """What a repetition holds beyond the deltas is found where it comes first."""
    transcript = Transcript(1 << 16)
    assert [tell(transcript, document) for document in ALL] == [0, 0, 0, 0, 3, 0, 0]
    assert transcript.items[0].final == message("Hello")


def test_items_that_were_not_announced():
    """A server need not announce what it tells; such an item is not ended by an event of its own."""
    transcript = Transcript(1 << 16)
    tell(
        transcript,
        HE,
        {"type": "response.function_call_arguments.delta", "output_index": 1, "delta": "{"},
        {"type": "response.custom_tool_call_input.delta", "output_index": 2, "delta": "x"},
        {"type": "response.reasoning_summary_text.delta", "output_index": 3, "delta": "h"},
        {"type": "response.reasoning_text.delta", "output_index": 4, "delta": "h"},
    )
    found = [item.document("incomplete") for item in transcript.items]
    assert [item["type"] for item in found] == [
        "message", "function_call", "custom_tool_call", "reasoning", "reasoning",
    ]  # fmt: skip
    assert (found[0]["content"][0]["text"], found[1]["arguments"], found[2]["input"]) == ("He", "{", "x")
    assert found[3]["summary"] == [{"type": "summary_text", "text": "h"}]
    assert not any(item.is_announced for item in transcript.items)


def test_names_of_late_items():
    """An item that is only told when it is done brings its name too."""
    done = {"type": "response.output_item.done", "output_index": 0, "item": call("{}", name="größe")}
    assert tell(Transcript(1 << 16), done) == 2 + 7


def test_a_providers_own_tool():
    """An item of another type keeps its own status."""
    transcript = Transcript(1 << 16)
    tell(transcript, ADDED | {"item": {"type": "web_search_call", "id": "ws_1", "status": "searching"}})
    assert transcript.items[0].document("incomplete")["status"] == "searching"


def test_limit():
    """Beyond the limit only sizes are kept, and nothing new is."""
    transcript = Transcript(2000)
    tell(transcript, ADDED, PART, *[HE | {"delta": "x" * 100}] * 20)
    assert transcript.is_full
    assert transcript.items[0].parts["content", 0].said == 2000
    assert tell(transcript, TEXT_DONE | {"text": "x" * 2000}) == 0
    tell(transcript, *[ADDED | {"output_index": number} for number in range(1, 50)])
    assert len(transcript.items) == 1


def test_base_is_bounded():
    """A first object that is over the limit is not kept."""
    transcript = Transcript(100)
    tell(transcript, CREATED | {"response": {"instructions": "x" * 200}})
    assert (transcript.base, transcript.is_created) == ({}, True)


def test_lone_surrogates():
    """What is repeated can be encoded: halves that came apart are joined."""
    transcript = Transcript(1 << 16)
    for half in ("\ud83d", "\ude00"):
        tell(transcript, HE | {"delta": half})
    assert transcript.items[0].parts["content", 0].text == "😀"

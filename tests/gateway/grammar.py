"""What a client's parser may rely on: the grammar of each protocol's streams, checked event by event.

Written from the vendors' references, with nothing of the gateway's own code. What is checked is what a client was
handed, whatever became of the provider: everything that began is ended, once, and says what was delivered.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

import attrs

from tests.gateway.dialects import Dialect

_RESPONSE_ENDS: Final = {"response.completed", "response.incomplete", "response.failed"}
_PART_TEXTS: Final = {
    "response.output_text": "text",
    "response.refusal": "refusal",
    "response.reasoning_text": "text",
    "response.reasoning_summary_text": "text",
    "response.function_call_arguments": "arguments",
}
_PLACES: Final = ("output_index", "content_index", "summary_index")


def check_grammar(dialect: Dialect, payloads: list[bytes]) -> None:
    """Check a whole stream; the payloads must all be what a client of the protocol can parse."""
    _CHECKS[dialect.format](payloads)


def _events(payloads: list[bytes]) -> list[dict[str, Any]]:
    events = [json.loads(payload) for payload in payloads]
    assert all(isinstance(event, dict) for event in events)
    return events


# --- chat completions ---


def _check_chat(payloads: list[bytes]) -> None:
    assert payloads[-1] == b"[DONE]"
    finished = False
    for chunk in _events(payloads[:-1]):
        assert isinstance(chunk["id"], str)
        assert isinstance(chunk["model"], str)
        for choice in chunk["choices"]:
            assert not finished, "content behind the finish"
            finished = choice["finish_reason"] is not None
    assert finished


# --- messages ---


@attrs.define
class _Message:
    began: bool = False
    open: dict[int, str] = attrs.field(factory=dict)
    blocks: int = 0
    stop_reason: str | None = None
    ended: bool = False


def _check_messages(payloads: list[bytes]) -> None:
    state = _Message()
    for event in _events(payloads):
        assert not state.ended, "something behind the end"
        if event["type"] not in {"ping", "error"}:
            assert state.began is (event["type"] != "message_start"), event
        _MESSAGE_STEPS[event["type"]](state, event)
    assert state.ended


def _message_start(state: _Message, event: dict[str, Any]) -> None:
    state.began = True
    assert event["message"]["content"] == []


def _block_start(state: _Message, event: dict[str, Any]) -> None:
    assert state.stop_reason is None
    assert event["index"] == state.blocks, "blocks are numbered without gaps"
    state.blocks += 1
    state.open[event["index"]] = event["content_block"]["type"]


def _block_delta(state: _Message, event: dict[str, Any]) -> None:
    kinds = {
        "text": {"text_delta"},
        "thinking": {"thinking_delta", "signature_delta"},
        "tool_use": {"input_json_delta"},
    }
    assert event["delta"]["type"] in kinds[state.open[event["index"]]]


def _block_stop(state: _Message, event: dict[str, Any]) -> None:
    del state.open[event["index"]]


def _message_delta(state: _Message, event: dict[str, Any]) -> None:
    assert not state.open, "a block is left open"
    assert state.stop_reason is None
    state.stop_reason = event["delta"]["stop_reason"]


def _message_stop(state: _Message, event: dict[str, Any]) -> None:
    del event
    assert state.stop_reason is not None
    state.ended = True


def _message_error(state: _Message, event: dict[str, Any]) -> None:
    assert not state.open, "a block is left open"
    assert isinstance(event["error"]["type"], str)
    assert isinstance(event["error"]["message"], str)
    state.ended = True


_MESSAGE_STEPS: Final[Mapping[str, Callable[[_Message, dict[str, Any]], None]]] = {
    "message_start": _message_start,
    "content_block_start": _block_start,
    "content_block_delta": _block_delta,
    "content_block_stop": _block_stop,
    "message_delta": _message_delta,
    "message_stop": _message_stop,
    "error": _message_error,
    "ping": lambda state, event: None,
}


# --- responses ---


@attrs.define
class _Response:
    begun: bool = False
    items: dict[int, dict[str, Any]] = attrs.field(factory=dict)
    """Output index -> the item, as it was done; empty while it is open."""
    parts: dict[tuple[str, ...], str] = attrs.field(factory=dict)
    """Place of a text -> what its deltas said."""
    said: set[tuple[str, ...]] = attrs.field(factory=set)
    """Places of the texts that are done."""


def _check_responses(payloads: list[bytes]) -> None:
    events = _events(payloads)
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert events[0]["type"] == "response.created"
    assert [event["type"] in _RESPONSE_ENDS for event in events[:-1]] == [False] * (len(events) - 1)
    state = _Response()
    for event in events[:-1]:
        _take_response_event(state, event)
    assert events[-1]["type"] in _RESPONSE_ENDS
    response = events[-1]["response"]
    assert response["status"] == events[-1]["type"].removeprefix("response.")
    assert response["id"] == events[0]["response"]["id"]
    assert response["output"] == [state.items[index] for index in sorted(state.items)], "the end says another answer"


def _take_response_event(state: _Response, event: dict[str, Any]) -> None:
    kind: str = event["type"]
    stem, _, verb = kind.rpartition(".")
    index = event.get("output_index")
    if kind == "response.output_item.added":
        assert index == len(state.items), "items are numbered without gaps"
        state.items[index] = {}
    elif kind == "response.output_item.done":
        assert state.items[index] == {}, "an item is ended twice"
        assert event["item"]
        state.items[index] = event["item"]
        _check_item(state, index, event["item"])
    elif stem in _PART_TEXTS:
        place = (stem, *(str(event.get(name)) for name in _PLACES))
        assert state.items[index] == {}, "text of an item that is ended"
        assert place not in state.said
        if verb == "delta":
            state.parts[place] = state.parts.get(place, "") + event["delta"]
        else:
            assert verb == "done"
            state.said.add(place)
            assert event[_PART_TEXTS[stem]] == state.parts.get(place, "")


def _check_item(state: _Response, index: int, item: dict[str, Any]) -> None:
    texts = dict.fromkeys(_PART_TEXTS, "")
    for (stem, at, *_), text in sorted(state.parts.items()):
        if at == str(index):
            texts[stem] += text
    if item["type"] == "function_call":
        assert item["arguments"] == texts["response.function_call_arguments"]
        return
    parts = [*(item.get("content") or ()), *(item.get("summary") or ())]
    said = "".join(part.get("text", part.get("refusal", "")) for part in parts)
    assert said == "".join(texts.values())
    open_parts = {place for place in state.parts if place[1] == str(index)} - state.said
    assert not open_parts, "a text is not ended"


_CHECKS: Final[Mapping[str, Callable[[list[bytes]], None]]] = {
    "chat": _check_chat,
    "messages": _check_messages,
    "responses": _check_responses,
}

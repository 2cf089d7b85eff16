"""The Responses wire: typed views of a stream's events, and the words of its items, with only what we read from them.

Source: ``openai.types.responses`` (OpenAI's API reference, "streaming events" and "the response object").

Words: an *item* is one element of a response's output (a message, a call, a piece of reasoning), at its output index;
a *part* is a text inside an item: a content part, a summary part, or the arguments or input of a call.

Decoding is tolerant in two steps. A view is decoded by type (one decode for all payloads of a read, where all are
deltas); what does not fit is *opaque*: it is read loosely, and what has a wrong type counts as absent.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

import attrs
import msgspec

from ainf.formats.loose import clean, load_loosely, text_bytes
from ainf.formats.views import view_decoder, views_decoder

DONE: Final = b"[DONE]"
"""The end marker of other formats; some servers send it here too. It says nothing."""

CREATED: Final = "response.created"
COMPLETED: Final = "response.completed"
INCOMPLETE: Final = "response.incomplete"
FAILED: Final = "response.failed"
ERROR: Final = "error"
ITEM_ADDED: Final = "response.output_item.added"
ITEM_DONE: Final = "response.output_item.done"

ENDS: Final = frozenset({COMPLETED, INCOMPLETE})
"""Events that are the evidence of an end (beside ``FAILED``, which is an error)."""

CALL_TYPES: Final = frozenset({"function_call", "custom_tool_call"})
"""Types of items that are calls of the client's own tools."""


@attrs.frozen(eq=False)  # each is the only one of its kind, and looked up on the hot path
class PartKind:
    """How the wire names one kind of part."""

    stem: str
    """What its text events begin with: ``<stem>.delta``, ``<stem>.done``."""
    field: str
    """The field of its item that holds it."""
    text_field: str
    """The field of a part, or of its ``done`` event, that holds its text."""
    type: str | None = None
    """The type of the part; None where the item's field is the text itself."""
    list_stem: str | None = None
    """What the events of the part as a whole begin with: ``<list_stem>.added``, ``<list_stem>.done``."""

    @property
    def index_field(self) -> str | None:
        """The field of its events that numbers it inside its item."""
        return f"{self.field}_index" if self.type else None

    def part_of(self, text: str) -> dict[str, Any]:
        """Return the part with this text."""
        extra = {"annotations": list[Any](), "logprobs": list[Any]()} if self is TEXT else {}
        return {"type": self.type, self.text_field: text, **extra}


TEXT: Final = PartKind("response.output_text", "content", "text", "output_text", "response.content_part")
REFUSAL: Final = PartKind("response.refusal", "content", "refusal", "refusal", "response.content_part")
THOUGHT: Final = PartKind("response.reasoning_text", "content", "text", "reasoning_text", "response.content_part")
SUMMARY: Final = PartKind(
    "response.reasoning_summary_text", "summary", "text", "summary_text", "response.reasoning_summary_part"
)
ARGUMENTS: Final = PartKind("response.function_call_arguments", "arguments", "arguments")
INPUT: Final = PartKind("response.custom_tool_call_input", "input", "input")

_KINDS: Final = (TEXT, REFUSAL, THOUGHT, SUMMARY, ARGUMENTS, INPUT)
DELTAS: Final[Mapping[str, PartKind]] = MappingProxyType({f"{kind.stem}.delta": kind for kind in _KINDS})
TEXT_DONES: Final[Mapping[str, PartKind]] = MappingProxyType({f"{kind.stem}.done": kind for kind in _KINDS})
PARTS_ADDED: Final = frozenset(f"{kind.list_stem}.added" for kind in _KINDS if kind.list_stem)
PARTS_DONE: Final = frozenset(f"{kind.list_stem}.done" for kind in _KINDS if kind.list_stem)
_BY_TYPE: Final = {kind.type: kind for kind in _KINDS if kind.type}
_CALL_KINDS: Final = (ARGUMENTS, INPUT)


class DeltaView(msgspec.Struct, gc=False):
    """An event, as far as a delta needs it."""

    type: str = ""
    delta: Any = None
    output_index: int = 0
    content_index: int | None = None
    summary_index: int | None = None
    sequence_number: Any = None

    @property
    def part_index(self) -> int:
        """The number of the part inside its item."""
        return self.content_index or self.summary_index or 0


class EventView(DeltaView, gc=False):
    """An event, with everything that we read."""

    item_id: Any = None
    text: Any = None
    refusal: Any = None
    arguments: Any = None
    input: Any = None
    part: Any = None
    item: Any = None
    response: Any = None
    error: Any = None
    code: Any = None
    message: Any = None
    param: Any = None


decode_deltas: Final = views_decoder(DeltaView)
"""Returns the views of all payloads, or None when any of them does not fit; see ``views_decoder``."""

_decode_event = view_decoder(EventView)
_TYPES: Final = {"type": str, "output_index": int, "content_index": int, "summary_index": int}


def decode_event(payload: bytes) -> tuple[EventView | None, bool]:
    """Return the view of one payload, None where it is no JSON object at all, and whether it is opaque."""
    view = _decode_event(payload)
    if view is not None:
        return view, False
    document = load_loosely(payload)
    return (None if document is None else view_of(document)), True


def view_of(document: Mapping[str, Any]) -> EventView:
    """Return the view of an event that is decoded already; fields of a wrong type count as absent."""
    return EventView(**{
        name: document[name]
        for name in EventView.__struct_fields__
        if name in document and type(document[name]) is _TYPES.get(name, type(document[name]))
    })


def delta_text(view: DeltaView) -> str | None:
    """Return the text that a delta brings; None for any other event."""
    return view.delta if type(view.delta) is str and view.type.endswith(".delta") else None


def done_text(view: EventView, kind: PartKind) -> str | None:
    """Return the whole text that a text's ``done`` event repeats."""
    return read_text(getattr(view, kind.text_field))


def read_text(value: Any) -> str | None:  # noqa: ANN401 - a provider's word, judged here
    """Return a text, or the JSON of an object that stands where its text should; None for anything else."""
    if isinstance(value, str):
        return value
    return msgspec.json.encode(value).decode() if isinstance(value, dict) and _is_plain(value) else None


def read_part(part: Any) -> tuple[PartKind, str] | None:  # noqa: ANN401 - a provider's word, judged here
    """Return the kind and the text of a part; None for what is no part that we know."""
    if not isinstance(part, dict) or not isinstance(part.get("type"), str):
        return None
    kind = _BY_TYPE.get(part["type"])
    return None if kind is None else (kind, read_text(part.get(kind.text_field)) or "")


def texts_of(item: Mapping[str, Any]) -> list[tuple[PartKind, int, str]]:
    """Return the texts of an item, with the number of each."""
    texts: list[tuple[PartKind, int, str]] = []
    for field in ("summary", "content"):
        parts = item.get(field)
        for number, part in enumerate(parts if isinstance(parts, list) else ()):
            found = read_part(part)
            if found is not None and found[0].field == field:
                texts.append((found[0], number, found[1]))
    for kind in _CALL_KINDS:
        text = read_text(item.get(kind.field))
        if text:
            texts.append((kind, 0, text))
    return texts


def item_bytes(item: Any) -> int:  # noqa: ANN401 - a provider's word, judged here
    """Return how much visible output an item holds: its name and its texts."""
    if not isinstance(item, dict):
        return 0
    name = item.get("name")
    return text_bytes(name if isinstance(name, str) else None) + sum(text_bytes(text) for _, _, text in texts_of(item))


def view_bytes(view: EventView) -> int:
    """Return the visible output that an event brings by itself; what only repeats brings none."""
    text = delta_text(view)
    if text is not None:
        return text_bytes(text)
    if view.type == ITEM_ADDED:
        return item_bytes(view.item)
    if view.type in PARTS_ADDED:
        found = read_part(view.part)
        return 0 if found is None else text_bytes(found[1])
    return 0


def output_of(response: Any) -> list[dict[str, Any]]:  # noqa: ANN401 - a provider's word, judged here
    """Return the items of a response object; what is no object among them is an item without a word."""
    output = response.get("output") if isinstance(response, dict) else None
    return [item if isinstance(item, dict) else {} for item in output] if isinstance(output, list) else []


def word_of(document: Any, name: str) -> str | None:  # noqa: ANN401 - a provider's word, judged here
    """Return a text field of an object, fit to be encoded; None where there is none."""
    value = document.get(name) if isinstance(document, dict) else None
    return clean(value) if isinstance(value, str) else None


def _is_plain(value: dict[str, Any]) -> bool:
    try:
        msgspec.json.encode(value)
    except (ValueError, RecursionError):
        return False
    return True

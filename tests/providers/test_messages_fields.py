import time

import pytest

from ainf.providers.messages_fields import REFUSED_FIELDS, check_messages_fields
from tests.providers.requests import BARE, COVERED, LONG_COVERED, refused

BASE = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]}
MARK = {"type": "ephemeral"}


def block(**fields):
    return {"messages": ["odd", {"role": "user", "content": ["odd", fields]}]}


def test_many_blocks():
    """What a block costs does not grow with those behind it."""
    text = {"type": "text", "text": "Hi"}
    began = time.process_time()
    check_messages_fields(BASE | {"messages": [{"role": "user", "content": [text] * 300_000}]}, BARE)
    assert time.process_time() - began < 3


@pytest.mark.parametrize("name", sorted(REFUSED_FIELDS))
def test_refused(name):
    """Each listed field is refused by name, and free when it asks for nothing."""
    assert refused(check_messages_fields, BASE | {name: ["x"]}, LONG_COVERED) == name
    for nothing in (None, False, []):
        check_messages_fields(BASE | {name: nothing}, BARE)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"service_tier": "priority"}, "service_tier"),
        ({"speed": "fast"}, "speed"),
        ({"diagnostics": {"previous_message_id": "msg_1"}}, "diagnostics.previous_message_id"),
        (
            {"context_management": {"edits": [{"type": "clear_thinking_20251015"}, {"type": "compact_20260112"}]}},
            "context_management.edits[1].type",
        ),
        ({"context_management": {"edits": [{}]}}, "context_management.edits[0].type"),
        ({"tools": [{"name": "f"}, {"type": "web_search_20250305", "name": "web_search"}]}, "tools[1].type"),
        ({"tools": [{"type": "web_fetch_20260318"}]}, "tools[0].type"),
        ({"tools": [{"type": "code_execution_20260521"}]}, "tools[0].type"),
        ({"tools": [{"type": "tool_search_tool_bm25_20251119"}]}, "tools[0].type"),
        ({"tools": [{"type": "mcp_toolset"}]}, "tools[0].type"),
        ({"tools": [{"type": "advisor_20260301"}]}, "tools[0].type"),
        ({"tools": [{"type": "bash_code_execution_20250825"}]}, "tools[0].type"),
        ({"tools": [{"type": "bash_20250124x"}]}, "tools[0].type"),
        ({"tools": [{"type": ["custom"]}]}, "tools[0].type"),
        (block(type="image", source={"type": "file", "file_id": "file_1"}), "messages[1].content[1].source.file_id"),
        (block(type="container_upload", file_id="file_1"), "messages[1].content[1].file_id"),
        (
            block(type="tool_result", content=[{"type": "document", "source": {"type": "file", "file_id": "f"}}]),
            "messages[1].content[1].content[0].source.file_id",
        ),
    ],
)
def test_refused_values(fields, param):
    """Values, tools and blocks that change the price, or are the whole account's, are refused where they stand."""
    assert refused(check_messages_fields, BASE | fields, LONG_COVERED) == param


MARKED = [
    ({"cache_control": MARK}, "cache_control"),
    ({"system": [{"type": "text", "text": "x", "cache_control": MARK}]}, "system[0].cache_control"),
    ({"tools": [{"name": "f", "cache_control": MARK}]}, "tools[0].cache_control"),
    ({"tools": [{"type": "bash_20250124", "cache_control": MARK}]}, "tools[0].cache_control"),
    (block(type="text", text="x", cache_control=MARK), "messages[1].content[1].cache_control"),
    (
        block(type="tool_result", content=[{"type": "text", "text": "x", "cache_control": MARK}]),
        "messages[1].content[1].content[0].cache_control",
    ),
    (
        block(type="document", source={"type": "content", "content": [{"type": "text", "cache_control": MARK}]}),
        "messages[1].content[1].source.content[0].cache_control",
    ),
]


@pytest.mark.parametrize(("fields", "param"), MARKED)
def test_cache_marks(fields, param):
    """Wherever a mark stands, it needs a price for what it writes."""
    assert refused(check_messages_fields, BASE | fields, BARE) == param
    check_messages_fields(BASE | fields, COVERED)


def test_long_cache_marks():
    """An hour has a price of its own."""
    fields = BASE | {"cache_control": MARK | {"ttl": "1h"}}
    assert refused(check_messages_fields, fields, COVERED) == "cache_control"
    check_messages_fields(fields, LONG_COVERED)
    check_messages_fields(BASE | {"cache_control": MARK | {"ttl": "5m"}}, COVERED)


def test_what_only_looks_like_a_mark():
    """A tool's schema and a call's input may hold any names."""
    schema = {"type": "object", "properties": {"cache_control": {"type": "string"}, "file_id": {"type": "string"}}}
    call = {"type": "tool_use", "id": "1", "name": "f", "input": {"cache_control": 1, "file_id": "x"}}
    check_messages_fields(BASE | {"tools": [{"name": "f", "input_schema": schema}]} | block(**call), BARE)


@pytest.mark.parametrize(
    "fields",
    [
        {"service_tier": "auto", "speed": "standard"},
        {"service_tier": "standard_only", "speed": None},
        {"diagnostics": {"previous_message_id": None}},
        {"context_management": {"edits": [{"type": "clear_tool_uses_20250919"}]}},
        {"context_management": "odd"},
        {"tools": [{"name": "f", "input_schema": {}}, {"type": "custom", "name": "g"}, {"type": None}]},
        {"tools": [{"type": f"{kind}_20250124"} for kind in ("bash", "text_editor", "memory", "computer")]},
        {"tools": [{"type": "computer_toolset_20260801"}, {"type": "browser_toolset_20260801"}, "odd"]},
        {"tools": {"type": "web_search_20250305"}},
        {"system": "Be brief.", "thinking": {"type": "adaptive"}, "output_config": {"effort": "low"}, "x_new": 1},
        block(type="image", source={"type": "url", "url": "https://x/y.png"}),
        block(type="tool_result", content="text"),
        {"messages": "odd"},
    ],
)
def test_free(fields):
    """What keeps price, model and host rides along, and odd shapes are the vendor's to refuse."""
    check_messages_fields(BASE | fields, BARE)

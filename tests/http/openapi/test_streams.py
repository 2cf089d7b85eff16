"""Examples of streams."""

import json

import pytest

from ainf.http.openapi.document import document
from ainf.http.openapi.streams import EVENT_OF, media
from ainf.sse import EventStreamReader
from tests.gateway.described import described
from tests.gateway.dialects import DIALECTS

EXAMPLES = document("http://gateway.test")["components"]["examples"]
DESCRIBED = described()

formats = pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.format)


def payloads(name: str) -> list[bytes]:
    reader = EventStreamReader(max_line_bytes=10_000, max_event_bytes=10_000)
    return reader.receive(EXAMPLES[name]["value"].encode()).payloads


@formats
@pytest.mark.parametrize("ending", ["completed", "capped", "failed"])
def test_each_event_is_what_the_schema_says(dialect, ending):
    """And each of them goes wrong with a wrong one: the schema tells events apart."""
    at = f"#/components/schemas/{EVENT_OF[dialect.format]}"
    for payload in payloads(f"{dialect.format}-{ending}"):
        if payload != b"[DONE]":
            event = json.loads(payload)
            assert DESCRIBED.faults(at, event) == []
            wrong = {name: [value] for name, value in event.items()}
            assert DESCRIBED.faults(at, wrong) != []


@formats
def test_each_ends_once_as_it_is_titled(dialect):
    """With the last event of its format, and the reason or the error that it is an example of."""
    said = {
        ending: dialect.read_stream(payloads(f"{dialect.format}-{ending}"))
        for ending in media(dialect.format)["examples"]
    }
    assert list(said) == ["completed", "capped", "failed"]
    for each in said.values():
        assert (each.terminals, each.ends_with_terminal) == (1, True)
        assert each.text.startswith("By the")
    assert said["completed"].reason in {"stop", "end_turn", "completed"}
    assert said["capped"].reason == "spend_cap_exceeded"
    assert said["failed"].error is not None
    assert said["failed"].error["code"] == "upstream_truncated"
    assert said["completed"].error is said["capped"].error is None

"""The headers, as the document has them."""

import re
from pathlib import Path

import ainf
from ainf.http.openapi.document import document

COMPONENTS = document("http://gateway.test")["components"]
SOURCES = Path(ainf.__file__).parent
OTHERS = {"cli", "simulator"}
"""Rooms that are clients, or providers."""


def own_names() -> set[str]:
    """Every name of a header of ours that stands in the gateway's code, beside what describes it."""
    found = set()
    for path in SOURCES.rglob("*.py"):
        parts = path.relative_to(SOURCES).parts
        if parts[0] not in OTHERS and parts[:2] != ("http", "openapi"):
            found |= set(re.findall(r'b"(x-(?:ainf|should|ratelimit)-[a-z-]*[a-z])[":]', path.read_text()))
    return found


def test_every_header_of_ours_is_described():
    """What the code reads is a parameter, what it says is an answer's header; and nothing else is either."""
    described = {name.removesuffix(".optional") for name in (*COMPONENTS["headers"], *COMPONENTS["parameters"])}
    ours = {name for name in described if name.startswith(("x-ainf-", "x-should-"))}
    assert own_names() == ours


def test_a_header_that_some_answers_lack_is_required_on_the_others():
    """Both forms of it say the same."""
    for name, header in COMPONENTS["headers"].items():
        if name.endswith(".optional"):
            always = COMPONENTS["headers"][name.removesuffix(".optional")]
            assert always["required"] is True
            assert "required" not in header
            assert header["schema"] == always["schema"]
            assert header["description"].endswith(always["description"])

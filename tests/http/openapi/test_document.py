"""The document as a whole: valid, of all routes, and without anything that nobody refers to."""

import json
import re
from collections.abc import Iterator
from typing import Any

from openapi_spec_validator import OpenAPIV31SpecValidator

from ainf import __version__
from ainf.http.openapi.document import document
from tests.gateway.world import world

DOCUMENT = document("http://gateway.test")


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for child in node.values():
            yield from references(child)
    elif isinstance(node, list):
        for child in node:
            yield from references(child)


def test_it_is_valid():
    """OpenAPI's own rules, and JSON Schema's in every schema."""
    assert list(OpenAPIV31SpecValidator(DOCUMENT).iter_errors()) == []


async def test_it_has_every_route_and_no_other(tmp_path, autojump_clock):
    """The router's paths with their methods are the document's; HEAD goes with GET."""
    async with world(tmp_path, "sim") as here:
        routes = {
            re.sub(r"<(?:path:)?(\w+)>", r"{\1}", rule.rule): {method.lower() for method in rule.methods} - {"head"}
            for rule in here.app.url_map.iter_rules()
        }
    assert routes == {path: set(operations) for path, operations in DOCUMENT["paths"].items()}


def test_each_component_is_there_for_something():
    """What is referred to exists, and what exists is referred to."""
    components = {
        f"#/components/{kind}/{name}"
        for kind, named in DOCUMENT["components"].items()
        if kind != "securitySchemes"
        for name in named
    }
    assert set(references(DOCUMENT)) == components
    schemes = {name for wanted in DOCUMENT["security"] for name in wanted}
    assert schemes == set(DOCUMENT["components"]["securitySchemes"])


def test_it_says_where_and_which_version():
    """The public URL as it is configured, and ainf's version."""
    assert DOCUMENT["servers"] == [{"url": "http://gateway.test"}]
    assert DOCUMENT["info"]["version"] == __version__
    tags = {tag for operations in DOCUMENT["paths"].values() for each in operations.values() for tag in each["tags"]}
    assert tags == {tag["name"] for tag in DOCUMENT["tags"]}


def test_every_sentence_is_one():
    """What is said to people begins with a capital, or with code, and ends with a full stop."""

    def descriptions(node: Any) -> Iterator[str]:
        if isinstance(node, dict):
            for name, child in node.items():
                if name in {"description", "summary"} and isinstance(child, str):
                    yield child
                else:
                    yield from descriptions(child)
        elif isinstance(node, list):
            for child in node:
                yield from descriptions(child)

    odd = [said for said in descriptions(DOCUMENT) if not re.match(r"[A-Z`]", said) or said.strip()[-1] not in ".|`"]
    assert odd == []


def test_it_is_small_enough_to_read():
    """What is said of several paths is said once."""
    assert len(json.dumps(DOCUMENT)) < 200_000

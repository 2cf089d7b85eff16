"""Answers held against the document that the gateway serves of itself.

A document is checked *closed*: where it does not say that other fields may stand beside those that it lists, none may.
"""

import json
import re
from collections.abc import Iterator, Mapping
from copy import deepcopy
from datetime import datetime
from typing import Any, Final
from urllib.parse import urlsplit

from jsonschema import Draft202012Validator, FormatChecker
from referencing import Registry
from referencing.jsonschema import DRAFT202012

from ainf.http.openapi.document import document
from ainf.sse import EventStreamReader
from tests.gateway.world import Client

_BASE: Final = "urn:openapi"
_FRAMING: Final = {"content-type", "content-length", "connection", "date", "transfer-encoding"}
"""Headers that OpenAPI leaves to the media type and to HTTP."""


_FORMATS: Final = FormatChecker(formats=())
"""Nothing else is installed that would check a format."""


@_FORMATS.checks("date-time", ValueError)
def _is_moment(value: object) -> bool:
    return not isinstance(value, str) or datetime.fromisoformat(value).utcoffset() is not None


@_FORMATS.checks("uri", ValueError)
def _is_uri(value: object) -> bool:
    return not isinstance(value, str) or bool(urlsplit(value).netloc)


def closed(schema: Any) -> Any:
    """A copy in which records have the fields that are listed, and no others."""
    if isinstance(schema, list):
        return [closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    copy = {name: closed(value) for name, value in schema.items()}
    kinds = copy.get("type")
    if "properties" in copy and (kinds == "object" or (isinstance(kinds, list) and "object" in kinds)):
        copy.setdefault("additionalProperties", False)
    return copy


def escaped(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")


def pointer(*names: str) -> str:
    return "#/" + "/".join(map(escaped, names))


class Described:
    """A document, and what it says of requests and answers."""

    def __init__(self, described: dict[str, Any]) -> None:
        self.document = closed(described)
        resource = DRAFT202012.create_resource(self.document)
        self._registry = Registry().with_resource(_BASE, resource)
        self._validators: dict[str, Draft202012Validator] = {}

    def at(self, at: str) -> Any:
        """What stands at a pointer, behind any reference."""
        found = self.document
        for part in at.removeprefix("#/").split("/"):
            found = found[part.replace("~1", "/").replace("~0", "~")]
        return self.at(found["$ref"]) if isinstance(found, dict) and "$ref" in found else found

    def faults(self, at: str, value: Any) -> list[str]:
        """What is wrong with a value by the schema at a pointer."""
        validator = self._validators.get(at)
        if validator is None:
            validator = self._validators[at] = Draft202012Validator(
                {"$ref": f"{_BASE}{at}"}, registry=self._registry, format_checker=_FORMATS
            )
        return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(value)]

    def path_of(self, path: str) -> str:
        """The document's name of a request's path."""
        path = path.partition("?")[0]
        templates = sorted(self.document["paths"], key=lambda template: template.count("{"))
        for template in templates:
            if re.fullmatch(re.sub(r"\\\{\w+\\\}", ".+", re.escape(template)), path):
                return template
        raise AssertionError(f"{path} is not described")

    def answer_at(self, method: str, path: str, status: int) -> str:
        """The pointer to what is said of a status."""
        template = self.path_of(path)
        operations = self.document["paths"][template]
        called = "get" if method == "HEAD" else method.lower()
        assert (called in operations) is (status != 405)
        at = ("paths", template, called if called in operations else next(iter(operations)), "responses")
        answers = self.at(pointer(*at))
        name = str(status) if str(status) in answers else "default"
        return answers[name].get("$ref") or pointer(*at, name)

    def codes(self, at: str) -> set[str]:
        """The codes of the error answer at a pointer."""
        _, only = self.at(f"{at}/content/application~1json/schema")["allOf"]
        return set(only["properties"]["error"]["properties"]["code"]["enum"])

    def check(self, client: Client) -> None:
        """An answer is what the document says of its path and status, and every header of it is described."""
        assert client.status is not None
        self.check_answer(client.scope["method"], client.scope["path"], client.status, client.headers, client.body)

    def check_answer(self, method: str, path: str, status: int, headers: Mapping[str, str], body: bytes) -> None:
        """The same of an answer that came in any way."""
        at = self.answer_at(method, path, status)
        faults = [*self._header_faults(at, headers), *self._body_faults(at, headers["content-type"], body)]
        assert not faults, (path, status, body[:600], faults)

    def _header_faults(self, at: str, headers: Mapping[str, str]) -> Iterator[str]:
        described = self.at(f"{at}/headers")
        for name in headers.keys() - described.keys() - _FRAMING:
            yield f"the header {name} is not described"
        for name in described:
            header = self.at(f"{at}/headers/{name}")
            if name in headers:
                reference = described[name]["$ref"]
                yield from self.faults(f"{reference}/schema", _read(headers[name], header["schema"]["type"]))
            elif header.get("required"):
                yield f"the header {name} is missing"

    def _body_faults(self, at: str, content_type: str, body: bytes) -> Iterator[str]:
        kind = content_type.partition(";")[0]
        assert kind in self.at(f"{at}/content"), kind
        schema = f"{at}/content/{escaped(kind)}/schema"
        if kind == "application/json":
            yield from self.faults(schema, json.loads(body))
        elif kind == "text/event-stream":
            yield from self.event_faults(schema, body)
        else:
            yield from self.faults(schema, body.decode())

    def event_faults(self, at: str, body: bytes) -> Iterator[str]:
        """What is wrong with a stream by its schema."""
        reader = EventStreamReader(max_line_bytes=1 << 20, max_event_bytes=1 << 20)
        payloads = reader.receive(body).payloads
        assert payloads, "an empty stream"
        assert not reader.pending, "the stream ends inside an event"
        for payload in payloads:
            if payload != b"[DONE]":
                yield from self.faults(f"{at}/contentSchema", json.loads(payload))


def _read(value: str, kind: str) -> object:
    """A header's value, as its schema means it."""
    if kind == "integer" and value.isdigit():
        return int(value)
    return {"true": True, "false": False}.get(value, value) if kind == "boolean" else value


def described(public_url: str = "http://gateway.test") -> Described:
    """The gateway's own document."""
    return Described(deepcopy(document(public_url)))

"""The operations."""

import re

from ainf.http.openapi.document import document
from ainf.http.openapi.paths import paths
from ainf.protocols.registry import ENDPOINTS, PROTOCOLS

PATHS = paths()
OPERATIONS = {path: operation for path, operations in PATHS.items() for operation in operations.values()}


def names(path: str, place: str) -> list[str]:
    parameters = OPERATIONS[path].get("parameters", [])
    return [each["name"] for each in parameters if each.get("in") == place]


def test_operations_have_names_of_their_own():
    """Clients are generated with them."""
    ids = [operation["operationId"] for operation in OPERATIONS.values()]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"[a-z0-9_.]+", each) for each in ids)


def test_what_stands_in_braces_is_a_parameter():
    """Each variable of a path is described, and nothing else is said to be one."""
    for path in PATHS:
        assert names(path, "path") == re.findall(r"{(\w+)}", path)


def test_each_endpoint_is_a_post_with_a_body():
    """And everything else is a GET without one."""
    for path, operations in PATHS.items():
        assert list(operations) == ["post" if path in ENDPOINTS else "get"]
        assert ("requestBody" in OPERATIONS[path]) is (path in ENDPOINTS)


def test_what_streams_says_so():
    """Where a protocol generates, there are two media types; where it counts or embeds, one."""
    for path, protocol in ENDPOINTS.items():
        content = OPERATIONS[path]["responses"]["200"]["content"]
        is_streamed = protocol in {PROTOCOLS[name] for name in ("chat_completions", "messages", "responses")}
        assert ("text/event-stream" in content) is is_streamed


def test_headers_are_read_where_they_mean_something():
    """No idempotency key where nothing is billed, and Anthropic's headers where Anthropic's words are spoken."""
    read = {path: {each["$ref"].rpartition("/")[2] for each in OPERATIONS[path]["parameters"]} for path in ENDPOINTS}
    assert {path for path in read if "idempotency-key" in read[path]} == set(ENDPOINTS) - {"/v1/messages/count_tokens"}
    assert {path for path in read if "anthropic-beta" in read[path]} == {"/v1/messages", "/v1/messages/count_tokens"}


def test_what_needs_no_key():
    """What an operator's tools ask; everything else is the key's."""
    security = document("http://gateway.test")["security"]
    assert security == [{"bearer": []}, {"x-api-key": []}]
    free = {path for path, operation in OPERATIONS.items() if operation.get("security") == []}
    assert free == {"/healthz", "/readyz", "/metrics", "/openapi.json"}

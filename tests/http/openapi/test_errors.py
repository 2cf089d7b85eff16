"""Error answers, as the document has them."""

import json

import pytest

from ainf.http.openapi.document import document
from ainf.http.openapi.errors import CODES_OF, QUOTA, by_status, status_of, style_of
from ainf.inference.errors import CODES
from ainf.protocols.base import ErrorAnswer
from ainf.protocols.registry import ENDPOINTS, protocol_of_path
from tests.gateway.described import described, pointer

DOCUMENT = document("http://gateway.test")
DESCRIBED = described()
STYLES = ("OpenAI", "Anthropic")


def codes_at(path: str) -> dict[str, set[str]]:
    """Status -> codes, as the document's schemas have them."""
    (operation,) = DOCUMENT["paths"][path].values()
    return {
        status: DESCRIBED.codes(answer["$ref"]) for status, answer in operation["responses"].items() if status != "200"
    }


def test_every_code_is_in_the_enumeration_and_its_table():
    """With its status, type, transience and meaning; and the one name that is no row of it."""
    schema = DOCUMENT["components"]["schemas"]["ErrorCode"]
    assert schema["enum"] == [*CODES, QUOTA]
    for code, row in CODES.items():
        transient = "yes" if row.transient else "no"
        assert f"| `{code}` | {row.status} | `{row.type}` | {transient} | {row.meaning} |" in schema["description"]


def test_every_code_can_be_answered_by_some_path():
    """No code is listed that no path has, and none is missing that one has."""
    answered = {code for path in DOCUMENT["paths"] for codes in codes_at(path).values() for code in codes}
    assert answered == {*CODES, QUOTA}


@pytest.mark.parametrize("path", DOCUMENT["paths"])
def test_each_code_stands_under_its_status(path):
    """A path's codes are under the statuses that they have, and in what is said of these."""
    found = codes_at(path)
    assert "default" in found
    for status, codes in found.items():
        if status != "default":
            assert {str(status_of(code)) for code in codes} == {status}
    (operation,) = DOCUMENT["paths"][path].values()
    for code in CODES_OF.get(path, ()):
        status = str(status_of(code))
        answer = operation["responses"][status]
        assert code in found[status]
        assert f"`{code}`" in (answer.get("description") or DESCRIBED.at(f"{answer['$ref']}/description"))


def test_a_path_says_which_codes_are_its_own():
    """Where they are fewer than elsewhere under the same status; else the component says it."""
    told = {path: DOCUMENT["paths"][path]["post"]["responses"]["404"] for path in ("/v1/inference", "/v1/responses")}
    assert told["/v1/inference"]["description"] == "`model_not_found`."
    assert "description" not in told["/v1/responses"]


def test_codes_of_any_request_join_those_of_a_path():
    """Only under statuses that the path has anyway: the others are the default's."""
    assert by_status(["store_unavailable"]) == {503: ["overloaded", "store_unavailable"]}


@pytest.mark.parametrize("path", ENDPOINTS)
@pytest.mark.parametrize("code", [*CODES, QUOTA])
def test_the_error_bodies_of_the_protocols(path, code):
    """Each code in each path's words is what the document says of its style; with the details that errors have."""
    row = CODES["spend_cap_exceeded" if code == QUOTA else code]
    for inference_id, details in ((None, {}), ("inf_1", {"limit": {"name": "tokens_per_minute", "value": 5}})):
        answer = ErrorAnswer(code, row.type, "What.", "model", inference_id, 1_500, "req_1", details)
        body = protocol_of_path(path).error_body(answer)
        assert DESCRIBED.faults(pointer("components", "schemas", f"{style_of(path)}Error"), json.loads(body)) == []
        other = next(style for style in STYLES if style != style_of(path))
        assert DESCRIBED.faults(pointer("components", "schemas", f"{other}Error"), json.loads(body)) != []

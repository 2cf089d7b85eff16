"""The document as a whole: how the public surface is used, in OpenAPI 3.1."""

from typing import Any, Final

from ainf import __version__
from ainf.http.openapi import answers, errors, headers, records, requests, streams
from ainf.http.openapi.paths import paths

_ABOUT: Final = """\
A gateway between agents and LLM providers that keeps the money. It speaks OpenAI's chat completions, responses and
embeddings, and Anthropic's messages: their SDKs work with it as they are.

**Keys.** Send one, as `Authorization: Bearer ainf_...` or as `x-api-key`; two that differ are refused. What needs none
says so.

**Exchanges.** A request that is admitted is an exchange: money is set aside for it, it is settled once, however it
ends, and `GET /v1/audit/{inference_id}` shows its receipt. It is settled before its end is told.

**How answers end.** A stream that failed says so in its last event; a whole answer that failed is an error. A spend cap
that is reached cuts an answer: it keeps its status 200 and says `spend_cap_exceeded` where the reason stands why it
ended (or as the key's or model's `finish_reasons` has it). What a provider of the client's own format answers is handed
on as it comes.

**Asking again.** Every error answer has the header `x-should-retry`. It is `true` only where the cause is transient
and nothing was charged; then `retry-after` says when. Errors are told in the words of the path; where a connection is
refused before its request is read (503, too many connections), in OpenAI's.

**Fields.** The gateway checks the fields of a request that are listed here. Others go on to a provider of the same
format as they are; for one of another format they are translated, or refused by name (`param`). Refused are those that
would change the price beyond what the model is configured with, or name a host. Where a schema says
`additionalProperties: true` the vendor's own fields may stand beside those that are listed; of the gateway's own
documents all fields are listed, and later versions may have more.

**Methods.** Each path has the one method that is listed, and those with GET have HEAD too; any other is answered with
405 and `allow`. There is no trailing slash.
"""

_TAGS: Final = {
    "inference": "What runs models.",
    "models": "What may be asked.",
    "account": "What became of it.",
    "operation": "How the gateway does; no key is needed.",
}


def document(public_url: str) -> dict[str, Any]:
    """Return the description of every public path, as JSON has it; ``public_url`` is where the gateway is reached."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "ainf",
            "version": __version__,
            "summary": "A gateway between agents and LLM providers that keeps the money.",
            "description": _ABOUT,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": public_url}],
        "security": [{"bearer": []}, {"x-api-key": []}],
        "tags": [{"name": name, "description": meaning} for name, meaning in _TAGS.items()],
        "paths": paths(),
        "components": {
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "description": "`Authorization: Bearer ainf_...`"},
                "x-api-key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
            },
            "parameters": headers.parameters(),
            "requestBodies": requests.bodies(),
            "headers": headers.headers(),
            "responses": errors.responses(),
            "examples": streams.examples(),
            "schemas": errors.schemas() | requests.schemas() | answers.schemas() | records.schemas(),
        },
    }

"""Every path, with what it takes and what it answers."""

from collections.abc import Mapping
from typing import Any, Final

from ainf.http.openapi import errors, headers, records, streams
from ainf.http.openapi.shapes import Schema, ref, text, word
from ainf.http.usage import MOST_ROWS
from ainf.inference.request import Operation
from ainf.protocols.registry import ENDPOINTS
from ainf.store.usage import DIMENSIONS
from ainf.telemetry import METRICS_CONTENT_TYPE

_JSON: Final = "application/json"
_OPEN: Final[list[dict[str, list[str]]]] = []
"""No key is needed."""

# Path -> summary, request body, answer's schema.
_POSTS: Final[Mapping[str, tuple[str, str, str]]] = {
    "/v1/chat/completions": ("An answer, as OpenAI's chat completions.", "ChatRequest", "ChatCompletion"),
    "/v1/inference": (
        "The same; a whole answer has its text, cost and receipt at the top.", "ChatRequest", "InferenceAnswer",
    ),
    "/v1/messages": ("An answer, as Anthropic's messages.", "MessagesRequest", "Message"),
    "/v1/messages/count_tokens": (
        "A count of a request's tokens: the provider's own or, where it has no counter, the gateway's estimate.",
        "CountTokensRequest", "TokenCount",
    ),
    "/v1/responses": ("An answer, as OpenAI's responses.", "ResponsesRequest", "Response"),
    "/v1/embeddings": ("Embeddings, as OpenAI's.", "EmbeddingsRequest", "Embeddings"),
}  # fmt: skip


def _post(path: str, summary: str, body: str, answer: str) -> dict[str, Any]:
    protocol = ENDPOINTS[path]
    content = {_JSON: {"schema": ref(answer)}}
    if protocol.operation is Operation.GENERATE:
        content["text/event-stream"] = streams.media(protocol.format)
    read = [] if protocol.operation is Operation.COUNT else [headers.IDEMPOTENCY_KEY]
    read += [headers.DEADLINE, headers.LABELS, headers.RETRY_COUNT]
    if errors.style_of(path) == "Anthropic":
        read += [headers.BETAS, headers.API_VERSION]
    return {
        "operationId": _operation_id("post", path),
        "summary": summary,
        "tags": ["inference"],
        "parameters": headers.read(*read),
        "requestBody": ref(body, kind="requestBodies"),
        "responses": {
            "200": {"description": "The answer.", "headers": _of_answer(protocol.operation), "content": content},
            **errors.error_answers(path),
        },
    }


def _of_answer(operation: Operation) -> dict[str, Any]:
    names = (*headers.IDS, headers.MODE, *headers.SERVED, headers.ROUTER, *headers.RATES)
    match operation:
        case Operation.GENERATE:
            own = (headers.LIMIT, headers.REPLAY, headers.PREFERENCE, *headers.STREAMS)
            return headers.told(*headers.EXCHANGE, *names, *own)
        case Operation.EMBED:
            return headers.told(*headers.EXCHANGE, *names, headers.REPLAY)
        case Operation.COUNT:  # what the gateway counts by itself is no exchange
            return headers.told(*names, headers.PREFERENCE, headers.EVIDENCE, optional=headers.EXCHANGE)


def _get(path: str, summary: str, tag: str, content: Mapping[str, Any], *, is_open: bool = False) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": _operation_id("get", path),
        "summary": summary,
        "tags": [tag],
        "responses": {
            "200": {"description": "The answer.", "headers": headers.told(*headers.IDS), "content": dict(content)},
            **errors.error_answers(path),
        },
    }
    return operation | {"security": _OPEN} if is_open else operation


def _operation_id(method: str, path: str) -> str:
    return "_".join([method, *(part for part in path.replace("{", "").replace("}", "").split("/") if part)])


def _document(name: str) -> dict[str, Any]:
    return {_JSON: {"schema": ref(name)}}


def _in_path(name: str, description: str) -> Schema:
    return {"name": name, "in": "path", "required": True, "description": description, "schema": text()}


def _in_query(name: str, description: str, schema: Schema) -> Schema:
    return {"name": name, "in": "query", "description": description, "schema": schema}


_PERIOD: Final = "a date (its midnight in UTC), a time as RFC 3339 has it, or an age: `30d`, `12h`"
_USAGE_QUERY: Final = [
    _in_query("since", f"From when: {_PERIOD}.", text(default="30d")),
    _in_query("until", f"Until before when, likewise: {_PERIOD}; now, where it is not given.", text(default="")),
    _in_query(
        "by",
        f"What it is summed by: some of {', '.join(f'`{name}`' for name in DIMENSIONS)}, each once, joined by commas. "
        f"More than {MOST_ROWS} rows are refused.",
        text(default="day", examples=["day,model"]),
    ),
    _in_query(
        "scope", "The key's account, or that and all below it.", word(("account", "tree")) | {"default": "account"}
    ),
    _in_query("format", "How it is told.", word(("json", "csv")) | {"default": "json"}),
]  # fmt: skip


def _gets() -> dict[str, dict[str, Any]]:
    usage = _get(
        "/v1/usage", "What the key's account used and spent, and what its caps leave.", "account",
        {**_document("Usage"), "text/csv": records.csv_media()},
    )  # fmt: skip
    metrics = {METRICS_CONTENT_TYPE.partition(";")[0]: {"schema": text("Prometheus's text format.")}}
    described = {_JSON: {"schema": {"type": "object"}}}
    return {
        "/v1/models": _get("/v1/models", "The models that the key may use.", "models", _document("ModelList")),
        "/v1/models/{name}": _get("/v1/models/{name}", "One of them.", "models", _document("Model"))
        | {"parameters": [_in_path("name", "Its name; slashes in it are sent as they are.")]},
        "/v1/audit/{inference_id}": _get(
            "/v1/audit/{inference_id}", "The receipt of an exchange of the key's account.", "account",
            _document("Receipt"),
        ) | {"parameters": [_in_path("inference_id", "As `x-ainf-inference-id` named it.")]},
        "/v1/usage": usage | {"parameters": _USAGE_QUERY},
        "/healthz": _get("/healthz", "Whether the process runs.", "operation", _document("Health"), is_open=True),
        "/readyz": _get(
            "/readyz", "Whether new inferences are taken.", "operation", _document("Readiness"), is_open=True
        ),
        "/metrics": _get("/metrics", "The metrics.", "operation", metrics, is_open=True),
        "/openapi.json": _get("/openapi.json", "This document.", "operation", described, is_open=True),
    }  # fmt: skip


def paths() -> dict[str, Any]:
    """Return every path with its one operation."""
    posts = {path: {"post": _post(path, *row)} for path, row in _POSTS.items()}
    return posts | {path: {"get": operation} for path, operation in _gets().items()}

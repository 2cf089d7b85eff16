"""How a failure must be told in each protocol: as an HTTP answer before the head, or as the last frame of a stream."""

from typing import Any, Final

from ainf.inference.errors import CODES
from ainf.inference.money import format_usd
from tests.gateway.world import Client

# Anthropic's API reference, "Errors": the types by the statuses that they come with.
_ANTHROPIC_TYPES: Final = {
    400: "invalid_request_error", 401: "authentication_error", 402: "billing_error", 403: "permission_error",
    404: "not_found_error", 413: "request_too_large", 429: "rate_limit_error", 500: "api_error", 502: "api_error",
    503: "overloaded_error", 504: "timeout_error",
}  # fmt: skip


def check_failure(client: Client, receipt: dict[str, Any], code: str, *, in_stream: bool) -> None:
    """The client is told the code, the bill and a verdict on retrying, in its own words, as the receipt has them."""
    billed = receipt["settled_nusd"] + receipt["overrun_nusd"]
    may_retry = CODES[code].transient and not billed
    if in_stream:
        assert client.status == 200
        error = _error_in_stream(client)
        assert error["retryable"] is may_retry
    else:
        assert client.status == CODES[code].status
        assert not client.is_streamed
        error = _error_in_body(client)
        assert client.headers["x-should-retry"] == str(may_retry).lower()
        assert ("retry-after" in client.headers) is may_retry
    assert error["code"] == code
    is_anthropic = client.dialect.format == "messages"
    assert error["type"] == (_ANTHROPIC_TYPES[CODES[code].status] if is_anthropic else CODES[code].type)
    assert error["message"]
    assert error["billed"] == format_usd(billed)
    assert error["inference_id"] == receipt["inference_id"] == client.inference_id
    assert client.headers["x-ainf-audit-url"] == f"http://gateway.test/v1/audit/{receipt['inference_id']}"


def check_refused(client: Client, status: int, code: str, *, param: str | None = None, sent: bytes = b"") -> None:
    """What cannot be admitted is told in the words of its path, with an id and a verdict, and repeats little of it."""
    error = _error_in_body(client)
    assert (client.status, error["code"]) == (status, code)
    assert client.headers["content-type"] == "application/json"
    assert client.headers["x-should-retry"] == "false"
    assert client.headers["x-request-id"]
    assert "x-ainf-inference-id" not in client.headers
    assert len(client.body) < 1000, "an answer repeats no more than a little of its input"
    pieces = (client.body[at : at + 201] for at in range(len(client.body) - 200))
    assert not any(piece in sent for piece in pieces)
    if param is not None:
        assert error["param"] == param


def _error_in_stream(client: Client) -> dict[str, Any]:
    last = client.chunks()[-1]
    match client.dialect.format:
        case "chat":
            assert client.payloads()[-1] == b"[DONE]"
            assert last["choices"][0]["finish_reason"] == "error"
            error = last["error"]
        case "messages":
            assert client.body.rstrip().rpartition(b"\n\n")[2].startswith(b"event: error\n")
            assert last["type"] == "error"
            error = last["error"]
        case _:
            assert client.body.rstrip().rpartition(b"\n\n")[2].startswith(b"event: response.failed\n")
            assert last["type"] == "response.failed"
            assert last["response"]["status"] == "failed"
            error = last["response"]["error"]
    assert isinstance(error, dict)
    return error


def _error_in_body(client: Client) -> dict[str, Any]:
    body = client.json()
    error: dict[str, Any] = body["error"]
    if client.dialect.format == "messages":
        assert body["type"] == "error"
        assert body["request_id"] == client.headers["x-request-id"]
    else:
        assert error["request_id"] == client.headers["x-request-id"]
    return error


def check_cap(client: Client, receipt: dict[str, Any], mode: str) -> None:
    """A stream that a cap ended tells it as the model's setting has it; it is an error only where it shall be loud."""
    said, dialect = client.said(), client.dialect
    assert receipt["finish_reason"] == ("length" if mode == "strict" else "spend_cap_exceeded")
    if mode != "loud":
        assert said.error is None
        assert said.reason == (dialect.strict_reason if mode == "strict" else dialect.cap_reason)
        return
    assert said.error is not None
    is_responses = dialect.format == "responses"  # there the error stands in the place of the reason
    assert said.reason == ("failed" if is_responses else dialect.cap_reason)
    assert said.error["code"] == ("insufficient_quota" if is_responses else "spend_cap_exceeded")
    assert said.error["retryable"] is False
    assert said.error["billed"] == format_usd(receipt["settled_nusd"])
    assert said.error["inference_id"] == receipt["inference_id"]

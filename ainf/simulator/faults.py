"""Whole answers that are no answer: errors before the stream, and bytes that no provider should send."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Final

from ainf.simulator.answer import Ask
from ainf.simulator.behaviour import Behaviour
from ainf.simulator.http import response_head
from ainf.simulator.steps import Close, Send, Step, whole
from ainf.simulator.wire import ErrorBody, RefusedError, Wire

_HTML: Final = "text/html; charset=utf-8"
_PAGE: Final = b"<!DOCTYPE html><html><head><title>Welcome</title></head><body><h1>It works!</h1></body></html>\n"
# What must never reach a client of the gateway: a trace, a host's name, a key.
_TRACE: Final = b"""<html><body><h1>Server Error</h1><pre>
Traceback (most recent call last):
  File "/srv/inference/worker.py", line 88, in handle
    raise ConnectionError("gpu-17.internal.example:9000 refused sk-provider-secret-0123456789")
ConnectionError: gpu-17.internal.example:9000 refused sk-provider-secret-0123456789
</pre></body></html>
"""

_ERRORS: Final[Mapping[int, ErrorBody]] = MappingProxyType({
    400: ErrorBody(400, "The simulator refuses this request.", "invalid_request_error", "invalid_request", "messages"),
    401: ErrorBody(401, "Incorrect API key provided: sk-si******mulator.", "invalid_request_error", "invalid_api_key"),
    402: ErrorBody(402, "Your credit balance is too low.", "insufficient_quota", "insufficient_quota"),
    403: ErrorBody(403, "Your project does not have access to this model.", "permission_error", "access_denied"),
    404: ErrorBody(404, "The model does not exist.", "invalid_request_error", "model_not_found", "model"),
    429: ErrorBody(429, "Rate limit reached for requests.", "rate_limit_error", "rate_limit_exceeded"),
    503: ErrorBody(503, "The engine is currently overloaded.", "server_error", "overloaded"),
})


def error_for(status: int) -> ErrorBody:
    """Return what a provider says with a status."""
    kind = "server_error" if status >= 500 else "invalid_request_error"
    return _ERRORS.get(status, ErrorBody(status, f"The simulator answers with status {status}.", kind))


def refusal(wire: Wire, error: ErrorBody, headers: Mapping[str, str]) -> Send:
    """Return the step that refuses a request as a provider does."""
    return whole(error.status, "application/json", wire.error_document(error), headers)


def require_able(behaviour: Behaviour, ask: Ask) -> None:
    """Refuse what a behaviour cannot do.

    Raises:
        RefusedError: the request has tools or asks for a stream, and the model knows none.
    """
    if ask.tools and not behaviour.takes_tools:
        raise RefusedError(ErrorBody(400, "This model does not support tools.", "invalid_request_error", None, "tools"))
    if ask.stream and not behaviour.streams:
        message = "This model does not support streaming."
        raise RefusedError(ErrorBody(400, message, "invalid_request_error", None, "stream"))


def instead_of_an_answer(wire: Wire, behaviour: Behaviour, headers: Mapping[str, str]) -> Sequence[Step] | None:
    """Return the steps of a behaviour that lets no model answer, None for one that does."""
    if behaviour.whole is not None:
        return WHOLE[behaviour.whole](headers)
    if behaviour.redirect is not None:
        return [_redirect(behaviour.redirect, headers)]
    status = wire.overloaded_status if behaviour.overloaded else behaviour.error_status
    if status is not None:
        return [_error(wire, behaviour, status, headers)]
    return None


def _error(wire: Wire, behaviour: Behaviour, status: int, headers: Mapping[str, str]) -> Send:
    retry_after = behaviour.retry_after or ("2" if status == 429 else None)
    extra = {**headers, "retry-after": retry_after} if retry_after else headers
    if behaviour.error_html:
        return whole(status, _HTML, _TRACE, extra)
    body = wire.error_document(error_for(status))
    return whole(status, "application/json", b"[" + body + b"]" if behaviour.error_list else body, extra)


def _redirect(status: int, headers: Mapping[str, str]) -> Send:
    return whole(status, _HTML, b"", {**headers, "location": "http://elsewhere.invalid/v1/chat/completions"})


def _status_204(headers: Mapping[str, str]) -> Sequence[Step]:
    return [Send(response_head(204, headers.items()), status=204)]


def _empty_stream(headers: Mapping[str, str]) -> Sequence[Step]:
    fields = {"content-type": "text/event-stream", "transfer-encoding": "chunked", **headers}
    return [Send(response_head(200, fields.items()) + b"0\r\n\r\n", status=200)]


def _two_lengths(headers: Mapping[str, str]) -> Sequence[Step]:
    fields = [("content-type", "application/json"), ("content-length", "2"), ("content-length", "20"), *headers.items()]
    return [Send(response_head(200, fields) + b"{}", status=200), Close()]


def _huge_header(headers: Mapping[str, str]) -> Sequence[Step]:
    return [whole(200, "application/json", b"{}", {"x-huge": "x" * 200_000, **headers})]


WHOLE: Final[Mapping[str, Callable[[Mapping[str, str]], Sequence[Step]]]] = MappingProxyType({
    "not-http": lambda _: [
        Send(b"SSH-2.0-simulator\r\nthis is not the protocol that you are looking for\r\n"),
        Close(),
    ],
    "bad-status-line": lambda _: [Send(b"HTTP/1.1 two-hundred fine\r\ncontent-length: 2\r\n\r\n{}"), Close()],
    "tls-bytes": lambda _: [Send(b"\x15\x03\x01\x00\x02\x02\x28"), Close()],
    "html-200": lambda headers: [whole(200, _HTML, _PAGE, headers)],
    "binary-200": lambda headers: [whole(200, "application/octet-stream", bytes(range(256)) * 4, headers)],
    "empty-200": lambda headers: [whole(200, "application/json", b"", headers)],
    "empty-stream": _empty_stream,
    "status-204": _status_204,
    "two-lengths": _two_lengths,
    "huge-header": _huge_header,
})
"""By option name; each is given the headers that every answer carries."""

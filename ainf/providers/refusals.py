"""What a vendor's refusal means, whichever vendor it is: who is to blame, and whether a retry can help.

Sources: OpenAI's "error codes" and Anthropic's "errors" (529, ``overloaded_error``; ``enforced_spend_limit_reached``
in ``details``); Google's ``google.rpc.Status`` (``status``, ``details`` with ``ErrorInfo.reason`` and
``RetryInfo.retryDelay``; a list of one error where a stream was asked for); FastAPI's ``{"detail": [{"loc", "msg"}]}``,
alone (vLLM) or as the message (Mistral); OpenRouter's ``metadata.flagged_input``; vLLM's error at the top level.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import attrs

from ainf.formats.errors import AUTH_WORDS, OVERLOAD_WORDS, ErrorReport, read_error_object, scrub
from ainf.formats.loose import load_loosely
from ainf.inference.errors import UpstreamError

_LONGEST_RETRY_S: Final = 60
_REJECTED: Final = frozenset({400, 404, 413, 422})
_WHOLE_NUMBER: Final = re.compile(rb"[0-9]{1,20}", re.ASCII)
_DURATION: Final = re.compile(r"([0-9]{1,9})(\.[0-9]{1,9})?s", re.ASCII)  # google.protobuf.Duration
_AUTH_WORDS: Final = AUTH_WORDS | {
    "api_key_expired", "api_key_service_blocked", "billing_disabled", "consumer_invalid", "consumer_suspended",
    "enforced_spend_limit_reached", "service_disabled",
}  # fmt: skip
# Anthropic says these with the code of any invalid request; xAI and Gemini name a wrong key so.
_OF_OUR_ACCOUNT: Final = re.compile(
    r"credit balance is too low|reached your specified api usage limits|incorrect api key|api key not valid",
    re.IGNORECASE,
)
_DEEPEST_MESSAGE: Final = 3


def read_error(status: int, headers: Mapping[bytes, bytes], body: bytes) -> UpstreamError:
    """Return what a refusal means, sanitised. See ``Provider.read_error``.

    Only where the provider speaks of the request itself are its words shown, scrubbed and cut.
    """
    report, delay_s = _read(body)
    if report.our_code == "content_filter" and status in {*_REJECTED, 403}:
        return _rejected(report)
    if status in {401, 402, 403} or report.words & _AUTH_WORDS or _OF_OUR_ACCOUNT.search(report.message):
        return UpstreamError("upstream_auth", "The provider refused the gateway's own account.")
    if status in {429, 503, 529} or (status >= 500 and report.words & OVERLOAD_WORDS):
        return UpstreamError(
            "upstream_overloaded",
            "The provider is overloaded or limits the gateway's rate.",
            retry_after_s=_bounded(_told_in(headers) or delay_s),
        )
    if status in _REJECTED:
        return _rejected(report)
    return UpstreamError("upstream_error", f"The provider failed with status {status}.")


def _rejected(report: ErrorReport) -> UpstreamError:
    code = report.request_code
    said = "The provider refused the request" + (f" ({code})" if code else " as invalid")
    detail = scrub(report.message)
    return UpstreamError(
        report.our_code or "upstream_rejected", f"{said}: {detail}" if detail else f"{said}.", param=report.param
    )


def _read(body: bytes) -> tuple[ErrorReport, int | None]:
    """Return the error in a refusal's body, whatever shape it has, and the wait in seconds that it names."""
    document = load_loosely(b'{"error":' + body + b"}" if body.lstrip().startswith(b"[") else body)
    if document is None:
        return read_error_object(None), None
    error: Any = document.get("error") or document
    if isinstance(error, list):
        error = error[0] if error else None
        error = error.get("error") if isinstance(error, dict) else error
    report = read_error_object(error)
    if not isinstance(error, dict):
        return report, None
    report = attrs.evolve(report, words=report.words | frozenset(_more_words(error)))
    if not report.message:
        report = _of_validation(report, error)
    return report, _retry_delay(error)


def _more_words(error: Mapping[str, Any]) -> Iterator[str]:
    """Yield the words that single vendors say what happened in."""
    match error:
        case {"details": {"error_code": str() as code}}:
            yield code.lower()
        case {"metadata": {"flagged_input": _}}:
            yield "content_policy_violation"
        case _:
            pass


def _of_validation(report: ErrorReport, error: Any) -> ErrorReport:  # noqa: ANN401 - a provider's word
    """Return a report with the first fault that FastAPI found, wherever it stands."""
    for _ in range(_DEEPEST_MESSAGE):
        if not isinstance(error, dict):
            break
        error = error.get("detail") or error.get("message")
    match error:
        case [{"msg": str() as message, "loc": list() as place}, *_]:
            path = ".".join(str(step) for step in place if step != "body")
            named = read_error_object({"param": re.sub(r"\.([0-9]+)(?=\.|$)", r"[\1]", path)})
            return attrs.evolve(
                report, message=f"{named.param}: {message}" if named.param else message, param=named.param
            )
        case str():
            return attrs.evolve(report, message=error)
        case _:
            return report


def _told_in(headers: Mapping[bytes, bytes]) -> int | None:
    """Return the wait that headers name, in whole seconds; None where they name none that can be read."""
    for name, per_second in ((b"retry-after-ms", 1000), (b"retry-after", 1)):
        value = headers.get(name, b"").strip()
        if _WHOLE_NUMBER.fullmatch(value):
            return -(-int(value) // per_second) or 1
    return None


def _retry_delay(error: Mapping[str, Any]) -> int | None:
    """Return Google's ``RetryInfo.retryDelay`` ("34.07s") in whole seconds, rounded up."""
    details = error.get("details")
    for detail in details if isinstance(details, list) else ():
        delay = detail.get("retryDelay") if isinstance(detail, dict) else None
        if isinstance(delay, str) and (found := _DURATION.fullmatch(delay)):
            return int(found[1]) + bool(found[2]) or 1
    return None


def _bounded(seconds: int | None) -> int | None:
    return None if seconds is None else min(max(seconds, 1), _LONGEST_RETRY_S)

"""What a provider says when it fails: the error object of any format, read by allow-list and scrubbed.

Sources: OpenAI's API reference, "error codes"; Anthropic's, "errors"; Google's, "standard error" (``status`` with the
names of ``google.rpc.Code``, ``details`` with a ``reason``); shapes seen beside them: ``{"error": "text"}``, a numeric
``code`` (OpenRouter), ``{"object": "error", "message": ...}`` (vLLM), ``innererror`` (Azure), FastAPI's ``{"detail":
...}``. Where a vendor has no code for what clients act on (a conversation that no longer fits), its words are known.

Nothing of a provider's text is trusted to be free of hosts, keys, ids or traces: a message is shown only where it
speaks of the request, scrubbed and cut.
"""

import re
from typing import Any, Final

import attrs

from ainf.inference.errors import UpstreamError

MESSAGE_CHARACTERS: Final = 200

AUTH_WORDS: Final = frozenset({
    "account_deactivated", "api_key_invalid", "authentication_error", "billing_error", "billing_hard_limit_reached",
    "billing_not_active", "deactivated_workspace", "insufficient_quota", "invalid_api_key", "invalid_organization",
    "permission_denied", "permission_error", "unauthenticated",
})  # fmt: skip
"""Codes and types that blame the gateway's own account."""

OVERLOAD_WORDS: Final = frozenset({
    "engine_overloaded", "overloaded", "overloaded_error", "rate_limit_error", "rate_limit_exceeded", "requests",
    "resource_exhausted", "server_overloaded", "service_unavailable", "tokens", "too_many_requests", "unavailable",
})  # fmt: skip
"""Codes and types that say "later". OpenAI's rate limits have the type "requests" or "tokens"."""

_CONTEXT_CODES: Final = frozenset({"context_length_exceeded", "exceed_context_size_error"})
_FILTER_CODES: Final = frozenset({
    "content_filter", "content_policy_violation", "invalid_prompt", "responsibleaipolicyviolation",
})  # fmt: skip

_VAGUE_CODES: Final = frozenset({
    "failed_precondition", "invalid_argument", "invalid_request_error", "not_found", "not_found_error", "out_of_range",
})  # fmt: skip
_REQUEST_CODES: Final = _CONTEXT_CODES | _FILTER_CODES | _VAGUE_CODES | {
    "image_parse_error", "invalid_base64_image", "invalid_function_parameters", "invalid_image_format",
    "invalid_image_url", "invalid_type", "invalid_value", "json_validate_failed", "missing_required_parameter",
    "model_not_found", "request_too_large", "string_above_max_length", "tool_use_failed", "unknown_parameter",
    "unsupported_parameter", "unsupported_value",
}  # fmt: skip

# Anthropic, Gemini, vLLM (and who runs it), xAI, Bedrock, llama.cpp, in this order; then Anthropic's filter.
_CONTEXT_WORDS: Final = re.compile(
    r"prompt is too long|exceeds? (?:the )?(?:available )?context (?:limit|window|length|size)"
    r"|input token count.{0,60}exceeds the maximum|maximum context length|maximum prompt length"
    r"|input is too long for requested model",
    re.IGNORECASE,
)
_FILTER_WORDS: Final = re.compile(r"blocked by (?:our )?content filter", re.IGNORECASE)
_READ_CHARACTERS: Final = 1_000

_PARAM = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:\[[0-9]{1,6}\]|\.[A-Za-z0-9_]+)*", re.ASCII)
# The look-behinds keep each run of characters from being tried at every one of its positions.
_SECRETS = re.compile(
    r"""
      [a-z][a-z0-9+.-]{1,20}://\S+                                          # any URL
    | (?<![\w.+-])[\w.+-]+@[\w-]+\.[\w.-]+                                            # e-mail addresses
    | \b(?:sk|pk|gsk|xai|org|proj|req|user|key|acct)[-_][\w*.…-]{4,}        # keys and ids by their prefixes
    | \bBearer\s+\S+
    | \b\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?\b                                  # IPv4
    | \b(?:[0-9a-f]{1,4}:){3,}[0-9a-f:]*                                    # IPv6
    | (?<![\w.-])(?:[\w-]+\.)+(?:com|net|org|io|ai|dev|cloud|local|internal|corp|lan|svc|cn|eu|co)\b(?::\d+)?
    | \blocalhost\b(?::\d+)?
    | (?<!\w)(?:/[\w.@-]+){2,}                                              # paths
    | \b[A-Za-z]:\\\S+
    | \b[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}\b                       # UUIDs
    | \b(?=\w*\d)[A-Za-z0-9_]{24,}\b                                        # other long tokens
    """,
    re.VERBOSE | re.IGNORECASE,
)
_NOT_PRINTABLE = re.compile(r"[\x00-\x20\x7f-\xa0\u2028\u2029\ud800-\udfff]+")


@attrs.frozen
class ErrorReport:
    """A provider's error object, unjudged but for types; ``words`` are its codes, type and status in lower case."""

    words: frozenset[str]
    param: str | None
    """A field path of the request, by shape."""
    message: str
    """Raw: only ``scrub`` makes it fit to be shown."""

    @property
    def request_code(self) -> str | None:
        """The provider's own code, where it is one that we know to speak of the request."""
        known = sorted(self.words & _REQUEST_CODES, key=lambda word: (word in _VAGUE_CODES, word))
        return known[0] if known else None

    @property
    def our_code(self) -> str | None:
        """The code of our own table for what clients act on, by code or else by the vendor's known words.

        ``context_length_exceeded`` or ``content_filter``; None for everything else.
        """
        said = self.message[:_READ_CHARACTERS]
        if self.words & _CONTEXT_CODES:
            return "context_length_exceeded"
        if self.words & _FILTER_CODES:
            return "content_filter"
        if _CONTEXT_WORDS.search(said):
            return "context_length_exceeded"
        return "content_filter" if _FILTER_WORDS.search(said) else None


def read_error_object(error: Any) -> ErrorReport:  # noqa: ANN401 - a provider's word, judged here
    """Return what an error value says: an object, a string, or anything else that is not falsy."""
    if not isinstance(error, dict):
        return ErrorReport(frozenset(), None, error if isinstance(error, str) else "")
    words = {str(error[name]).lower() for name in ("code", "type") if isinstance(error.get(name), str | int)}
    words.update(reason.lower() for reason in _reasons(error))
    param, message = error.get("param"), error.get("message")
    return ErrorReport(
        words=frozenset(words),
        param=param if isinstance(param, str) and len(param) <= 100 and _PARAM.fullmatch(param) else None,
        message=message if isinstance(message, str) else "",
    )


def _reasons(error: dict[str, Any]) -> list[str]:
    """Return the words that stand elsewhere than in code and type: Google's status and reasons, Azure's inner code."""
    inner, details = error.get("innererror"), error.get("details")
    found = [error.get("status"), inner.get("code") if isinstance(inner, dict) else None]
    if isinstance(details, list):
        found.extend(detail.get("reason") for detail in details if isinstance(detail, dict))
    return [word for word in found if isinstance(word, str)]


def scrub(text: str) -> str:
    """Return a provider's text fit for a client: one line without URLs, hosts, keys, ids, paths; 200 characters."""
    line = _NOT_PRINTABLE.sub(" ", text[: 5 * MESSAGE_CHARACTERS]).strip()
    shown = _SECRETS.sub("[removed]", line)
    return shown if len(shown) <= MESSAGE_CHARACTERS else shown[: MESSAGE_CHARACTERS - 1] + "…"


def in_band_error(error: Any) -> UpstreamError:  # noqa: ANN401 - as read_error_object
    """Return the error that a provider reported inside a 200 answer, in our own words."""
    report = read_error_object(error)
    if report.words & (AUTH_WORDS | {"401", "402", "403"}):
        return UpstreamError("upstream_auth", "The provider refused the gateway's own account.")
    if report.words & (OVERLOAD_WORDS | {"429", "503", "529"}):
        return UpstreamError("upstream_overloaded", "The provider is overloaded or limits the gateway's rate.")
    code = report.request_code or report.our_code
    if code is not None:
        detail = scrub(report.message)
        said = f"The provider reported an error ({code})" + (f": {detail}" if detail else ".")
        return UpstreamError(report.our_code or "upstream_error", said, param=report.param)
    return UpstreamError("upstream_error", "The provider reported an error while it answered.")

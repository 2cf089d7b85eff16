"""OpenAI, and everything that speaks its chat completions: how a request is written, what a refusal means.

Source: OpenAI's API reference, "create chat completion" and "error codes".
"""

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

import msgspec

from ainf.formats.errors import AUTH_WORDS, OVERLOAD_WORDS, ErrorReport, read_error_object, scrub
from ainf.formats.loose import load_loosely
from ainf.inference.errors import UpstreamError
from ainf.inference.request import InferenceRequest, Operation
from ainf.pricing import Price
from ainf.providers.base import Facts, Target, WireRequest
from ainf.providers.openai_fields import check_fields

_LIMIT_FIELDS: Final = ("max_completion_tokens", "max_tokens")
_RETRY_AFTER_S = re.compile(rb"[0-9]{1,20}", re.ASCII)
_LONGEST_RETRY_S = 60
_REJECTED = frozenset({400, 404, 413, 422})


class OpenAI:
    """The vendor format "openai"."""

    name = "openai"
    facts = Facts(base_url="https://api.openai.com/v1")
    formats: Mapping[Operation, str] = MappingProxyType({Operation.GENERATE: "chat"})

    def credential(self, secret: str) -> tuple[tuple[bytes, bytes], ...]:
        """Return the bearer header. See ``Provider.credential``."""
        return ((b"authorization", b"Bearer " + secret.encode("ascii")),)

    def check(self, request: InferenceRequest, price: Price) -> None:
        """Refuse what changes price, model or host. See ``Provider.check``."""
        check_fields(request.fields)

    def write_request(self, request: InferenceRequest, target: Target, max_output_tokens: int | None) -> WireRequest:
        """Return the request with the fields as they came, but for those that are ours. See ``Provider.write_request``.

        Ours are the model, the usage chunk of a stream (always asked for), and the output limit where it is clamped.
        """
        fields: dict[str, Any] = {**request.fields, "model": target.upstream_model}
        if request.stream and target.streams:
            fields["stream_options"] = {**(fields.get("stream_options") or {}), "include_usage": True}
        if max_output_tokens is not None:
            used = [name for name in _LIMIT_FIELDS if fields.get(name) is not None]
            fields.update(dict.fromkeys(used or [target.max_tokens_field], max_output_tokens))
        return WireRequest(f"{target.base_url}/chat/completions", msgspec.json.encode(fields))

    def read_error(self, status: int, headers: Mapping[bytes, bytes], body: bytes) -> UpstreamError:
        """Return what a refusal means. See ``Provider.read_error``.

        Only where the provider speaks of the request itself are its words shown, scrubbed and cut.
        """
        report = _report(body)
        if status in {401, 402, 403} or report.words & AUTH_WORDS:
            return UpstreamError("upstream_auth", "The provider refused the gateway's own account.")
        if status in {429, 503, 529} or (status >= 500 and report.words & OVERLOAD_WORDS):
            return UpstreamError(
                "upstream_overloaded",
                "The provider is overloaded or limits the gateway's rate.",
                retry_after_s=_retry_after(headers),
            )
        if status in _REJECTED:
            return UpstreamError("upstream_rejected", _reason(report), param=report.param)
        return UpstreamError("upstream_error", f"The provider failed with status {status}.")


def _report(body: bytes) -> ErrorReport:
    """Return the error in a refusal's body, whatever shape it has."""
    document = load_loosely(body)
    if document is None:
        return read_error_object(None)
    error = document.get("error")
    return read_error_object(error or document)


def _reason(report: ErrorReport) -> str:
    code = report.request_code
    said = "The provider refused the request" + (f" ({code})" if code else " as invalid")
    detail = scrub(report.message)
    return f"{said}: {detail}" if detail else f"{said}."


def _retry_after(headers: Mapping[bytes, bytes]) -> int | None:
    """Return the provider's wait in whole seconds, from 1 to 60; None where it names none that can be read."""
    value = headers.get(b"retry-after", b"").strip()
    if not _RETRY_AFTER_S.fullmatch(value):
        return None
    return min(max(int(value), 1), _LONGEST_RETRY_S)

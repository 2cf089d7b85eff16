"""Anthropic, by its messages.

Sources (platform.claude.com/docs/en/api): "messages" (``max_tokens`` is required and more than the thinking budget),
"count message tokens" (free), "versioning" (``anthropic-version``), "errors". Thinking is billed whole and shown as a
summary or not at all, where it is asked for. openrouter.ai/docs/api-reference/streaming lists Anthropic among those
where an aborted stream stops model and billing.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from ainf.inference.errors import UpstreamError
from ainf.inference.request import InferenceRequest, Operation
from ainf.inference.secret import HeaderValue, Secret
from ainf.providers import refusals
from ainf.providers.base import Facts, Target, WireRequest
from ainf.providers.betas import FORWARDED, beta_headers, check_betas
from ainf.providers.fields import Coverage
from ainf.providers.messages_fields import check_messages_fields
from ainf.providers.writing import own_fields, post

_VERSION: Final = b"2023-06-01"


class Anthropic:
    """The vendor "anthropic". See ``Provider``."""

    name = "anthropic"
    facts = Facts(
        base_url="https://api.anthropic.com/v1",
        hidden_reasoning="asked",
        betas=FORWARDED,
        max_tokens_field="max_tokens",
    )
    formats: Mapping[Operation, str] = MappingProxyType({
        Operation.GENERATE: "messages",
        Operation.COUNT: "count_tokens",
    })

    def credential(self, secret: Secret) -> tuple[tuple[bytes, HeaderValue], ...]:
        """Return the key's header, and the version that every request names. See ``Provider.credential``."""
        return ((b"x-api-key", secret), (b"anthropic-version", _VERSION))

    def unsaid(self, fields: Mapping[str, Any], operation: Operation) -> tuple[str, ...]:
        """Return nothing: the format is this vendor's own. See ``Provider.unsaid``."""
        return ()

    def check(self, request: InferenceRequest, coverage: Coverage) -> None:
        """Refuse what changes price, model or host. See ``Provider.check``."""
        check_betas(request.betas)
        check_messages_fields(request.fields, coverage)

    def write_request(self, request: InferenceRequest, target: Target, max_output_tokens: int | None) -> WireRequest:
        """Return the request with the fields as they came, but for those that are ours. See ``Provider.write_request``.

        Ours are the model and the output limit, where it is clamped or missing.
        """
        headers = beta_headers(request.betas)
        if request.operation is Operation.COUNT:
            fields = {**request.fields, "model": target.upstream_model}
            return post(f"{target.base_url}/messages/count_tokens", fields, headers)
        fields = own_fields(request, target)
        if max_output_tokens is None and fields.get("max_tokens") is None:
            max_output_tokens = target.max_output_tokens
        if max_output_tokens is not None:
            fields["max_tokens"] = max_output_tokens
            _keep_budget_below(fields, max_output_tokens)
        return post(f"{target.base_url}/messages", fields, headers)

    def read_error(self, status: int, headers: Mapping[bytes, bytes], body: bytes) -> UpstreamError:
        """Return what a refusal means. See ``Provider.read_error``."""
        return refusals.read_error(status, headers, body)


def _keep_budget_below(fields: dict[str, Any], limit: int) -> None:
    """Leave the thinking budget below a limit that is ours, as the vendor demands it."""
    thinking = fields.get("thinking")
    budget = thinking.get("budget_tokens") if isinstance(thinking, dict) else None
    if isinstance(thinking, dict) and type(budget) is int and budget >= limit:
        fields["thinking"] = {**thinking, "budget_tokens": limit - 1}


ANTHROPIC: Final = Anthropic()

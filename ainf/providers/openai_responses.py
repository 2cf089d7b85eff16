"""OpenAI, by its responses.

Sources (developers.openai.com/api): the reference, "create a response" and "create embeddings"; the guide on reasoning:
it is billed as output and shown as a summary or not at all, and current models reason unasked (a model that never does
is configured with ``hidden_reasoning = "never"``); the guide on prompt caching: prompts are cached by themselves, and
from GPT-5.6 on what is written has a price. openrouter.ai/docs/api-reference/streaming lists OpenAI among those
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
from ainf.providers.fields import Coverage, check_refused
from ainf.providers.responses_fields import REFUSED_FIELDS, check_responses_fields
from ainf.providers.writing import bearer, own_fields, post, write_embeddings


class OpenAIResponses:
    """The vendor "openai-responses". See ``Provider``."""

    name = "openai-responses"
    facts = Facts(base_url="https://api.openai.com/v1", hidden_reasoning="always", caches_unasked=True)
    formats: Mapping[Operation, str] = MappingProxyType({
        Operation.GENERATE: "responses",
        Operation.EMBED: "embeddings",
    })

    def credential(self, secret: Secret) -> tuple[tuple[bytes, HeaderValue], ...]:
        """Return the bearer header. See ``Provider.credential``."""
        return bearer(secret)

    def unsaid(self, fields: Mapping[str, Any], operation: Operation) -> tuple[str, ...]:
        """Return nothing: the format is this vendor's own. See ``Provider.unsaid``."""
        return ()

    def check(self, request: InferenceRequest, coverage: Coverage) -> None:
        """Refuse what changes price, model or host. See ``Provider.check``."""
        if request.operation is Operation.GENERATE:
            check_responses_fields(request.fields, coverage)
        else:
            check_refused(request.fields, REFUSED_FIELDS)

    def write_request(self, request: InferenceRequest, target: Target, max_output_tokens: int | None) -> WireRequest:
        """Return the request with the fields as they came, but for those that are ours. See ``Provider.write_request``.

        Ours are the model and the output limit, where it is clamped.
        """
        if request.operation is Operation.EMBED:
            return write_embeddings(request, target)
        fields = own_fields(request, target)
        if max_output_tokens is not None:
            fields["max_output_tokens"] = max_output_tokens
        return post(f"{target.base_url}/responses", fields)

    def read_error(self, status: int, headers: Mapping[bytes, bytes], body: bytes) -> UpstreamError:
        """Return what a refusal means. See ``Provider.read_error``."""
        return refusals.read_error(status, headers, body)


OPENAI_RESPONSES: Final = OpenAIResponses()

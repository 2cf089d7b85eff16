"""Google's Gemini, by its own API (Gemini Developer API).

Sources (ai.google.dev/api): "generateContent" and "streamGenerateContent" (``alt=sse``), "batchEmbedContents", the
``x-goog-api-key`` header; ai.google.dev/gemini-api/docs/thinking: thoughts are billed as output
(``thoughtsTokenCount``), shown as a summary or not at all, and current models think unasked (a model that never does is
configured with ``hidden_reasoning = "never"``). openrouter.ai/docs/api-reference/streaming lists Google AI Studio among
those that go on, and bill, when a stream is aborted.

Models before Gemini 3 take a ``thinkingBudget`` and no ``thinkingLevel``; ai.google.dev/gemini-api/docs/openai says
which budget each level of OpenAI's stands for.
"""

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import quote

from ainf.formats.gemini.embeddings import unsaid_fields, write_embeddings
from ainf.inference.errors import UpstreamError
from ainf.inference.request import InferenceRequest, Operation
from ainf.inference.secret import HeaderValue, Secret
from ainf.providers import refusals
from ainf.providers.base import Facts, Target, WireRequest
from ainf.providers.fields import HOST_FIELDS, Coverage, check_refused
from ainf.providers.gemini_fields import check_gemini_fields
from ainf.providers.writing import is_streamed, post

_KNOWS_NO_LEVELS: Final = re.compile(r"(?:models/)?gemini-[12][.-]")
_BUDGETS: Final = {"MINIMAL": 1024, "LOW": 1024, "MEDIUM": 8192, "HIGH": 24576, "XHIGH": 24576}


class Gemini:
    """The vendor "gemini". See ``Provider``."""

    name = "gemini"
    facts = Facts(
        base_url="https://generativelanguage.googleapis.com/v1beta", aborted_billing="drain", hidden_reasoning="always"
    )
    formats: Mapping[Operation, str] = MappingProxyType({
        Operation.GENERATE: "gemini",
        Operation.EMBED: "gemini_embeddings",
    })

    def credential(self, secret: Secret) -> tuple[tuple[bytes, HeaderValue], ...]:
        """Return the key's header. See ``Provider.credential``."""
        return ((b"x-goog-api-key", secret),)

    def unsaid(self, fields: Mapping[str, Any], operation: Operation) -> tuple[str, ...]:
        """Return what a request for embeddings (in OpenAI's words) cannot say here. See ``Provider.unsaid``."""
        return unsaid_fields(fields) if operation is Operation.EMBED else ()

    def check(self, request: InferenceRequest, coverage: Coverage) -> None:
        """Refuse what changes price, model or host. See ``Provider.check``."""
        if request.operation is Operation.GENERATE:
            check_gemini_fields(request.fields, coverage)
        else:
            check_refused(request.fields, HOST_FIELDS)
            write_embeddings(request.fields, request.model)  # refuses what it cannot say, before anything is reserved

    def write_request(self, request: InferenceRequest, target: Target, max_output_tokens: int | None) -> WireRequest:
        """Return the request; model and stream are said by its path. See ``Provider.write_request``."""
        at = f"{target.base_url}/models/{quote(target.upstream_model.removeprefix('models/'), safe='')}"
        if request.operation is Operation.EMBED:
            return post(f"{at}:batchEmbedContents", write_embeddings(request.fields, target.upstream_model))
        fields: dict[str, Any] = {**request.fields}
        settings = _with_budget(fields.get("generationConfig") or {}, target.upstream_model)
        if max_output_tokens is not None:
            settings = {**settings, "maxOutputTokens": max_output_tokens}
        if settings:
            fields["generationConfig"] = settings
        method = "streamGenerateContent?alt=sse" if is_streamed(request, target) else "generateContent"
        return post(f"{at}:{method}", fields)

    def read_error(self, status: int, headers: Mapping[bytes, bytes], body: bytes) -> UpstreamError:
        """Return what a refusal means. See ``Provider.read_error``."""
        return refusals.read_error(status, headers, body)


def _with_budget(settings: Mapping[str, Any], model: str) -> Mapping[str, Any]:
    """Say a level of thinking as a budget to a model that knows no levels."""
    thinking = settings.get("thinkingConfig")
    level = thinking.get("thinkingLevel") if isinstance(thinking, dict) else None
    if not isinstance(thinking, dict) or level not in _BUDGETS or not _KNOWS_NO_LEVELS.match(model):
        return settings
    rest = {name: value for name, value in thinking.items() if name != "thinkingLevel"}
    return {**settings, "thinkingConfig": {**rest, "thinkingBudget": _BUDGETS[level]}}


GEMINI: Final = Gemini()

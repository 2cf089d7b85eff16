"""A vendor that speaks OpenAI's chat completions, as data: its facts, and where it differs.

Most vendors do. Each has a file that makes one of these, with the sources of what it says; nothing else in the gateway
knows their names.
"""

from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Any, Final

import attrs

from ainf.inference.errors import UpstreamError
from ainf.inference.request import InferenceRequest, Operation
from ainf.inference.secret import HeaderValue, Secret
from ainf.providers import refusals
from ainf.providers.base import Facts, Target, WireRequest
from ainf.providers.chat_fields import REFUSED_FIELDS, check_chat_fields, check_reasoning_is_shown
from ainf.providers.fields import Coverage, asks, check_refused, objects_in, refusal
from ainf.providers.writing import bearer, is_streamed, own_fields, post, write_embeddings

_LIMIT_FIELDS: Final = ("max_completion_tokens", "max_tokens")
_THOUGHT_FIELDS: Final = frozenset({"reasoning_content", "reasoning", "reasoning_details"})
_NATIVE: Final = "chat_completions"
"""The protocol whose requests are of this format as they come; those of all others are translated to it."""

CHAT: Final[Mapping[Operation, str]] = MappingProxyType({Operation.GENERATE: "chat"})
CHAT_AND_EMBEDDINGS: Final[Mapping[Operation, str]] = MappingProxyType({**CHAT, Operation.EMBED: "embeddings"})


@attrs.frozen(kw_only=True)
class ChatVendor:
    """One vendor of the chat format. See ``Provider``."""

    name: str
    facts: Facts
    formats: Mapping[Operation, str] = CHAT
    refused: Mapping[str, str] = attrs.field(factory=dict)
    """Fields of its own that change price, model or host, with the reason; beside those refused at every vendor."""
    unknown: Collection[str] = frozenset()
    """Fields of OpenAI's that it answers with an error: they are refused before anything is reserved, or left out where
    a setting allows it. One that asks for nothing (null, false, empty) is left out."""
    unknown_in_messages: Collection[str] = frozenset()
    """The same of messages (but those of tools)."""
    refused_parts: Mapping[str, str] = attrs.field(factory=dict)
    """Types of message parts that change the price, with the reason."""
    renamed: Mapping[str, str] = attrs.field(factory=dict)
    """OpenAI's name of a field -> its own."""
    roles: Mapping[str, str] = attrs.field(factory=dict)
    """OpenAI's name of a role -> its own."""
    replays_thoughts: bool = True
    """Whether it takes back what an assistant thought before (``reasoning_content``, ``reasoning`` or
    ``reasoning_details`` of a message); if not, it answers them with an error, and they are left out of requests that
    were translated. Nothing is lost by that: no client of this vendor can give its models thoughts, and another
    format's clients send them because they send back everything. What was said and called stays. Requests of clients
    that speak the format themselves are never touched: they hear the vendor's own error."""
    asks_for_usage: bool = True
    """Whether a stream tells its usage because ``stream_options.include_usage`` asks for it; if not, it always does."""

    def credential(self, secret: Secret) -> tuple[tuple[bytes, HeaderValue], ...]:
        """Return the bearer header. See ``Provider.credential``."""
        return bearer(secret)

    def unsaid(self, fields: Mapping[str, Any], operation: Operation) -> tuple[str, ...]:
        """Return the fields of OpenAI's that it does not know. See ``Provider.unsaid``."""
        return tuple(name for name in sorted(self.unknown) if asks(fields.get(name)))

    def check(self, request: InferenceRequest, coverage: Coverage) -> None:
        """Refuse what changes price, model or host. See ``Provider.check``."""
        fields = request.fields
        if request.operation is Operation.GENERATE:
            check_chat_fields(fields, coverage)
            if self.facts.hidden_reasoning == "never":
                check_reasoning_is_shown(fields)
        else:
            check_refused(fields, REFUSED_FIELDS)
        check_refused(fields, self.refused)
        check_refused(fields, dict.fromkeys(self.unknown, "this model's provider does not know it"))
        if self.unknown_in_messages or self.refused_parts:
            self._check_messages(fields)

    def write_request(self, request: InferenceRequest, target: Target, max_output_tokens: int | None) -> WireRequest:
        """Return the request with the fields as they came, but for those that are ours. See ``Provider.write_request``.

        Ours are the model, the usage chunk of a stream (asked for always), the output limit where it is clamped, and
        whatever this vendor says otherwise than OpenAI. A translated request is ours altogether: it also says its limit
        in the field that the target wants.
        """
        if request.operation is Operation.EMBED:
            wire = write_embeddings(attrs.evolve(request, fields=self._said({**request.fields})), target)
        else:
            fields = own_fields(request, target)
            if request.protocol != _NATIVE:
                self._fit_translated(fields, target)
            fields = self._said(fields)
            if is_streamed(request, target):
                _ask_for_usage(fields, asked=self.asks_for_usage and target.reports_usage)
            if max_output_tokens is not None:
                used = [name for name in _LIMIT_FIELDS if fields.get(name) is not None]
                fields.update(dict.fromkeys(used or [target.max_tokens_field], max_output_tokens))
            wire = post(f"{target.base_url}/chat/completions", fields)
        return wire

    def read_error(self, status: int, headers: Mapping[bytes, bytes], body: bytes) -> UpstreamError:
        """Return what a refusal means. See ``Provider.read_error``."""
        return refusals.read_error(status, headers, body)

    def _check_messages(self, fields: Mapping[str, Any]) -> None:
        for path, message in objects_in(fields.get("messages"), "messages"):
            for name in self.unknown_in_messages:
                if message.get("role") != "tool" and asks(message.get(name)):
                    raise refusal(f"{path}.{name}", "this model's provider does not know it")
            for part_path, part in objects_in(message.get("content"), f"{path}.content"):
                kind = part.get("type")
                if isinstance(kind, str) and kind in self.refused_parts:
                    raise refusal(f"{part_path}.type", self.refused_parts[kind])

    def _fit_translated(self, fields: dict[str, Any], target: Target) -> None:
        """Say what our own writer of the format said as this target wants it."""
        limits = [fields.pop(name) for name in _LIMIT_FIELDS if name in fields]
        if limits:
            fields[target.max_tokens_field] = limits[0]
        if not self.replays_thoughts:
            messages = [_without_thoughts(message) for message in fields["messages"]]
            fields["messages"] = [message for message in messages if message is not None]

    def _said(self, fields: dict[str, Any]) -> dict[str, Any]:
        """Return the fields in this vendor's words."""
        for name in self.unknown:
            fields.pop(name, None)
        for name, own in self.renamed.items():
            if name in fields:
                fields.setdefault(own, fields.pop(name))
        messages = fields.get("messages")
        if self.roles and isinstance(messages, list):
            fields["messages"] = [self._with_role(message) for message in messages]
        return fields

    def _with_role(self, message: Any) -> Any:  # noqa: ANN401 - whatever a client sends
        role = message.get("role") if isinstance(message, dict) else None
        return {**message, "role": self.roles[role]} if isinstance(role, str) and role in self.roles else message


def _without_thoughts(message: dict[str, Any]) -> dict[str, Any] | None:
    """Return a message without what was thought; None where nothing is left, which no vendor takes for a message."""
    told = {name: value for name, value in message.items() if name not in _THOUGHT_FIELDS}
    is_bare = len(told) < len(message) and not told.get("content") and told.keys() <= {"role", "name", "content"}
    return None if is_bare else told


def _ask_for_usage(fields: dict[str, Any], *, asked: bool) -> None:
    """Make a stream tell its usage, whatever the client said of it; its other options stay."""
    options = {**(fields.get("stream_options") or {})}
    options.pop("include_usage", None)
    if asked:
        options["include_usage"] = True
    if options:
        fields["stream_options"] = options
    else:
        fields.pop("stream_options", None)

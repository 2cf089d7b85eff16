"""One small call to a provider, as the gateway would make it, and what it shows otherwise than is declared.

Nothing is written: no ledger, no audit trail. The provider bills the call, a few tokens.
"""

from typing import Final

import attrs
import trio

from ainf.app import backend_of, target_of
from ainf.cli.settings import CommandError
from ainf.config import Config, ModelConfig, ProviderConfig
from ainf.exchange.plan import Backend
from ainf.formats.base import Answer, PipeLimits
from ainf.formats.registry import FORMATS
from ainf.inference.conversation import Conversation, Message, Role, Text, ToolDefinition
from ainf.inference.errors import UpstreamError
from ainf.inference.events import BlockDelta, BlockKind, BlockStart, StreamEvent
from ainf.inference.request import InferenceRequest, Operation
from ainf.inference.usage import Usage
from ainf.metering import SLACK_TOKENS, tokens_of
from ainf.providers.base import Provider, WireRequest
from ainf.upstream.request import UpstreamRequest

_OUTPUT_TOKENS: Final = 128
_LONGEST_S: Final = 120.0
_QUESTION: Final = "Say hello, in one word."
_TOOL: Final = ToolDefinition(
    name="look_up",
    path="tools[0]",
    description="Look up a word in a dictionary. Only for words that are not English.",
    schema={"type": "object", "properties": {"word": {"type": "string"}}, "required": ["word"]},
)


@attrs.frozen
class Difference:
    """One thing that is not as declared."""

    fact: str
    declared: str
    found: str


@attrs.frozen
class LiveReport:
    """What a call showed."""

    provider: str
    model: str
    upstream_model: str
    answered_as: str | None
    """What the provider calls the model that answered."""
    usage: Usage | None
    differences: tuple[Difference, ...]


@attrs.define
class _Seen:
    """What came of a call."""

    answer: Answer = attrs.field(factory=Answer)
    failure: UpstreamError | None = None
    is_stream: bool = True
    reasoning_bytes: int = 0
    output_bytes: int = 0
    """All that is visible, reasoning too."""

    def take(self, events: list[StreamEvent]) -> None:
        """Count what these events show."""
        kinds: dict[int, BlockKind] = {}
        for event in events:
            if isinstance(event, BlockStart):
                kinds[event.index] = event.kind
                self.output_bytes += len((event.name or "").encode())
            elif isinstance(event, BlockDelta):
                size = len(event.text.encode())
                self.output_bytes += size
                if kinds[event.index] is BlockKind.REASONING:
                    self.reasoning_bytes += size


async def check_live(config: Config, provider_name: str, model_name: str | None) -> LiveReport:
    """Make the call, and return what it showed.

    Args:
        config: loaded with its secrets.
        provider_name: the provider to call.
        model_name: the model to ask; None takes the provider's first one for text.

    Raises:
        CommandError: there is no such provider or model, or nothing that could be asked of it.
        OSError: the provider's ``ca_file`` cannot be used.
    """
    settings, model = _named(config, provider_name, model_name)
    backend = backend_of(config, settings)
    try:
        seen = await _ask(backend, config, model)
    finally:
        backend.client.close()
    return LiveReport(
        provider=settings.name,
        model=model.name,
        upstream_model=model.upstream_model,
        answered_as=seen.answer.model,
        usage=seen.answer.usage,
        differences=tuple(_differences(seen, model)),
    )


def _named(config: Config, provider_name: str, model_name: str | None) -> tuple[ProviderConfig, ModelConfig]:
    settings = config.providers.get(provider_name)
    if settings is None:
        raise CommandError(f"no provider {provider_name!r} is configured; known are {', '.join(config.providers)}")
    models = {
        model.name: model
        for model in config.models.values()
        if model.provider == provider_name and model.kind == "text"
    }
    if not models:
        raise CommandError(f"no model for text is configured for the provider {provider_name!r}")
    if model_name is None:
        return settings, next(iter(models.values()))
    if model_name not in models:
        raise CommandError(f"the provider {provider_name!r} has no model {model_name!r} for text: {', '.join(models)}")
    return settings, models[model_name]


def _written(config: Config, model: ModelConfig, vendor: Provider) -> WireRequest:
    """Return the question in the provider's words, as the gateway would send it."""
    conversation = Conversation(
        messages=(Message(Role.USER, (Text(_QUESTION),), "messages[0]"),), tools=(_TOOL,) if model.tools else ()
    )
    request = InferenceRequest(
        protocol="check",
        path="check",
        model=model.name,
        stream=True,
        include_usage=True,
        max_output_tokens=None,
        input_bytes=0,
        bound_bytes=0,
        attachment_count=0,
        has_tools=model.tools,
        fields=FORMATS[vendor.formats[Operation.GENERATE]].write_request(conversation).fields,
    )
    return vendor.write_request(request, target_of(config, model), min(_OUTPUT_TOKENS, model.max_output_tokens))


async def _ask(backend: Backend, config: Config, model: ModelConfig) -> _Seen:
    vendor = backend.provider
    wire = _written(config, model, vendor)
    call = backend.client.call(UpstreamRequest(wire.url, backend.headers + wire.headers, wire.body))
    seen = _Seen()
    body = bytearray()
    try:
        with trio.fail_after(min(_LONGEST_S, model.exchange_s)):
            head = await call.start()
            if head.status != 200:
                raise vendor.read_error(head.status, dict(head.headers), await call.read_error_body())
            while len(body) <= config.limits.answer_bytes and (data := await call.receive()):
                body += data
        _read(bytes(body), seen, config, vendor)
    except UpstreamError as error:
        seen.failure = error
    except trio.TooSlowError:
        seen.failure = UpstreamError("upstream_timeout", "The provider took too long.")
    finally:
        call.abort()
    return seen


def _read(body: bytes, seen: _Seen, config: Config, vendor: Provider) -> None:
    """Read a whole body with the format's own reader, of streams or of whole answers.

    Raises:
        UpstreamError: it is not of the format, or reports an error.
    """
    limits = config.limits
    pipe_limits = PipeLimits(line=limits.sse_line_bytes, event=limits.sse_event_bytes, answer=limits.answer_bytes)
    wire_format = FORMATS[vendor.formats[Operation.GENERATE]]
    seen.is_stream = not body.lstrip().startswith((b"{", b"["))
    make = wire_format.stream_reader if seen.is_stream else wire_format.answer_reader
    reader = make(pipe_limits, seen.answer)
    seen.take([*reader.receive(body), *reader.receive_eof()])
    if isinstance(seen.answer.error, UpstreamError):
        raise seen.answer.error


def _differences(seen: _Seen, model: ModelConfig) -> list[Difference]:
    if seen.failure is not None:
        return [_of_failure(seen.failure, model)]
    usage, found = seen.answer.usage, []
    if (model.streaming == "native") != seen.is_stream:
        found.append(Difference("streaming", model.streaming, "a stream" if seen.is_stream else "a whole answer"))
    if model.reports_usage != (usage is not None):
        told = "told" if usage is not None else "not believable" if seen.answer.is_usage_rejected else "not told"
        found.append(Difference("reports_usage", str(model.reports_usage).lower(), told))
    if usage is not None and model.hidden_reasoning != "always" and (hidden := _hidden_tokens(usage, seen, model)):
        declared = f"{model.hidden_reasoning} (and not asked for)" if model.hidden_reasoning == "asked" else "never"
        found.append(Difference("hidden_reasoning", declared, f"at least {hidden} tokens that were not shown"))
    if seen.answer.model is not None and not _is_same(model.upstream_model, seen.answer.model):
        found.append(Difference("upstream_model", model.upstream_model, seen.answer.model))
    return found


def _of_failure(failure: UpstreamError, model: ModelConfig) -> Difference:
    said, words = f"{failure.code}: {failure.message}", f"{failure.param} {failure.message}".lower()
    if failure.code == "upstream_auth":
        return Difference("authentication", "accepted", said)
    if failure.code == "upstream_rejected" and model.tools and "tool" in words:
        return Difference("tools", "true", said)
    if failure.code == "upstream_rejected" and model.streaming == "native" and "stream" in words:
        return Difference("streaming", model.streaming, said)
    return Difference("the call", "answered", said)


def _hidden_tokens(usage: Usage, seen: _Seen, model: ModelConfig) -> int:
    """Return how many tokens were surely billed and not shown; ratios err, so a few are not."""

    def most(size: int) -> int:
        return tokens_of(size, model.input_bytes_per_token_low_milli)

    unseen_reasoning = usage.reasoning_tokens - most(seen.reasoning_bytes)
    unseen_output = usage.output_tokens - most(seen.output_bytes) - SLACK_TOKENS
    return max(0, unseen_reasoning, unseen_output)


def _is_same(asked: str, answered: str) -> bool:
    """Whether a model's name may be another one's: a dated version of it, or the same without its maker."""
    short, told = (name.casefold().rpartition("/")[2].removesuffix("-latest") for name in (asked, answered))
    return told.startswith(short) or short.startswith(told)

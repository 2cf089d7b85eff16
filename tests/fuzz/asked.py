"""What must hold of any request's body and headers, in any protocol, whichever vendor it is for."""

import json
import re
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final, cast

from ainf.admission import ModelTerms, Reads, admit
from ainf.exchange.plan import Backend
from ainf.formats.json import DEEPEST, load_json
from ainf.formats.registry import FORMATS
from ainf.http.asked import RequestHeaders, fingerprint
from ainf.http.credentials import presented_key
from ainf.http.models import Model, format_for, prepared
from ainf.http.targets import take_hint
from ainf.inference.errors import AinfError, DownstreamError, RoutingError
from ainf.inference.request import InferenceRequest, Operation
from ainf.metering import MeterRatios
from ainf.pricing import Price, always
from ainf.protocols.base import ErrorAnswer
from ainf.protocols.registry import ENDPOINTS
from ainf.providers.base import Target
from ainf.providers.registry import PROVIDERS
from ainf.server.forwarded import TrustedProxies
from tests.fuzz.answers import check_error, check_failure
from tests.fuzz.choices import Choices
from tests.fuzz.mutate import CANARY

BASE_URL: Final = "https://provider.test/v1"
PRICE: Final = Price(
    input=3, cached_input=1, output=15, reasoning=15, cache_write=4, long_cache_write=6, audio_input=9
)  # fmt: skip
_DEADLINE: Final = 86_400 * 365


def request(path: str, data: bytes) -> None:
    """A body is refused by name, or every vendor that takes it is told all of it (L9), in valid JSON.

    What a vendor is not told is named: in a refusal, or among the fields that were dropped because that is allowed.
    """
    choices = Choices(data)
    protocol = ENDPOINTS[path]
    headers = {b"anthropic-beta": b"token-counting-2024-11-01, x-beta"} if choices.flag() else {}
    fields: dict[str, Any] = {}
    try:
        fields = load_json(choices.body)
        _check_loaded(fields)
        asked = protocol.parse(fields, path=path, body_bytes=len(choices.body), headers=headers)
        assert fields == load_json(choices.body), "reading changed the request"
        assert asked.bound_bytes >= asked.input_bytes >= 0
        assert asked.max_output_tokens is None or 1 <= asked.max_output_tokens < 1 << 31
        protocol.echo(asked)
        fingerprint("acc", asked)
        hint, asked = take_hint(asked, is_routed=choices.flag())
        vendor = choices.pick(tuple(PROVIDERS))
        may_drop = frozenset(choices.pick(((), ("*",), ("metadata", "user", "store", "x_new"))))
        _ask(choices, asked, _model(vendor, may_drop), hint.max_cost_nusd)
    except AinfError as error:
        _check_refusal(path, error)


def _check_loaded(fields: Mapping[str, Any]) -> None:
    """What is loaded can be written, stored and gone through without end."""
    text = json.dumps(fields, allow_nan=False)
    text.encode()
    assert json.loads(text) == fields
    assert all(-(1 << 63) <= number < 1 << 63 for number in _numbers(fields))
    deepest, level = 0, [fields]
    while level := [child for each in level for child in _children(each)]:
        deepest += 1
    assert deepest <= DEEPEST


def _children(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []


def _model(vendor: str, may_drop: frozenset[str]) -> Model:
    provider = PROVIDERS[vendor]
    terms = ModelTerms(
        name="sim", provider=vendor, upstream_model="up/1", max_output_tokens=4096, min_output_tokens=16, price=PRICE,
        ratios=MeterRatios(4000, 2000, 1600), slice_tokens=1024,
    )  # fmt: skip
    target = Target(vendor, "up/1", BASE_URL, provider.facts.max_tokens_field, 4096)
    backend = Backend(provider, cast("Any", None), ())
    return Model(terms, always(PRICE), backend, target, may_drop)


def _ask(choices: Choices, asked: InferenceRequest, model: Model, most_nusd: int | None) -> None:
    protocol = ENDPOINTS[asked.path]
    provider_format = format_for(model, asked)
    ready, cache_write = prepared(asked, model, protocol, provider_format)
    allowed = {*model.may_drop, *asked.dropped, *asked.betas}
    assert "*" in allowed or allowed >= set(ready.dropped), "what may not be dropped was"
    reasoning = None
    if asked.operation is Operation.GENERATE:
        reasoning = FORMATS[provider_format].reasoning_of(ready.fields)
    admission = admit(ready, model.terms, Reads(reasoning, cache_write), most_nusd, is_chosen=choices.flag())
    assert admission.ask.base_nusd >= 0
    assert 0 <= admission.ask.first_tokens <= admission.ask.worst_tokens
    limit = choices.pick((None, admission.limit_tokens, admission.ask.min_tokens))
    wire = model.backend.provider.write_request(ready, model.target, limit)
    assert wire.url.startswith(f"{BASE_URL}/")
    assert re.fullmatch(r"[!-~]+", wire.url)
    sent = json.loads(wire.body)
    assert isinstance(sent, dict)
    _check_told(asked, ready, sent, is_translated=provider_format != protocol.format)
    if limit is not None and asked.operation is Operation.GENERATE:
        assert limit in set(_numbers(sent)), "the output limit is not said"


def _check_told(asked: InferenceRequest, ready: InferenceRequest, sent: dict[str, Any], *, is_translated: bool) -> None:
    """Every canary that came in goes out, or the field that it stood in is named as dropped."""
    gone = set(_canaries(sent))
    for name, value in asked.fields.items():
        told = _without_labels(value, name) if is_translated else value
        left = set() if name == "model" else set(_canaries(told)) - gone
        is_named = any(each == name or each.startswith(f"{name}.") for each in ready.dropped)
        assert not left or is_named, f"`{name}` lost {sorted(left)} in silence"
    for name, value in asked.fields.items():
        if not (is_translated or name in _OURS or name in ready.dropped):
            assert name not in sent or sent[name] == value, f"`{name}` was changed"


_OURS: Final = {"model", "stream", "stream_options", "max_tokens", "max_completion_tokens", "max_output_tokens",
                "messages", "input", "thinking"}  # fmt: skip
"""Fields that the gateway sets, out of which it takes what other vendors made, in which vendors call roles otherwise,
or whose budget it keeps below a limit of its own."""
_LABELS: Final = {"filename", "title", "id"}
_SHAPES: Final = {"response_format", "text"}


def _canaries(value: Any) -> Iterator[str]:
    yield from CANARY.findall(json.dumps(value))


def _without_labels(value: Any, field: str) -> Any:
    """Return a value without labels that some formats require and others have no place for.

    Those are the names of files and of an answer's schema, and the ids of items that have another to be found by.
    """
    labels = _LABELS | ({"name"} if field in _SHAPES else set())
    if isinstance(value, dict):
        return {name: _without_labels(child, field) for name, child in value.items() if name not in labels}
    return [_without_labels(child, field) for child in value] if isinstance(value, list) else value


def _numbers(value: Any) -> Iterator[int]:
    waiting = [value]
    while waiting:
        found = waiting.pop()
        waiting += _children(found)
        if type(found) is int:
            yield found


def _check_refusal(path: str, error: AinfError) -> None:
    """A refusal is the client's fault, says so in its protocol, and repeats little of the request."""
    assert isinstance(error, DownstreamError | RoutingError), error
    assert 400 <= error.status < 500
    check_error(error)
    answer = ErrorAnswer(error.code, error.type, error.message, error.param, None, 0, "req_1", error.details)
    document = json.loads(ENDPOINTS[path].error_body(answer))
    assert document["error"]["message"]


# --- headers ---

HEADERS: Final = MappingProxyType({
    "x-ainf-labels": "run=17, user=ann",
    "x-ainf-deadline-ms": "30000",
    "idempotency-key": "abc-1",
    "x-stainless-retry-count": "2",
    "anthropic-beta": "token-counting-2024-11-01,a",
    "authorization": "Bearer ainf_k_s",
    "x-api-key": "ainf_k_s",
    "x-forwarded-for": "203.0.113.7, 10.0.0.1",
    "forwarded": "for=203.0.113.7",
})


def headers(data: bytes) -> None:
    """A request's own headers, whatever they hold, are read or refused by name; what is read is fit for records."""
    pairs = [line.partition(b": ")[::2] for line in Choices(data).body.split(b"\n")]
    named = {name.strip().lower(): value for name, value in pairs}
    try:
        read = RequestHeaders.read(named)
        assert read.deadline_s is None or 0 < read.deadline_s < _DEADLINE
        assert read.sdk_retry_count is None or 0 <= read.sdk_retry_count < 10_000
        assert len(read.labels) <= 10
        for text in (*read.labels, *read.labels.values(), read.idempotency_key or ""):
            assert text.isascii()
            assert text == "" or text.isprintable(), "a record would hold what is no text"
    except DownstreamError as error:
        _check_named(error, named)
    try:
        assert 0 < len(presented_key(pairs).reveal()) <= 256
    except DownstreamError as error:
        check_failure(error, "invalid_api_key", "ambiguous_credentials")
    client = TrustedProxies(("10.0.0.0/8",)).client_of("10.0.0.9", pairs)
    assert client
    assert client.isascii()


def _check_named(error: DownstreamError, named: Mapping[bytes, bytes]) -> None:
    assert error.param is not None
    assert error.param.encode() in named
    _check_refusal("/v1/messages", error)

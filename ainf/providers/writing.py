"""How requests are written that go on as they came but for the fields that are ours."""

from typing import Any

import msgspec

from ainf.inference.request import InferenceRequest
from ainf.inference.secret import HeaderValue, Secret
from ainf.providers.base import Target, WireRequest


def bearer(secret: Secret) -> tuple[tuple[bytes, HeaderValue], ...]:
    """Return the header that most vendors authenticate us by."""
    return ((b"authorization", Secret(b"Bearer " + secret.reveal())),)


def is_streamed(request: InferenceRequest, target: Target) -> bool:
    """Whether the provider is asked for a stream."""
    return request.stream and target.streams


def own_fields(request: InferenceRequest, target: Target) -> dict[str, Any]:
    """Return a copy of the request's fields with our model in it, and a stream asked for or not."""
    fields: dict[str, Any] = {**request.fields, "model": target.upstream_model}
    if is_streamed(request, target):
        fields["stream"] = True
    elif request.stream:
        fields["stream"] = False
        fields.pop("stream_options", None)
    return fields


def post(url: str, fields: dict[str, Any], headers: tuple[tuple[bytes, bytes], ...] = ()) -> WireRequest:
    """Return the request that carries these fields."""
    return WireRequest(url, msgspec.json.encode(fields), headers)


def write_embeddings(request: InferenceRequest, target: Target) -> WireRequest:
    """Return a request for embeddings in OpenAI's words.

    Source: OpenAI's API reference, "create embeddings".
    """
    return post(f"{target.base_url}/embeddings", {**request.fields, "model": target.upstream_model})

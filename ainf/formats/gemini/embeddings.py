"""Embeddings of the Gemini API: requests and answers of ``batchEmbedContents``.

Source: the Gemini API reference, "embeddings", and the types of the ``google-genai`` package
(``EmbedContentResponse``): each input is a request of its own that names the model again, vectors come back in order,
and ``usageMetadata``, where the model's API tells it, counts the prompt's tokens.
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from ainf.formats.fields import optional, path_of, required, says_something, unsupported, wrong_type
from ainf.formats.observe import believable_usage
from ainf.inference.usage import Usage

_MODELS: Final = "models/"
_READ: Final = frozenset({"model", "input", "dimensions"})
# Vectors come as floats; in which encoding the client gets them is the affair of its own protocol.
_ELSEWHERE: Final = frozenset({"encoding_format"})


class _VectorView(msgspec.Struct, gc=False):
    values: list[float]


class _AnswerView(msgspec.Struct, gc=False):
    embeddings: list[_VectorView]


class _UsageView(msgspec.Struct, gc=False):
    usageMetadata: dict[str, Any] | None = None  # noqa: N815 - the wire's name


_decode_answer = msgspec.json.Decoder(_AnswerView).decode
_decode_usage = msgspec.json.Decoder(_UsageView).decode


def unsaid_fields(fields: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names of what an OpenAI embeddings request says and this API cannot be told."""
    known = _READ | _ELSEWHERE
    return tuple(name for name, value in fields.items() if name not in known and says_something(value))


def write_embeddings(fields: Mapping[str, Any], upstream_model: str) -> dict[str, Any]:
    """Return the body of ``batchEmbedContents`` for an OpenAI embeddings request.

    Args:
        fields: the request's JSON object.
        upstream_model: the provider's name of the model, with or without ``models/``.

    Raises:
        DownstreamError: ``unsupported_parameter``: tokens instead of text, or a field that the API cannot be told;
            ``invalid_type``, ``missing_field``.
    """
    for name in unsaid_fields(fields):
        raise unsupported(name)
    model = upstream_model if upstream_model.startswith(_MODELS) else _MODELS + upstream_model
    dimensions = optional(fields, "dimensions", int)
    sized = {} if dimensions is None else {"outputDimensionality": dimensions}
    return {"requests": [{"model": model, "content": {"parts": [{"text": text}]}, **sized} for text in _texts(fields)]}


def read_embeddings(body: bytes) -> list[list[float]] | None:
    """Return the vectors of an answer, in the order of the inputs; None where it is no such answer."""
    try:
        vectors = [embedding.values for embedding in _decode_answer(body).embeddings]
    except (ValueError, RecursionError):
        return None
    return vectors if vectors and all(vectors) else None


def read_embeddings_usage(body: bytes) -> Usage | None:
    """Return the usage that an answer states; None where it states none that can be true."""
    try:
        usage = _decode_usage(body).usageMetadata
    except (ValueError, RecursionError):
        return None
    prompt = None if usage is None else usage.get("promptTokenCount")
    return None if prompt is None else believable_usage(input_tokens=prompt)


def _texts(fields: Mapping[str, Any]) -> list[str]:
    told = required(fields, "input", str, list)
    texts = [told] if isinstance(told, str) else told
    for number, text in enumerate(texts):
        if isinstance(text, int | list):
            raise unsupported("input", "this model's provider takes text, not tokens")
        if not isinstance(text, str):
            raise wrong_type(path_of("input", number), str)
    return texts

"""Embeddings, as OpenAI's API speaks them.

Wire format: https://platform.openai.com/docs/api-reference/embeddings
"""

from typing import Any, Final

import msgspec

from ainf.simulator.answer import Answer, Ask, Task
from ainf.simulator.http import Request
from ainf.simulator.lies import teller
from ainf.simulator.reading import Fields, tokens, utf8_bytes
from ainf.simulator.vectors import DEFAULT_DIMENSIONS, MAX_DIMENSIONS, packed, vector
from ainf.simulator.wire import Voice
from ainf.simulator.wires.openai import OpenAIWire, encode, fields_of, model_of, refused, wrong_type
from ainf.simulator.wires.silent import SilentVoice

_MAX_INPUTS: Final = 2048


class EmbeddingsWire(OpenAIWire):
    """``POST /v1/embeddings``."""

    paths = ("/v1/embeddings",)
    broken_frame = b'data: {"data": [{"embedding": \n\n'

    def read(self, request: Request, fields: object) -> Ask:
        """Return what the request asks for; see ``Wire.read``."""
        del request
        values = fields_of(fields)
        typed = Fields(values, wrong_type)
        encoding = typed.get("encoding_format", str, default="float")
        if encoding not in ("float", "base64"):
            raise refused(
                f"Invalid value: '{encoding}'. Supported values are: 'float' and 'base64'.", "encoding_format"
            )
        inputs = _inputs(values.get("input"))
        dimensions = _dimensions(typed)
        vectors = [vector(encode(text), dimensions) for text in inputs]
        text_bytes = sum(utf8_bytes(text) for text in inputs)
        return Ask(
            model=model_of(values),
            stream=False,
            include_usage=False,
            max_tokens=None,
            input_tokens=tokens(text_bytes) + sum(len(text) for text in inputs if isinstance(text, list)),
            task=Task.EMBED,
            echo=encode(_data(vectors, encoding)),
        )

    def voice(self, answer: Answer) -> Voice:
        """Return a voice that tells nothing: embeddings are no stream."""
        del answer
        return SilentVoice(self)

    def document(self, answer: Answer) -> bytes:
        """Return the embeddings; see ``Wire.document``."""
        document: dict[str, Any] = {
            "object": "list",
            "data": msgspec.Raw(answer.ask.echo),
            "model": answer.ask.model,
        }
        if answer.counts is not None:
            told = teller(answer.behaviour.usage_lie)(answer.counts.input)
            document["usage"] = {"prompt_tokens": told, "total_tokens": told}
        return encode(document)


def _inputs(value: object) -> list[str | list[int]]:
    """Return what is to be embedded: a text, a list of texts, a list of tokens, or a list of those."""
    inputs: list[Any] = value if isinstance(value, list) and not _is_tokens(value) else [value]
    if not 1 <= len(inputs) <= _MAX_INPUTS:
        raise refused(f"Invalid 'input': it must have 1 to {_MAX_INPUTS} items.", "input")
    for text in inputs:
        if not (isinstance(text, str) and text) and not _is_tokens(text):
            raise refused("Invalid 'input': it must be texts or lists of tokens, none of them empty.", "input")
    return inputs


def _is_tokens(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(type(token) is int for token in value)


def _dimensions(fields: Fields) -> int:
    dimensions = fields.get("dimensions", int, default=DEFAULT_DIMENSIONS)
    if not 1 <= dimensions <= MAX_DIMENSIONS:
        raise refused(f"Invalid value for 'dimensions': it must be from 1 to {MAX_DIMENSIONS}.", "dimensions")
    return dimensions


def _data(vectors: list[list[float]], encoding: str) -> list[dict[str, Any]]:
    return [
        {"object": "embedding", "index": index, "embedding": packed(numbers) if encoding == "base64" else numbers}
        for index, numbers in enumerate(vectors)
    ]

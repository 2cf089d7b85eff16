"""OpenAI's embeddings, as clients speak it.

Source: OpenAI's API reference, "create embeddings". Fields that we interpret are checked by type; all others ride along
untouched.
"""

from collections.abc import Mapping
from typing import Any, Final

from ainf.formats.base import Answer, Listener, Pipe, PipeLimits
from ainf.formats.collected import Collected
from ainf.formats.embeddings.collected import EmbeddingsJudge
from ainf.formats.embeddings.gemini import GeminiEmbeddings
from ainf.formats.fields import optional, path_of, required, wrong_type, wrong_value
from ainf.inference.request import InferenceRequest, Operation
from ainf.protocols.base import ErrorAnswer
from ainf.protocols.checks import model_name, refuse_nul, refuse_stream
from ainf.protocols.generation import GenerationDefaults
from ainf.protocols.openai_errors import openai_error

MOST_INPUTS: Final = 2_048
"""Inputs of one request, as OpenAI has it."""

_TOKEN_BYTES = 4
"""What a token that comes as a number is taken for: text of a token's usual length."""
_ENCODINGS = ("float", "base64")


class Embeddings(GenerationDefaults):
    """The protocol of ``/v1/embeddings``."""

    name = "embeddings"
    format = "embeddings"
    operation = Operation.EMBED

    def parse(
        self, fields: dict[str, Any], *, path: str, body_bytes: int, headers: Mapping[bytes, bytes]
    ) -> InferenceRequest:
        """Check a decoded body. See ``ClientProtocol.parse``."""
        model = model_name(fields)
        inputs = _inputs(fields)
        refuse_stream(fields)
        if optional(fields, "encoding_format", str) not in {None, *_ENCODINGS}:
            raise wrong_value("encoding_format", " or ".join(_ENCODINGS))
        dimensions: int | None = optional(fields, "dimensions", int)
        if dimensions is not None and dimensions < 1:
            raise wrong_value("dimensions", "1 or more")
        refuse_nul(optional(fields, "user", str), "user")
        input_bytes = sum(map(_size_of, inputs))
        return InferenceRequest(
            protocol=self.name,
            path=path,
            model=model,
            stream=False,
            include_usage=False,
            max_output_tokens=None,
            input_bytes=input_bytes,
            bound_bytes=max(input_bytes, body_bytes),
            attachment_count=0,
            has_tools=False,
            fields=fields,
            operation=self.operation,
        )

    def error_body(self, answer: ErrorAnswer) -> bytes:
        """Return OpenAI's error object. See ``ClientProtocol.error_body``."""
        return openai_error(answer)

    def echo(self, request: InferenceRequest) -> Mapping[str, Any]:
        """Return what the answer follows: how many vectors, in which encoding. See ``ClientProtocol.echo``."""
        encoding = request.fields.get("encoding_format") or _ENCODINGS[0]
        return {"inputs": len(_inputs(request.fields)), "encoding_format": encoding}

    def open_pipe(self, listener: Listener, provider_format: str, limits: PipeLimits) -> Pipe:
        """Return the pipe from a provider's embeddings. See ``ClientProtocol.open_pipe``."""
        if provider_format == "gemini_embeddings":
            return GeminiEmbeddings(listener, limits, Answer())
        assert provider_format == self.format, provider_format
        return Collected(EmbeddingsJudge(listener.echo["inputs"]), limits, Answer())


def _inputs(fields: Mapping[str, Any]) -> list[str] | list[list[int]]:
    """Return the inputs, each a text or a list of tokens."""
    value: str | list[Any] = required(fields, "input", str, list)
    if not value:
        raise wrong_value("input", "not empty")
    if isinstance(value, str):
        return [value]
    if type(value[0]) is int:
        _check_each(value, int, "input")
        return [value]
    if len(value) > MOST_INPUTS:
        raise wrong_value("input", f"at most {MOST_INPUTS} inputs")
    _check_each(value, list if isinstance(value[0], list) else str, "input")
    for number, each in enumerate(value):
        if isinstance(each, list):
            _check_each(each, int, path_of("input", number))
    return value


def _check_each(values: list[Any], kind: type, at: str) -> None:
    for number, value in enumerate(values):
        if type(value) is not kind:
            raise wrong_type(path_of(at, number), kind)


def _size_of(each: str | list[int]) -> int:
    return len(each.encode()) if isinstance(each, str) else len(each) * _TOKEN_BYTES

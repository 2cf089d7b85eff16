"""Google's Gemini API: requests in, ``GenerateContentResponse`` and its siblings out; ``gemini_stream`` tells them.

The model and whether to stream stand in the path. Wire format: https://ai.google.dev/api/generate-content,
https://ai.google.dev/api/tokens and https://ai.google.dev/api/embeddings
"""

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import parse_qs, unquote

import msgspec

from ainf.simulator.answer import Answer, Ask, Task, Tool
from ainf.simulator.behaviour import Usage
from ainf.simulator.http import Request
from ainf.simulator.reading import Fields, first_property, text_bytes, tokens, utf8_bytes
from ainf.simulator.vectors import DEFAULT_DIMENSIONS, MAX_DIMENSIONS, vector
from ainf.simulator.wire import ErrorBody, RefusedError, Voice
from ainf.simulator.wires.gemini_stream import GeminiVoice, error_object, whole_response
from ainf.simulator.wires.silent import SilentVoice

_encode = msgspec.json.encode
_VERSIONS: Final = ("v1beta", "v1")
# Google reads a field's name in both spellings; its own SDK uses the second for this one.
_SCHEMAS: Final = ("parameters", "parametersJsonSchema", "parameters_json_schema")


def _paths(*actions: str) -> tuple[str, ...]:
    """Return where actions on a model are asked for, in either version of the API."""
    return tuple(f"/{version}/models/{{model}}:{action}" for version in _VERSIONS for action in actions)


class _GeminiWire:
    """The common part of Gemini's endpoints."""

    request_id_header = "x-request-id"
    overloaded_status = 503
    done_frame = b""
    broken_frame = b'data: {"candidates": [{"content": {"parts": [{"text": \n\n'
    # Google says 400 to a wrong key.
    key_refused = ErrorBody(
        400, "API key not valid. Please pass a valid API key.", "invalid_request_error", "API_KEY_INVALID"
    )

    def key(self, headers: Mapping[str, str]) -> str | None:
        """Return ``x-goog-api-key``; see ``Wire.key``."""
        return headers.get("x-goog-api-key")

    def failed_document(self, answer: Answer, error: ErrorBody) -> bytes:
        """Return the error's body; see ``Wire.failed_document``."""
        del answer
        return self.error_document(error)

    def error_document(self, error: ErrorBody) -> bytes:
        """Return an error's body; see ``Wire.error_document``."""
        return _encode({"error": error_object(error)})


class GeminiWire(_GeminiWire):
    """``:generateContent`` and ``:streamGenerateContent``."""

    paths = _paths("generateContent", "streamGenerateContent")

    def read(self, request: Request, fields: object) -> Ask:
        """Return what the request asks for; see ``Wire.read``."""
        typed = _fields(fields)
        stream = request.path.endswith(":streamGenerateContent")
        if stream and parse_qs(request.query).get("alt") != ["sse"]:
            raise _refused("The simulator streams with alt=sse only.")
        contents = _contents(typed)
        return Ask(
            model=_model(request),
            stream=stream,
            include_usage=False,
            max_tokens=_max_tokens(typed),
            input_tokens=_input_tokens(typed),
            tools=_tools(typed),
            may_call=_may_call(typed) and not _function_responses(contents[-1]),
            habit=Usage.CONTINUOUS,
        )

    def voice(self, answer: Answer) -> Voice:
        """Return what tells the answer; see ``Wire.voice``."""
        return GeminiVoice(answer)

    def document(self, answer: Answer) -> bytes:
        """Return the whole answer; see ``Wire.document``."""
        return _encode(whole_response(answer, GeminiVoice(answer).said(answer.beats)))


class GeminiCountWire(_GeminiWire):
    """``:countTokens``."""

    paths = _paths("countTokens")

    def read(self, request: Request, fields: object) -> Ask:
        """Return what the request asks for: the contents stand in it, or in a whole request inside it."""
        typed = _fields(fields)
        inner = typed.get("generateContentRequest", dict, default=None)
        counted = _input_tokens(typed if inner is None else Fields(inner, _wrong_type))
        return Ask(
            model=_model(request),
            stream=False,
            include_usage=False,
            max_tokens=None,
            input_tokens=counted,
            task=Task.COUNT,
        )

    def voice(self, answer: Answer) -> Voice:
        """Return a voice that tells nothing: a count is no stream."""
        del answer
        return SilentVoice(self)

    def document(self, answer: Answer) -> bytes:
        """Return the count; see ``Wire.document``."""
        if answer.counts is None:
            return b"{}"
        count = answer.counts.input
        details = [{"modality": "TEXT", "tokenCount": count}]
        return _encode({"totalTokens": count, "promptTokensDetails": details})


class GeminiEmbedWire(_GeminiWire):
    """``:embedContent`` and ``:batchEmbedContents``."""

    paths = _paths("embedContent", "batchEmbedContents")

    def read(self, request: Request, fields: object) -> Ask:
        """Return what the request asks for; see ``Wire.read``."""
        typed = _fields(fields)
        batch = request.path.endswith(":batchEmbedContents")
        asked = [Fields(one, _wrong_type) for one in _objects(typed, "requests")] if batch else [typed]
        texts = [_joined_text(one.get("content", dict, default={})) for one in asked]
        vectors = [vector(text, _dimensions(one)) for text, one in zip(texts, asked, strict=True)]
        return Ask(
            model=_model(request),
            stream=False,
            include_usage=False,
            max_tokens=None,
            input_tokens=tokens(sum(map(len, texts))),
            task=Task.EMBED,
            echo=_encode(_embeddings(vectors, batch=batch)),
        )

    def voice(self, answer: Answer) -> Voice:
        """Return a voice that tells nothing: embeddings are no stream."""
        del answer
        return SilentVoice(self)

    def document(self, answer: Answer) -> bytes:
        """Return the embeddings; see ``Wire.document``."""
        return answer.ask.echo


def _refused(message: str) -> RefusedError:
    return RefusedError(ErrorBody(400, message, "invalid_request_error"))


def _wrong_type(name: str, kind: type) -> RefusedError:
    return _refused(f"Invalid value at '{name}' (expected {kind.__name__}).")


def _fields(fields: object) -> Fields:
    if not isinstance(fields, dict):
        raise _refused("Invalid JSON payload received. Expected an object.")
    return Fields(fields, _wrong_type)


def _model(request: Request) -> str:
    return unquote(request.path.rpartition("/")[2].rpartition(":")[0])


def _objects(fields: Fields, name: str) -> list[dict[str, Any]]:
    objects: list[Any] = fields.get(name, list, default=[])
    for index, one in enumerate(objects):
        if not isinstance(one, dict):
            raise _refused(f"Invalid value at '{name}[{index}]' (expected object).")
    return objects


def _contents(fields: Fields) -> list[dict[str, Any]]:
    contents = _objects(fields, "contents")
    if not contents:
        raise _refused("* GenerateContentRequest.contents: contents is not specified")
    for content in contents:
        if content.get("role", "user") not in ("user", "model"):
            raise _refused("Please use a valid role: user, model.")
        if not isinstance(content.get("parts"), list) or not content["parts"]:
            raise _refused("* GenerateContentRequest.contents.parts: contents.parts must not be empty.")
    return contents


def _max_tokens(fields: Fields) -> int | None:
    config = Fields(fields.get("generationConfig", dict, default={}), _wrong_type)
    limit = config.get("maxOutputTokens", int, default=None)
    if limit is not None and limit < 1:
        raise _refused(
            "* GenerateContentRequest.generation_config.max_output_tokens: max_output_tokens must be positive."
        )
    return limit


def _input_tokens(fields: Fields) -> int:
    """Return the tokens of all text: the system's, the contents', and what functions gave."""
    contents = [fields.get("systemInstruction", dict, default={}), *_contents(fields)]
    said = sum(text_bytes(content.get("parts")) for content in contents)
    responses = [response for content in contents for response in _function_responses(content)]
    return tokens(said + sum(utf8_bytes(value) for response in responses for value in response.values()))


def _function_responses(content: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return what functions gave in a content."""
    parts = content.get("parts")
    responses: list[dict[str, Any]] = []
    for part in parts if isinstance(parts, list) else ():
        match part:
            case {"functionResponse": {"response": dict() as response}}:
                responses.append(response)
            case _:
                continue
    return responses


def _may_call(fields: Fields) -> bool:
    match fields.values.get("toolConfig"):
        case {"functionCallingConfig": {"mode": "NONE"}}:
            return False
        case _:
            return True


def _tools(fields: Fields) -> tuple[Tool, ...]:
    """Return the functions that the client runs; other tools are Google's and are never called."""
    tools = []
    for index, tool in enumerate(_objects(fields, "tools")):
        for declaration in _objects(Fields(tool, _wrong_type), "functionDeclarations"):
            match declaration:
                case {"name": str(name), **rest}:
                    schema = next((rest[field] for field in _SCHEMAS if field in rest), None)
                    tools.append(Tool(name, first_property(schema)))
                case _:
                    raise _refused(f"* GenerateContentRequest.tools[{index}].function_declarations: Invalid name.")
    return tuple(tools)


def _joined_text(content: Mapping[str, Any]) -> bytes:
    match content:
        case {"parts": [*parts]}:
            texts = [part.get("text") for part in parts if isinstance(part, dict)]
            return "".join(text for text in texts if isinstance(text, str)).encode("utf-8", "surrogatepass")
        case _:
            raise _refused("* EmbedContentRequest.content: content is not specified")


def _dimensions(fields: Fields) -> int:
    dimensions = fields.get("outputDimensionality", int, default=DEFAULT_DIMENSIONS)
    if not 1 <= dimensions <= MAX_DIMENSIONS:
        raise _refused("* EmbedContentRequest.output_dimensionality: out of range")
    return dimensions


def _embeddings(vectors: list[list[float]], *, batch: bool) -> dict[str, Any]:
    embeddings = [{"values": numbers} for numbers in vectors]
    return {"embeddings": embeddings} if batch else {"embedding": embeddings[0]}

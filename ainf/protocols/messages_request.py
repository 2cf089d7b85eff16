"""What a Messages request asks, for an answer and for a count alike.

Source: Anthropic's API reference, "create a message" and "count tokens in a message", and the headers that their SDKs
send. Fields that we interpret are checked by type; all others ride along untouched. ``anthropic-version`` may say
anything: there is one version.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

from ainf.formats.fields import objects, optional, path_of, required, wrong_value
from ainf.inference.request import InferenceRequest, Operation
from ainf.protocols.checks import check_strings, messages_of, model_name, refuse_nul, token_limit
from ainf.protocols.input_size import fields_bytes
from ainf.protocols.messages_input import measure_messages

_BETA_HEADER = b"anthropic-beta"
_BETA: Final = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_MOST_BETAS: Final = 32
_INPUT_FIELDS = ("system", "tools", "tool_choice", "output_config", "output_format", "prefill")
"""What the model is known to read beside the messages."""


def read_request(
    fields: dict[str, Any], operation: Operation, *, path: str, body_bytes: int, headers: Mapping[bytes, bytes]
) -> InferenceRequest:
    """Return a request; ``protocol`` is "messages", an output limit may be missing.

    Raises:
        DownstreamError: a field is wrong, missing or cannot be honoured; ``param`` names it.
    """
    model = model_name(fields)
    messages = _messages(fields)
    limit = token_limit(fields, "max_tokens")
    _check_thinking(fields, limit)
    if isinstance(optional(fields, "system", str, list), list):
        objects(fields, "system")
    stream = bool(optional(fields, "stream", bool))
    tools = objects(fields, "tools")
    optional(fields, "tool_choice", dict)
    check_strings(fields, "stop_sequences")
    refuse_nul(optional(fields, "metadata", dict), "metadata")
    measured = measure_messages(messages)
    input_bytes = measured.text_bytes + fields_bytes(fields, _INPUT_FIELDS)
    return InferenceRequest(
        protocol="messages",
        path=path,
        model=model,
        stream=stream,
        include_usage=False,
        max_output_tokens=limit,
        input_bytes=input_bytes,
        bound_bytes=measured.bound_bytes(input_bytes, body_bytes),
        attachment_count=measured.attachments,
        attachments=measured.attachment_kinds,
        has_tools=bool(tools),
        fields=fields,
        operation=operation,
        betas=_betas(headers),
    )


def _messages(fields: Mapping[str, Any]) -> list[dict[str, Any]]:
    messages = messages_of(fields)
    for number, message in enumerate(messages):
        at = path_of("messages", number)
        required(message, "role", str, at=at)
        if isinstance(required(message, "content", str, list, at=at), list):
            objects(message, "content", at=at)
    return messages


def _check_thinking(fields: Mapping[str, Any], limit: int | None) -> None:
    budget = token_limit(optional(fields, "thinking", dict) or {}, "budget_tokens", at="thinking")
    if budget is not None and limit is not None and budget >= limit:
        raise wrong_value("thinking.budget_tokens", "below `max_tokens`")


def _betas(headers: Mapping[bytes, bytes]) -> tuple[str, ...]:
    """Return what the client opts into, each once.

    Raises:
        DownstreamError: ``invalid_value``: too many, or no names.
    """
    named = [part.strip() for part in headers.get(_BETA_HEADER, b"").split(b",")]
    betas = dict.fromkeys(name for name in named if name)
    if len(betas) > _MOST_BETAS or not all(map(_BETA.fullmatch, betas)):
        raise wrong_value(_BETA_HEADER.decode(), f"at most {_MOST_BETAS} names of betas")
    return tuple(name.decode() for name in betas)

"""Checks of request fields that several protocols make the same way."""

from collections.abc import Mapping
from typing import Any, Final

from ainf.formats.fields import objects, optional, path_of, required, wrong_type, wrong_value
from ainf.inference.errors import DownstreamError

MODEL_CHARACTERS: Final = 256
"""The longest model name."""
MOST_TOKENS: Final = (1 << 31) - 1
"""The highest number of tokens that a request may name."""

_SHOWN_CHARACTERS = 64


def model_name(fields: Mapping[str, Any]) -> str:
    """Return the model that is asked for, which may still be unknown.

    Raises:
        DownstreamError: ``missing_field``, ``invalid_type``, ``invalid_unicode``, or ``model_not_found`` for a name
            that no model can have.
    """
    name: str = required(fields, "model", str)
    refuse_nul(name, "model")
    if not name or len(name) > MODEL_CHARACTERS:
        raise unknown_model(name)
    return name


def unknown_model(name: str) -> DownstreamError:
    """Return the refusal of a model that is not configured; its name is cut and escaped."""
    shown = name[:_SHOWN_CHARACTERS].encode("unicode_escape").decode()[:_SHOWN_CHARACTERS]
    return DownstreamError(
        "model_not_found", f"The model '{shown}' is not configured; GET /v1/models lists those that are.", param="model"
    )


def messages_of(fields: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the messages, of which there is one or more.

    Raises:
        DownstreamError: ``missing_field``, ``invalid_type``, ``invalid_value``: there are none.
    """
    required(fields, "messages", list)
    messages = objects(fields, "messages")
    if not messages:
        raise wrong_value("messages", "a list that is not empty")
    return messages


def check_strings(fields: Mapping[str, Any], name: str) -> None:
    """Refuse a list that holds anything but strings.

    Raises:
        DownstreamError: ``invalid_type``.
    """
    for number, value in enumerate(optional(fields, name, list) or ()):
        if not isinstance(value, str):
            raise wrong_type(path_of(name, number), str)


def token_limit(fields: Mapping[str, Any], name: str, at: str = "") -> int | None:
    """Return a limit of output tokens; None where it is absent.

    Raises:
        DownstreamError: ``invalid_type``; ``invalid_value``: it is not from 1 to ``MOST_TOKENS``.
    """
    limit: int | None = optional(fields, name, int, at=at)
    if limit is not None and not 1 <= limit <= MOST_TOKENS:
        raise wrong_value(path_of(at, name), f"from 1 to {MOST_TOKENS}")
    return limit


def refuse_stream(fields: Mapping[str, Any]) -> None:
    """Refuse a request for a stream where there is nothing to stream.

    Raises:
        DownstreamError: ``invalid_type``, ``unsupported_parameter``.
    """
    if optional(fields, "stream", bool):
        raise DownstreamError(
            "unsupported_parameter", "This endpoint has no streams: leave `stream` out.", param="stream"
        )


def refuse_nul(value: Any, param: str) -> None:  # noqa: ANN401 - any JSON value
    """Refuse a NUL in a string, or in any string of a JSON value: databases cannot store it.

    Raises:
        DownstreamError: ``invalid_unicode``.
    """
    if isinstance(value, str):
        if "\0" in value:
            raise DownstreamError("invalid_unicode", f"`{param}` must not hold a NUL.", param=param)
    elif isinstance(value, dict):
        for name, child in value.items():
            refuse_nul(name, param)
            refuse_nul(child, param)
    elif isinstance(value, list):
        for child in value:
            refuse_nul(child, param)

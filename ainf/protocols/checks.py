"""Checks of request fields that every protocol makes the same way."""

from collections.abc import Mapping
from typing import Any, Final

from ainf.inference.errors import DownstreamError

MODEL_CHARACTERS: Final = 256
"""The longest model name."""

_SHOWN_CHARACTERS = 64
_WORDS: Final = {bool: "true or false", int: "an integer", str: "a string", list: "a list", dict: "an object"}


def optional(fields: Mapping[str, Any], name: str, *types: type, within: str | None = None) -> Any:  # noqa: ANN401
    """Return a field of one of these types, or None where it is absent or null. A boolean is no integer.

    Raises:
        DownstreamError: ``invalid_type``.
    """
    value = fields.get(name)
    if value is None or type(value) in types:
        return value
    param = name if within is None else f"{within}.{name}"
    words = " or ".join(_WORDS[kind] for kind in types)
    raise DownstreamError("invalid_type", f"`{param}` must be {words}.", param=param)


def model_name(fields: Mapping[str, Any]) -> str:
    """Return the model that is asked for, which may still be unknown.

    Raises:
        DownstreamError: ``missing_field``, ``invalid_type``, ``invalid_unicode``, or ``model_not_found`` for a name
            that no model can have.
    """
    name: str | None = optional(fields, "model", str)
    if name is None:
        raise DownstreamError("missing_field", "`model` is required.", param="model")
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

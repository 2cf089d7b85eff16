"""Reading the fields of requests strictly, for every format: types are checked, and refusals name the path.

Null counts as absent, as every vendor's reference has it for optional fields.
"""

from collections.abc import Mapping
from typing import Any, Final

from ainf.inference.errors import DownstreamError

_WORDS: Final = {
    bool: "true or false",
    int: "an integer",
    float: "a number",
    str: "a string",
    list: "a list",
    dict: "an object",
}

_STREAM_OPTIONS: Final = frozenset({"include_usage", "include_obfuscation"})


def path_of(at: str, name: str | int) -> str:
    """Return the path of a field (or of an item, by its number) inside what stands at a path; "" is the request."""
    if isinstance(name, int):
        return f"{at}[{name}]"
    return f"{at}.{name}" if at else name


def optional(fields: Mapping[str, Any], name: str, *types: type, at: str = "") -> Any:  # noqa: ANN401 - by ``types``
    """Return a field of one of these types, or None where it is absent. A boolean is no number, an integer is one.

    Raises:
        DownstreamError: ``invalid_type``.
    """
    value = fields.get(name)
    if value is None or type(value) in types or (float in types and type(value) is int):
        return value
    raise wrong_type(path_of(at, name), *types)


def required(fields: Mapping[str, Any], name: str, *types: type, at: str = "") -> Any:  # noqa: ANN401 - as optional
    """Return a field of one of these types.

    Raises:
        DownstreamError: ``invalid_type``, ``missing_field``.
    """
    value = optional(fields, name, *types, at=at)
    if value is None:
        param = path_of(at, name)
        raise DownstreamError("missing_field", f"`{param}` is required.", param=param)
    return value


def objects(fields: Mapping[str, Any], name: str, at: str = "") -> list[dict[str, Any]]:
    """Return a list of objects; an empty one where it is absent.

    Raises:
        DownstreamError: ``invalid_type``.
    """
    values: list[Any] = optional(fields, name, list, at=at) or []
    for number, value in enumerate(values):
        if not isinstance(value, dict):
            raise wrong_type(path_of(path_of(at, name), number), dict)
    return values


def refuse_others(fields: Mapping[str, Any], known: frozenset[str], at: str) -> None:
    """Refuse what an object inside a request says beyond the fields that are known; null and empty say nothing.

    Raises:
        DownstreamError: ``unsupported_parameter``.
    """
    for name, value in fields.items():
        if name not in known and says_something(value):
            raise unsupported(path_of(at, name))


def says_something(value: Any) -> bool:  # noqa: ANN401 - any JSON value
    """Whether a value says more than its absence: it is neither null nor an empty list or object."""
    return value is not None and value not in ([], {})


def unknown_stream_options(fields: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the paths of what ``stream_options`` asks beside usage, which is told, and padding, which says nothing."""
    options = fields.get("stream_options")
    names = options if isinstance(options, dict) else {}
    return tuple(
        path_of("stream_options", name)
        for name, value in names.items()
        if name not in _STREAM_OPTIONS and says_something(value)
    )


def wrong_type(param: str, *types: type) -> DownstreamError:
    """Return the refusal of a field that is none of these types."""
    words = " or ".join(_WORDS[kind] for kind in types)
    return DownstreamError("invalid_type", f"`{param}` must be {words}.", param=param)


def wrong_value(param: str, words: str) -> DownstreamError:
    """Return the refusal of a field by its value; ``words`` say what it must be."""
    return DownstreamError("invalid_value", f"`{param}` must be {words}.", param=param)


def unsupported(param: str, why: str = "it cannot be said in the format of this model's provider") -> DownstreamError:
    """Return the refusal of what another format cannot say."""
    return DownstreamError("unsupported_parameter", f"`{param}` is not supported here: {why}.", param=param)

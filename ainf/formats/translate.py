"""From one format's request to another's, by way of the conversation: what cannot be said is refused, or named."""

from collections.abc import Callable, Collection, Mapping
from typing import Any, Final

from ainf.formats.format import Format
from ainf.inference.errors import DownstreamError

EVERYTHING: Final = "*"
"""In a list of fields that may be dropped: all of them."""


def drop_fields(
    fields: Mapping[str, Any], unsaid: Collection[str], may_drop: Collection[str]
) -> tuple[Mapping[str, Any], tuple[str, ...]]:
    """Return a request of the provider's own format without what may be dropped, and the names of that.

    Args:
        fields: the request.
        unsaid: names of fields that its provider cannot be told. Those that may not be dropped stay, for the provider's
            own check to refuse.
        may_drop: as in ``translate_fields``.
    """
    dropped = tuple(name for name in unsaid if EVERYTHING in may_drop or name in may_drop)
    return {name: value for name, value in fields.items() if name not in dropped} if dropped else fields, dropped


def translate_fields(
    fields: Mapping[str, Any],
    client: Format,
    provider: Format,
    may_drop: Collection[str],
    beyond: Callable[[Mapping[str, Any]], Collection[str]] = lambda _: (),
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return a request in the provider's words, and the client's names of fields that were dropped.

    Args:
        fields: the request in the client's format.
        client: that format.
        provider: the provider's format.
        may_drop: the client's names of fields that may be left out where the provider's format cannot say them, or
            ``EVERYTHING``. Parts of messages and tools are never left out.
        beyond: the names of fields of a written request that its vendor does not know, although its format does. Such
            fields are simple ones, which a format calls as a conversation does.

    Raises:
        DownstreamError: ``unsupported_parameter``: something cannot be said and may not be dropped; ``param`` names it
            in the client's words. Or what the reader of the client's format raises.
    """
    conversation = client.read_request(fields)
    written = provider.write_request(conversation)
    lost = beyond(written.fields)
    wishes = [wish for wish in conversation.wishes if wish not in provider.wishes]
    unsaid = dict.fromkeys([*conversation.unknown, *map(conversation.name_of, [*written.unsaid, *wishes, *lost])])
    for name in unsaid:
        if EVERYTHING not in may_drop and name not in may_drop:
            raise DownstreamError(
                "unsupported_parameter",
                f"`{name}` cannot be said to this model's provider, which speaks another format ({provider.name}). "
                "Leave it out, use another model, or let the operator allow dropping it.",
                param=name,
            )
    return {name: value for name, value in written.fields.items() if name not in lost}, tuple(unsaid)

"""From one format's request to another's, by way of the conversation: what cannot be said is refused, or named."""

from collections.abc import Collection, Mapping
from typing import Any, Final

from ainf.formats.format import Format
from ainf.inference.errors import DownstreamError

EVERYTHING: Final = "*"
"""In a list of fields that may be dropped: all of them."""


def translate_fields(
    fields: Mapping[str, Any], client: Format, provider: Format, may_drop: Collection[str]
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return a request in the provider's words, and the client's names of fields that were dropped.

    Args:
        fields: the request in the client's format.
        client: that format.
        provider: the provider's format.
        may_drop: the client's names of fields that may be left out where the provider's format cannot say them, or
            ``EVERYTHING``. Parts of messages and tools are never left out.

    Raises:
        DownstreamError: ``unsupported_parameter``: something cannot be said and may not be dropped; ``param`` names it
            in the client's words. Or what the reader of the client's format raises.
    """
    conversation = client.read_request(fields)
    written = provider.write_request(conversation)
    unsaid = dict.fromkeys([*conversation.unknown, *map(conversation.name_of, written.unsaid)])
    for name in unsaid:
        if EVERYTHING not in may_drop and name not in may_drop:
            raise DownstreamError(
                "unsupported_parameter",
                f"`{name}` cannot be said to this model's provider, which speaks another format ({provider.name}). "
                "Leave it out, use another model, or let the operator allow dropping it.",
                param=name,
            )
    return written.fields, tuple(unsaid)

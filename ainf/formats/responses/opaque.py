"""Opaque reasoning data on the Responses wire: a reasoning item's ``encrypted_content``, which belongs to its id.

The API refuses the content under another item's id, so both are kept together: ``<id>:<encrypted_content>``.
"""

from typing import Final

from ainf.inference.conversation import Opaque

SOURCE: Final = "responses"


def read_opaque(item_id: str | None, encrypted: str | None) -> Opaque | None:
    """Return the opaque data of a reasoning item as its own provider's; None where it has none."""
    if not encrypted:
        return None
    # An id with a colon is none of OpenAI's; without an id the content still stands.
    return Opaque(SOURCE, f"{'' if item_id is None or ':' in item_id else item_id}:{encrypted}")


def own_parts(opaque: Opaque | None) -> tuple[str, str] | None:
    """Return the id and the encrypted content of what this format's provider made; None for anything else."""
    if opaque is None or opaque.source != SOURCE:
        return None
    item_id, _, encrypted = opaque.data.partition(":")
    return item_id, encrypted

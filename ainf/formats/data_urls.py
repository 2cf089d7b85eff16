"""Images and documents as data URLs, as OpenAI's formats carry them inside requests. Source: RFC 2397."""

from typing import Final

from ainf.formats.fields import wrong_value
from ainf.inference.conversation import Document, Image

_SUFFIXES: Final = {"application/pdf": "pdf", "text/plain": "txt"}


def read_data_url(url: str, at: str, words: str = "a data URL with a media type and base64 data") -> tuple[str, str]:
    """Return the media type and the base64 data of a data URL.

    Args:
        url: it.
        at: its path in the request.
        words: what may stand there.

    Raises:
        DownstreamError: ``invalid_value``: it is none, or not in base64.
    """
    head, found, data = url.partition(",")
    media_type, *parameters = head.removeprefix("data:").split(";")
    if not found or not head.startswith("data:") or parameters[-1:] != ["base64"] or not media_type:
        raise wrong_value(at, words)
    return media_type, data


def url_of(part: Image | Document) -> str:
    """Return the URL of an image or document: its own, or a data URL."""
    return f"data:{part.media_type};base64,{part.data}" if part.url is None else part.url


def name_of(document: Document) -> str:
    """Return a document's name: the formats want one, models see it."""
    return document.name or f"document.{_SUFFIXES.get(document.media_type or '', 'bin')}"

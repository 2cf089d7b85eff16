"""``GET /openapi.json``."""

from functools import cache

import msgspec
from quart import Response

from ainf.http.openapi.document import document


@cache
def _document(public_url: str) -> bytes:
    return msgspec.json.encode(document(public_url))


class DocumentRoute:
    """Answers with the description of the public surface, to anybody.

    Args:
        public_url: where the gateway is reached.
    """

    def __init__(self, public_url: str) -> None:
        self._body = _document(public_url)

    async def show(self) -> Response:
        """Show it; its bytes were made when the gateway began."""
        return Response(self._body, content_type="application/json")

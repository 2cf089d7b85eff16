"""``GET /openapi.json``."""

from ainf.http.openapi.document import document
from tests.gateway.world import Client, world


async def test_anybody_may_read_it(tmp_path, autojump_clock):
    """Without a key, as JSON, with the configured URL; the same bytes each time."""
    async with world(tmp_path, "sim") as here:
        first, second = [await here.run(Client("/openapi.json", b"", {}, "GET")) for _ in range(2)]
    assert (first.status, first.headers["content-type"]) == (200, "application/json")
    assert first.json() == document("http://gateway.test")
    assert first.body == second.body


async def test_its_head(tmp_path, autojump_clock):
    """HEAD goes with GET, as the document says: the same head."""
    async with world(tmp_path, "sim") as here:
        head, got = [await here.run(Client("/openapi.json", b"", {}, method)) for method in ("HEAD", "GET")]
    assert head.status == 200
    assert head.headers.keys() == got.headers.keys()

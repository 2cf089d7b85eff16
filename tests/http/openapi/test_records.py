"""The schemas of the gateway's own documents; real ones are held against them in ``tests/gateway/test_openapi.py``."""

import re

from ainf.http.openapi.records import csv_media, schemas
from tests.gateway.world import Client, world


async def test_the_columns_of_usage(tmp_path, autojump_clock):
    """What is said of the CSV is what its header row says, behind what it is summed by."""
    async with world(tmp_path, "sim") as here:
        client = Client("/v1/usage", b"", {"authorization": f"Bearer {here.key}"}, "GET")
        client.scope["query_string"] = b"by=model,day&format=csv"
        header = (await here.run(client)).body.decode().splitlines()[0].split(",")
    assert header[:2] == ["model", "day"]
    assert header[2:] == re.findall(r"`(\w+)`", csv_media()["schema"]["description"])


def test_rows_have_what_the_totals_have():
    """Beside what they are summed by."""
    usage = schemas()["Usage"]["properties"]
    assert usage["rows"]["items"]["required"] == usage["totals"]["required"]

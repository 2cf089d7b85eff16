"""Requests that are nearly right, to a whole gateway: each is answered or refused by name, and the law holds."""

import random
import re

import pytest

from ainf.protocols.registry import ENDPOINTS
from tests.extent import FULL, SEED
from tests.fuzz import corpus
from tests.fuzz.mutate import mutate_bytes, mutate_json, mutate_lines
from tests.gateway.backends import FORMATS
from tests.gateway.law import check_ledger, check_provider, check_transcript
from tests.gateway.world import Client, World, world

INPUTS = 3_000 if FULL else 120

pytestmark = pytest.mark.law

OTHERS = {"/v1/messages/count_tokens", "/v1/embeddings"}
"""Paths whose answers have no end of their own."""
_FITS = re.compile(rb"[^\0\r\n]*")
"""What can come as a header at all."""
MODELS = [f"{name}/sim-tokens-5" for name in FORMATS]


def asking(here: World, number: int) -> Client:
    """Return the client of one request, which ``number`` and the seed decide."""
    rng = random.Random(f"{SEED}-{number}")
    path = rng.choice(list(ENDPOINTS))
    body = rng.choice(corpus.requests(path)).replace(b'"sim"', f'"{rng.choice(MODELS)}"'.encode())
    mutate = rng.choice((mutate_json, mutate_json, mutate_json, mutate_bytes, lambda _, data: data))
    lines = mutate_lines(rng, rng.choice(corpus.headers())).decode("latin-1").split("\n")
    named = dict(line.partition(": ")[::2] for line in lines if rng.random() < 0.5)
    client = here.client(mutate(rng, body), path=path)
    own = {b"authorization", b"x-api-key", b"content-type"}
    headers = {name.strip().lower().encode("latin-1"): value.encode("latin-1") for name, value in named.items()}
    client.scope["headers"] += [
        (name, value) for name, value in headers.items() if _FITS.fullmatch(name + value) and name not in {b"", *own}
    ]
    return client


async def test_any_request(tmp_path, autojump_clock, count_cases):
    """No request is answered by 500, none is lost, and none leaves anything behind."""
    async with world(tmp_path, *MODELS) as here:
        statuses = set()
        for number in range(INPUTS):
            client = await here.run(asking(here, number))
            what = f"AINF_SEED={SEED}, request {number}: {client.status} {client.body[:300]!r}"
            assert client.status is not None, what
            assert client.status < 500 or client.json()["error"]["code"] != "internal_error", what
            assert client.status in {200, 400, 402, 403, 404, 409, 413, 415, 422, 429, 502}, what
            if client.scope["path"] not in OTHERS or client.status >= 400:
                await check_transcript(here, client)
            statuses.add(client.status)
        assert statuses >= {200, 400}
        await check_ledger(here)
        await check_provider(here)
        assert b"defect" not in here.log.getvalue().encode()
    count_cases("fuzz inputs", INPUTS)

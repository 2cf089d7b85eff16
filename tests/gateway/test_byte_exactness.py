"""Relay changes no byte: what a client got before the terminal group, less our heartbeats, is what the provider sent.

In each format that a client speaks; with and without gaps long enough for heartbeats. CI runs a tenth, from a seed that
it prints.
"""

import random

import pytest
import trio
import trio.testing

from ainf.simulator import Send, Step, Wait, chunk, head, last_chunk
from ainf.simulator.steps import Script
from ainf.sse import HEARTBEAT
from tests.extent import FULL, SEED
from tests.gateway.dialects import CHAT, DIALECTS, Dialect
from tests.gateway.law import check_ledger
from tests.gateway.odd_streams import OddStream, cuts, odd_stream
from tests.gateway.world import Client, World, world

STREAMS = {"chat": 400, "messages": 300, "responses": 300}
BATCHES = 10 if FULL else 1
LIMITS = "silence_s = 100_000\nexchange_s = 100_000\nfirst_byte_s = 100_000"

pytestmark = pytest.mark.law


def steps_of(rng: random.Random, stream: OddStream) -> list[Step]:
    """The steps that send a stream: cut anywhere, and now and then late, but not inside its end.

    Nobody waits long for the rest of an end.
    """
    steps: list[Step] = [head()]
    sent = 0
    for piece in cuts(rng, stream.body + stream.end):
        steps.append(chunk(piece) if rng.random() < 0.9 else Send(chunk(piece).data))
        sent += len(piece)
        if rng.random() < 0.01 and sent <= len(stream.body):
            steps.append(Wait(40.0))
    return [*steps, last_chunk()]


async def check_stream(here: World, client: Client, stream: OddStream) -> None:
    assert (client.status, client.ended, client.said_after_end) == (200, True, False)
    frames = [write for write in client.writes[:-1] if write != HEARTBEAT]
    assert b"".join(frames) == stream.body
    if client.dialect is CHAT:  # there usage is left out for who did not ask for it, and an end marker made up for
        assert client.payloads()[-1] == b"[DONE]"
    else:
        assert client.writes[-1] == stream.end
    receipt = await here.receipt(client.inference_id)
    assert receipt["ending"] == "completed"


async def run_streams(tmp_path, dialect: Dialect, count: int, rng: random.Random) -> int:
    heartbeats = 0
    model = f"{dialect.format}/sim"
    async with world(tmp_path, model, limits=LIMITS) as here:
        for _ in range(count):
            stream = odd_stream(rng, dialect.format)
            here.simulator.set_script(Script(steps_of(rng, stream)))
            fields = {"stream_options": {"include_usage": rng.random() < 0.5}} if dialect is CHAT else {}
            client = await here.speak(dialect, model, **fields)
            await check_stream(here, client, stream)
            heartbeats += client.writes.count(HEARTBEAT)
        await check_ledger(here, admitted=count)
    return heartbeats


@pytest.mark.parametrize("batch", range(BATCHES))
@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.format)
def test_relay_is_byte_exact(dialect, batch, tmp_path, count_cases):
    """Every generated stream reaches the client byte for byte, and its heartbeats stand between frames."""
    rng = random.Random(SEED + batch)
    count = STREAMS[dialect.format]
    clock = trio.testing.MockClock(autojump_threshold=0)
    heartbeats = trio.run(run_streams, tmp_path, dialect, count, rng, clock=clock)
    count_cases(f"streams relayed byte for byte, AINF_SEED={SEED}", count)
    count_cases("heartbeats between their frames", heartbeats)
    assert heartbeats > count // 50

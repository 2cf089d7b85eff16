"""Relay changes no byte: what a client got before the terminal group, less our heartbeats, is what the provider sent.

Generated streams: any frame (content, reasoning, tool deltas, comments, named events, several data lines, unknown
fields, invalid UTF-8, broken JSON, line separators that are none), any line end, any cut of the bytes, with and without
gaps long enough for heartbeats. CI runs a tenth, from a seed that it prints.
"""

import json
import os
import random
from collections.abc import Iterator

import pytest
import trio
import trio.testing

from ainf.simulator import Send, Step, Wait, chunk, head, last_chunk
from ainf.simulator.steps import Script
from ainf.sse import HEARTBEAT
from tests.gateway.law import check_ledger, check_transcript
from tests.gateway.world import question, world

FULL = os.environ.get("AINF_LAW") == "full"
SEED = int(os.environ.get("AINF_SEED", random.SystemRandom().randrange(1_000_000)))
STREAMS = 1_000
BATCHES = 10 if FULL else 1

pytestmark = pytest.mark.law

WORDS = ["plain", "grüße", "日本語", "\u2028", "\u0085", "a\\nb", "data: [DONE]\\n\\n", "😀", '"', "\t", "x" * 300]


def delta(rng: random.Random, **fields: object) -> bytes:
    body = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m", **fields}
    return json.dumps(body, ensure_ascii=rng.random() < 0.5).encode()


def frame(rng: random.Random) -> bytes:
    """One frame of a provider that may be odd but has not ended."""
    eol = rng.choice([b"\n", b"\n", b"\n", b"\r\n", b"\r"])
    word = rng.choice(WORDS)
    choice = {"index": 0, "delta": {"content": word}, "finish_reason": None}
    kind = rng.randrange(13)
    if kind <= 4:
        lines = [b"data: " + delta(rng, choices=[choice])]
    elif kind == 5:
        lines = [rng.choice([b": keep going", b":", b": OPENROUTER PROCESSING"])]
    elif kind == 6:
        calls = [{"index": 0, "function": {"arguments": word}}]
        lines = [b"data:" + delta(rng, choices=[{"index": 0, "delta": {"tool_calls": calls}, "finish_reason": None}])]
    elif kind == 7:
        lines = [b"event: message", b"id: 7", b"data: " + delta(rng, choices=[choice]), b"retry: 10"]
    elif kind == 8:
        text = json.dumps({"id": "c1", "choices": [choice], "x_new": {"deep": [1, 2]}}, indent=1)
        lines = [b"data: " + line.encode() for line in text.splitlines()]
    elif kind == 9:
        lines = [b'data: {"choices":[{"index":0,"delta":{"content":"\xff\xfe bad"},"finish_reason":null}]}']
    elif kind == 10:
        lines = [rng.choice([b'data: {"choices":[{"index":0,"del', b"data: not json", b"data: 17", b"data: []"])]
    elif kind == 11:
        lines = [b"data: " + delta(rng, choices=[], prompt_filter_results=[{"x": word}])]
    else:
        lines = [b"unknown: field", b"data: " + delta(rng, choices=[{"index": 0, "delta": {"reasoning": word}}])]
    return eol.join(lines) + eol + eol


def terminal(rng: random.Random) -> bytes:
    finish = delta(rng, choices=[{"index": 0, "delta": {}, "finish_reason": rng.choice(["stop", "length", "odd"])}])
    usage = delta(rng, choices=[], usage={"prompt_tokens": 5, "completion_tokens": 9, "total_tokens": 14})
    parts = [b"data: " + finish + b"\n\n"]
    if rng.random() < 0.8:
        parts.append(b"data: " + usage + b"\n\n")
    if rng.random() < 0.8:
        parts.append(b"data: [DONE]\n\n")
    return b"".join(parts)


def cuts(rng: random.Random, data: bytes) -> Iterator[bytes]:
    """The bytes in pieces of any size, down to one by one."""
    longest = rng.choices([1, 7, 60, 400, len(data)], [1, 2, 5, 8, 8])[0]
    at = 0
    while at < len(data):
        step = rng.randint(1, longest)
        yield data[at : at + step]
        at += step


def generated(rng: random.Random) -> tuple[bytes, list[Step]]:
    """A stream: what stands before its terminal group, and the steps that send all of it."""
    frames = [frame(rng) for _ in range(rng.randint(0, 12))]
    # Some content for certain, so that the commit point comes before the end.
    content = b"data: " + delta(rng, choices=[{"index": 0, "delta": {"content": "x"}, "finish_reason": None}]) + b"\n\n"
    body = b"".join([content, *frames])
    steps: list[Step] = [head()]
    for piece in cuts(rng, body + terminal(rng)):
        steps.append(chunk(piece) if rng.random() < 0.9 else Send(chunk(piece).data))
        if rng.random() < 0.01:
            steps.append(Wait(40.0))
    return body, [*steps, last_chunk()]


async def run_streams(tmp_path, count: int, rng: random.Random) -> int:
    heartbeats = 0
    async with world(
        tmp_path, "sim", limits="silence_s = 100_000\nexchange_s = 100_000\nfirst_byte_s = 100_000"
    ) as here:
        for _ in range(count):
            sent, steps = generated(rng)
            here.simulator.set_script(Script(steps))
            client = here.client(question("sim", stream_options={"include_usage": rng.random() < 0.5}))
            await here.run(client)
            assert (await check_transcript(here, client)) == "completed"
            got = b"".join(write for write in client.writes[:-1] if write != HEARTBEAT)
            assert got == sent
            heartbeats += client.writes.count(HEARTBEAT)
        await check_ledger(here, admitted=count)
    return heartbeats


@pytest.mark.parametrize("batch", range(BATCHES))
def test_relay_is_byte_exact(batch, tmp_path, count_cases):
    """Every generated stream reaches the client byte for byte, and its heartbeats stand between frames."""
    rng = random.Random(SEED + batch)
    clock = trio.testing.MockClock(autojump_threshold=0)
    heartbeats = trio.run(run_streams, tmp_path, STREAMS, rng, clock=clock)
    count_cases(f"streams relayed byte for byte, AINF_SEED={SEED}", STREAMS)
    count_cases("heartbeats between their frames", heartbeats)
    assert heartbeats > STREAMS // 50

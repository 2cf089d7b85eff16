"""Nobody waits for a whole answer: every pair streams natively, token by token."""

import pytest
import trio

from tests.gateway.backends import FORMATS
from tests.gateway.dialects import DIALECTS
from tests.gateway.law import check_ledger, check_transcript
from tests.gateway.world import Client, world

# What the words of the simulator are, as the dialects read them from an unfinished stream.
_WORDS = {"text": "sim-tokens-3-pace-1s", "reasoning": "sim-reasoning-3-tokens-3-pace-1s", "calls": "sim-tools-pace-1s"}


def shows(client: Client, what: str, dialect) -> bool:
    said = dialect.read_stream(client.payloads())
    return bool(said.calls and said.calls[0][1]) if what == "calls" else bool(getattr(said, what))


# Gemini sends a call whole: there is no second piece of it.
_CASES = [(format_, what) for format_ in FORMATS for what in _WORDS if (format_, what) != ("gemini", "calls")]


@pytest.mark.parametrize(("format_", "what"), _CASES)
@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
async def test_the_first_content_comes_before_the_second_token(dialect, format_, what, tmp_path, autojump_clock):
    """What the provider says first is with the client before it says more, whatever the two speak."""
    model = f"{format_}/{_WORDS[what]}"
    produced_then: list[int] = []
    async with world(tmp_path, model) as here:
        fields = {"tools": [dialect.tool]} if what == "calls" else {}
        client = here.client(dialect.question(model, **fields), path=dialect.path)

        def look(_writes: int) -> None:
            if not produced_then and shows(client, what, dialect):
                produced_then.append(here.simulator.books.entries[0].output_tokens)

        client.on_write = look
        with trio.fail_after(60):
            await here.run(client)
        assert produced_then == [1]
        assert client.headers["x-ainf-stream-mode"] == "native"
        assert await check_transcript(here, client) == "completed"
        await check_ledger(here)

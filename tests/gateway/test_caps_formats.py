"""A cap in mid-stream over every protocol and provider format: the cut, wherever it falls, and how it is told.

Nothing more is shown than the hold pays for; what the client saw begin is ended, once, and says exactly what was
delivered. Streams of one token a read, and reads that hold several blocks; the cut falls on every token of them. CI
runs every fifth, from a seed that it prints.
"""

from typing import Any, Final

import pytest
import trio
import trio.testing

from ainf.inference.outcome import Ending
from tests.extent import FULL, SEED
from tests.gateway.backends import FORMATS, INPUT_RATE, OUTPUT_RATE
from tests.gateway.dialects import DIALECTS, Dialect, Said
from tests.gateway.grammar import check_grammar
from tests.gateway.law import check_ledger, check_provider
from tests.gateway.told import check_cap
from tests.gateway.world import Client, World, world

STRIDE = 1 if FULL else 5

pytestmark = pytest.mark.law

MODES: Final = ("extended", "strict", "loud")
SLICES: Final = "slice_tokens = 3\nmin_output_tokens = 1"
LIMITS: Final = "silence_s = 3\nfirst_byte_s = 4\nexchange_s = 30"
BYTES_A_TOKEN: Final = 4
MOST: Final = 23
"""Tokens of output that the cap leaves room for, at most."""

# A provider that heeds no limit, token by token; then all at once in one read, without the end of the answer.
BEHAVIOURS: Final = (
    "sim-tokens-30-unlimited-pace-5ms",
    "sim-reasoning-6-tokens-20-unlimited-pace-5ms",
    "sim-parallel-tools-tokens-12-unlimited-stall-after-24-pace-5ms",
    "sim-tokens-30-unlimited-stall-after-25-burst",
    "sim-reasoning-6-tokens-20-unlimited-stall-after-24-burst",
    "sim-reasoning-6-raw-reasoning-tokens-20-refusal-unlimited-stall-after-24-burst",
    "sim-hidden-reasoning-5-tokens-20-unlimited-stall-after-24-burst-crlf-multi-data-comments",
    "sim-parallel-tools-tokens-12-unlimited-stall-after-24-burst",
)
# Providers that heed the limit to which the money clamps them: a stream, one read, a whole answer that is wrapped.
CLAMPED: Final = (
    "sim-tokens-30-pace-5ms",
    "sim-tokens-30-burst",
    "sim-tokens-30-json-for-sse",
    "sim-tokens-30-no-stream",
)

pairs = pytest.mark.parametrize(
    ("dialect", "format_"),
    [pytest.param(dialect, format_, id=f"{dialect.format}-{format_}") for dialect in DIALECTS for format_ in FORMATS],
)


def visible_bytes(said: Said) -> int:
    calls = "".join(name + arguments for name, arguments in said.calls)
    return len((said.text + said.reasoning + said.refusal + calls).encode())


async def ask(here: World, dialect: Dialect, model: str, room_tokens: int) -> Client:
    """Ask with a cap that leaves room for the input and so many tokens of output."""
    bases: list[int] = []
    add = here.gateway.inflight.add

    def look(exchange: Any) -> None:
        bases.append(exchange.plan.admission.ask.base_nusd)
        add(exchange)

    fields = {"tools": [dialect.tool]} if "tools" in model else {}
    here.gateway.inflight.add = look  # type: ignore[method-assign]
    await here.set_cap(1 << 60)
    probe = here.client(dialect.question(model, **fields), path=dialect.path)
    probe.leave()
    await here.run(probe)
    here.gateway.inflight.add = add  # type: ignore[method-assign]
    ((used,),) = await here.rows("SELECT coalesce(sum(settled_nusd + overrun_nusd), 0) FROM settlements")
    await here.set_cap(used + bases[0] + room_tokens * OUTPUT_RATE)
    return await here.speak(dialect, model, **fields)


async def check_cut(here: World, client: Client, room_tokens: int, mode: str) -> Ending:
    receipt = await here.receipt(client.inference_id)
    said = client.said()
    assert client.status == 200
    assert visible_bytes(said) == receipt["output_bytes"] <= room_tokens * BYTES_A_TOKEN
    assert receipt["overrun_nusd"] == 0
    assert receipt["settled_nusd"] <= receipt["held_nusd"]
    assert receipt["settled_nusd"] >= receipt["usage"]["output_tokens"] * OUTPUT_RATE + INPUT_RATE
    assert (said.terminals, said.ends_with_terminal) == (1, True)
    check_grammar(client.dialect, client.payloads())
    ending = Ending(receipt["ending"])
    if ending is Ending.SPEND_CAP_EXCEEDED:
        check_cap(client, receipt, mode)
    else:
        assert receipt["error_code"] == "upstream_timeout", "all that came was paid for"
    return ending


async def cut_everywhere(dialect: Dialect, format_: str, mode: str, tmp_path: Any) -> int:
    """Cut every behaviour at every token; return how many were cut."""
    cut = 0
    models = [f"{format_}/{behaviour}" for behaviour in BEHAVIOURS]
    async with world(tmp_path, *models, more=f'{SLICES}\nfinish_reasons = "{mode}"', limits=LIMITS) as here:
        for number, model in enumerate(models):
            for room in range(1 + (SEED + number) % STRIDE, MOST, STRIDE):
                try:
                    client = await ask(here, dialect, model, room)
                    cut += await check_cut(here, client, room, mode) is Ending.SPEND_CAP_EXCEEDED
                    await check_provider(here)
                except Exception as failure:
                    failure.add_note(f"{model} with room for {room} tokens")
                    raise
        await check_ledger(here)
        assert '"defect"' not in here.log.getvalue()
    return cut


@pytest.mark.threat(56)
@pairs
@pytest.mark.parametrize("mode", MODES)
def test_a_cut_anywhere(mode, dialect, format_, tmp_path, count_cases):
    """Wherever the money ends, the client has what was paid for and one end that tells it, in each of three ways."""
    clock = trio.testing.MockClock(autojump_threshold=0)
    cut = trio.run(cut_everywhere, dialect, format_, mode, tmp_path, clock=clock)
    count_cases(f"streams cut by a cap, AINF_SEED={SEED}", cut)
    assert cut > 2 * len(BEHAVIOURS)


@pairs
@pytest.mark.parametrize("mode", MODES)
async def test_a_clamp_that_is_reached(mode, dialect, format_, tmp_path, autojump_clock):
    """A provider that stops at the limit to which the money clamped it: the cap is told, at the reported usage."""
    for behaviour in CLAMPED:
        model = f"{format_}/{behaviour}"
        more = f'{SLICES}\nfinish_reasons = "{mode}"' + ('\nstreaming = "wrap"' if "no-stream" in behaviour else "")
        async with world(tmp_path, model, more=more, limits=LIMITS) as here:
            client = await ask(here, dialect, model, 10)
            receipt = await here.receipt(client.inference_id)
            assert (receipt["ending"], receipt["evidence"]) == ("spend_cap_exceeded", "reported")
            assert client.headers["x-ainf-max-tokens"] == "10"
            is_wrapped = client.headers["x-ainf-stream-mode"] == "wrapped"
            assert is_wrapped is ("no-stream" in behaviour or "json-for" in behaviour)
            said = client.said()
            assert (visible_bytes(said), said.output_tokens) == (40, 10)
            check_grammar(dialect, client.payloads())
            check_cap(client, receipt, mode)
            await check_ledger(here)

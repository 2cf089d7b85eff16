"""A second model beside one that is late: who answers, what the other one sees and costs, and that nothing is mixed.

Every model is known to begin within 2 s. So the second one is asked at second 2, if nothing came from the first.
"""

import pytest
import trio
import trio.testing

from ainf.simulator import Wait, chunk, head, last_chunk
from ainf.simulator.steps import Script
from tests.gateway.backends import FORMATS, INPUT_RATE
from tests.gateway.candidates import Candidate, ask_target, check_routed, counter, entries
from tests.gateway.dialects import DIALECTS
from tests.gateway.hedged import LATE_S, Race, check_cancelled, check_hedged, hedged, hedges
from tests.gateway.keyed import ask as ask_keyed
from tests.gateway.steps import deterministic

PAIRS = [
    (dialect, first, second) for dialect in DIALECTS for first, second in zip(FORMATS, reversed(FORMATS), strict=True)
]
GOOD = "sim-tokens-7"


def pair_id(pair):
    dialect, first, second = pair
    return f"{dialect.format}-{first}-{second}"


@pytest.mark.parametrize("pair", PAIRS, ids=pair_id)
@pytest.mark.parametrize("late", ["sim-tokens-7-delay-5s", "sim-tokens-7-pace-5s"], ids=["no head", "head and prelude"])
async def test_the_second_answers_where_it_is_sooner(tmp_path, autojump_clock, monkeypatch, pair, late):
    """The client is given the second one's answer at once; the first sees the cancel and costs what it may bill."""
    dialect, first, second = pair
    async with hedged(tmp_path, Candidate(late, first), Candidate(GOOD, second)) as here:
        race, began = Race(here, monkeypatch), trio.current_time()
        client = await ask_target(here, dialect=dialect)
        assert trio.current_time() - began == pytest.approx(LATE_S, abs=0.1)
        receipt = await check_hedged(here, client, led=2)
        assert race.order.steps == ["asked", "opened 2", "asked"]
        assert (race.led, hedges(here)) == ([2], {"won": 1})
        loser, winner = receipt["attempts"]
        check_cancelled(entries(here, client)[0], began + LATE_S)
        has_head = "delay" not in late
        assert (loser["status"], loser["evidence"]) == (200 if has_head else None, "metered")
        assert loser["aborted_billing"] == "delivered"
        assert loser["cost_nusd"] == (loser["usage"]["input_tokens"] * INPUT_RATE if has_head else 0)
        assert loser["usage"]["output_tokens"] == 0
        assert winner["evidence"] == "reported"


@pytest.mark.parametrize("pair", PAIRS, ids=pair_id)
@pytest.mark.parametrize("slow", ["sim-tokens-7-delay-5s", "sim-tokens-7-pace-5s"], ids=["no head", "head and prelude"])
async def test_the_first_may_still_be_sooner(tmp_path, autojump_clock, monkeypatch, pair, slow):
    """A first one that is late, and yet before the second, answers; the second sees the cancel then."""
    dialect, first, second = pair
    async with hedged(tmp_path, Candidate("sim-tokens-7-delay-3s", first), Candidate(slow, second)) as here:
        race, began = Race(here, monkeypatch), trio.current_time()
        client = await ask_target(here, dialect=dialect)
        receipt = await check_hedged(here, client, led=1)
        assert race.order.steps == ["asked", "opened 2", "asked"]
        assert (race.led, hedges(here)) == ([1], {"lost": 1})
        check_cancelled(entries(here, client)[1], began + 3)
        assert receipt["attempts"][1]["aborted_billing"] == "delivered"
        assert counter(here, "fallbacks", from_model="target-1", code="upstream_error") == 0


async def test_both_are_held_for(tmp_path, autojump_clock, monkeypatch):
    """As the second is asked, the hold is that of both; what is not used of it is given back."""
    async with hedged(tmp_path, "sim-tokens-7-pace-5s", GOOD) as here:
        race = Race(here, monkeypatch)
        alone = await ask_target(here, target="target-2")
        ((one,),) = await here.rows("SELECT held_nusd FROM settlements")
        client = await ask_target(here)
        receipt = await check_hedged(here, client, led=2)
        assert race.held == [2 * one]
        assert receipt["held_nusd"] == 2 * one
        assert alone.status == 200


async def test_one_that_is_in_time_is_alone(tmp_path, autojump_clock, monkeypatch):
    """Content just before it would be late, and no other model is asked."""
    async with hedged(tmp_path, "sim-tokens-7-delay-1.9s", GOOD) as here:
        race = Race(here, monkeypatch)
        client = await ask_target(here)
        await check_hedged(here, client, led=1, codes=(None,))
        assert (race.order.steps, hedges(here)) == (["asked"], {})


async def test_a_prelude_is_not_yet_an_answer(tmp_path, autojump_clock):
    """Whatever a provider says before content does not keep a second one from being asked."""
    async with hedged(tmp_path, Candidate("sim-tokens-7-pace-5s-pings", "messages"), GOOD) as here:
        await check_hedged(here, await ask_target(here), led=2)


def both_at_once(text, tokens, at_s):
    """An answer whose head comes at once, and everything else in one write."""
    delta = b'data: {"id":"c-%s","model":"m","choices":[{"index":0,"delta":{"content":"%s"},"finish_reason":%s}]}\n\n'
    name, usage = text.encode(), b'{"prompt_tokens":4,"completion_tokens":%d,"total_tokens":%d}' % (tokens, 4 + tokens)
    said = delta % (name, name * tokens, b"null") + delta % (name, b"", b'"stop"')
    said += b'data: {"id":"c","choices":[],"usage":%s}\n\ndata: [DONE]\n\n' % usage
    return [head(), Wait(at_s), chunk(said, tokens=tokens, finish=True, usage=True), last_chunk()]


@pytest.mark.parametrize("cut", ["whole answers", "first words"])
def test_both_bring_content_in_the_same_step(tmp_path, cut):
    """Whichever is looked at first answers, alone; the other one costs what stood in its socket, as it bills it."""
    led = set()

    async def once(folder, monkeypatch):
        behaviours = ("sim-tokens-7-pace-4s-burst", "sim-tokens-7-pace-2s-burst")
        async with hedged(folder, *behaviours) as here:
            if cut == "whole answers":
                here.simulator.set_script(Script(both_at_once("aaaa", 3, 4), both_at_once("bbbb", 5, 2)))
            race = Race(here, monkeypatch)
            client = await ask_target(here)
            (number,) = race.led
            receipt = await check_routed(
                here, client, "succeeded" if number == 1 else "fell_back", [None, None], served=number
            )
            loser = receipt["attempts"][2 - number]
            assert sum(letter in client.text() for letter in ("aaaa", "bbbb")) == (cut == "whole answers")
            if cut == "whole answers":
                assert client.text() == ("aaaa" * 3, "bbbb" * 5)[number - 1]
                assert (loser["evidence"], loser["usage"]["output_tokens"]) == ("reported", (5, 3)[number - 1])
            else:
                assert loser["evidence"] == "metered"
                assert loser["usage"]["output_tokens"] > 0
            led.add(number)

    for seed in range(12):
        folder = tmp_path / str(seed)
        folder.mkdir()
        with deterministic(seed), pytest.MonkeyPatch.context() as monkeypatch:
            trio.run(once, folder, monkeypatch, clock=trio.testing.MockClock(autojump_threshold=0))
    assert led == {1, 2}


FAILS = {
    "500": ("error-500", "upstream_error"),
    "400": ("error-400", "upstream_rejected"),
    "429": ("error-429", "upstream_overloaded"),
    "reset": ("reset-before-head", "upstream_error"),
    "HTML": ("html-200", "upstream_protocol"),
}


@pytest.mark.parametrize("failure", FAILS)
@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.format)
async def test_the_first_fails_while_the_second_runs(tmp_path, autojump_clock, monkeypatch, dialect, failure):
    """The second goes on, and answers."""
    word, code = FAILS[failure]
    async with hedged(tmp_path, f"sim-delay-3s-{word}", "sim-tokens-7-delay-5s") as here:
        race, began = Race(here, monkeypatch), trio.current_time()
        client = await ask_target(here, dialect=dialect)
        await check_hedged(here, client, led=2, codes=(code, None))
        assert (race.led, hedges(here)) == ([2], {"won": 1})
        assert trio.current_time() - began == pytest.approx(LATE_S + 5, abs=0.1)


@pytest.mark.parametrize("failure", FAILS)
@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.format)
async def test_the_second_fails_while_the_first_runs(tmp_path, autojump_clock, monkeypatch, dialect, failure):
    """The first goes on, and answers; no third one is asked for the second."""
    word, code = FAILS[failure]
    async with hedged(tmp_path, "sim-tokens-7-delay-5s", f"sim-{word}", GOOD) as here:
        race = Race(here, monkeypatch)
        client = await ask_target(here, dialect=dialect)
        await check_hedged(here, client, led=1, codes=(None, code))
        assert (race.led, hedges(here)) == ([1], {"lost": 1})


@pytest.mark.parametrize("delays", [(3, 2), (6, 2), (4, 2)], ids=["first", "second", "both at once"])
async def test_a_third_is_asked_where_both_fail(tmp_path, autojump_clock, monkeypatch, delays):
    """Whichever failed last, the next model is tried, and answers."""
    behaviours = [f"sim-delay-{delay}s-error-503" for delay in delays]
    async with hedged(tmp_path, *behaviours, GOOD) as here:
        race = Race(here, monkeypatch)
        client = await ask_target(here)
        await check_hedged(here, client, led=3, codes=("upstream_overloaded", "upstream_overloaded", None))
        assert race.order.steps == ["asked", "opened 2", "asked", "opened 3", "asked"]
        assert hedges(here) == {"lost": 1}


async def test_the_third_may_be_hedged_too(tmp_path, autojump_clock):
    """A model that is asked in place of others is waited for as they were."""
    settings = "hedging = true\nattempts = 4"
    async with hedged(tmp_path, "sim-error-500", "sim-tokens-7-delay-9s", GOOD, settings=settings) as here:
        await check_hedged(here, await ask_target(here), led=3, codes=("upstream_error", None, None))
        assert hedges(here) == {"won": 1}


@pytest.mark.parametrize("attempts", [2, 3])
@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.format)
async def test_all_fail(tmp_path, autojump_clock, dialect, attempts):
    """The request fails as a whole when the most that may be tried have failed, those beside others counted."""
    behaviours = ("sim-delay-3s-error-500", "sim-error-500", "sim-error-500", GOOD)
    async with hedged(tmp_path, *behaviours, settings=f"hedging = true\nattempts = {attempts}") as here:
        client = await ask_target(here, dialect=dialect)
        await check_routed(here, client, "failed", ["upstream_error"] * attempts)
        assert (client.status, client.json()["error"]["code"]) == (503, "all_candidates_failed")
        assert client.headers["x-should-retry"] == "true"
        assert hedges(here) == {"lost": 1}


async def test_each_is_silent_for_as_long_as_it_may_be(tmp_path, autojump_clock):
    """The first is given up at its own time, though the second has just been asked, and that one at its own."""
    limits = "first_byte_s = 4\nsilence_s = 4\nexchange_s = 60"
    async with hedged(tmp_path, "sim-stall-before-head", "sim-stall-after-head", GOOD, limits=limits) as here:
        began = trio.current_time()
        client = await ask_target(here)
        await check_hedged(here, client, led=3, codes=("upstream_timeout", "upstream_timeout", None))
        first, second, _ = entries(here, client)
        check_cancelled(first, began + 4)
        check_cancelled(second, began + LATE_S + 4)


@pytest.mark.parametrize("winner", [1, 2])
async def test_the_winners_own_patience_holds(tmp_path, autojump_clock, winner):
    """How long a stream may be silent is a matter of its model, not of the one that it ran beside."""
    stalls, patient = "sim-tokens-9-stall-after-3", "silence_s = 30"
    whole = Candidate(
        "sim-delay-20s", more='streaming = "wrap"'
    )  # a whole answer may be silent for as long as it takes
    pairs = {
        1: (Candidate(f"{stalls}-delay-3s", more=patient), whole),
        2: ("sim-delay-20s", Candidate(stalls, more=patient)),
    }
    async with hedged(tmp_path, *pairs[winner]) as here:
        began = trio.current_time()
        client = await ask_target(here)
        receipt = await check_routed(here, client, "failed", [None, None], served=winner)
        assert receipt["error_code"] == "upstream_timeout"
        begun_s = 3 if winner == 1 else LATE_S
        assert trio.current_time() - began == pytest.approx(begun_s + 30, abs=0.2)


@pytest.mark.parametrize("led", [1, 2])
@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.format)
async def test_the_head_may_be_early(tmp_path, autojump_clock, dialect, led):
    """A head that is sent while both are waited for names no model, and the stream behind it is that of one."""
    delays = ("3s", "9s") if led == 1 else ("9s", "3s")
    behaviours = [f"sim-tokens-7-delay-{delay}" for delay in delays]
    async with hedged(tmp_path, *behaviours, limits="early_head_s = 2.5\nheartbeat_s = 1") as here:
        client = await ask_target(here, dialect=dialect)
        assert "x-ainf-model" not in client.headers
        await check_hedged(here, client, led=led)


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.format)
async def test_under_an_idempotency_key_the_winners_answer_is_told_again(tmp_path, autojump_clock, dialect):
    """One exchange of two attempts, and the same bytes to whoever asks again."""
    async with hedged(tmp_path, "sim-tokens-7-pace-5s", GOOD) as here:
        client = await ask_keyed(here, "target-0", dialect=dialect)
        await check_hedged(here, client, led=2)
        again = await ask_keyed(here, "target-0", dialect=dialect)
        assert (again.body, again.inference_id) == (client.body, client.inference_id)
        assert len(here.simulator.books.entries) == 2


async def test_a_late_one_that_lost_was_late(tmp_path, autojump_clock):
    """How late an answer would have been that another one overtook nobody knows, but it counts as late."""
    async with hedged(tmp_path, "sim-tokens-7-delay-5s", GOOD) as here:
        health = here.gateway.services.health
        for _ in range(40):
            await check_hedged(here, await ask_target(here), led=2)
        observed = health.observed("sim", "target-1")
        assert health.late_after_s("sim", "target-1") == LATE_S
        for _ in range(39):
            observed.note_latency(1)
        assert observed.p50_ms() == LATE_S * 1000


async def test_one_that_lost_in_its_time_was_not_late(tmp_path, autojump_clock):
    """A second one that the first overtook was asked a moment ago: that says nothing of how soon it begins."""
    async with hedged(tmp_path, "sim-tokens-7-delay-3s", "sim-tokens-7-delay-9s") as here:
        await check_hedged(here, await ask_target(here), led=1)
        observed = here.gateway.services.health.observed("sim", "target-2")
        for _ in range(21):
            observed.note_latency(5000)
        assert observed.p50_ms() == 5000, "twenty of 2 s, one more of 5 s, and no other"

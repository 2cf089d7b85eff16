"""Two models at once, and something ends the request, or the ledger has no room or no time for the second one.

Every model is known to begin within 2 s. So the second one is asked at second 2, if nothing came from the first.
"""

import pytest
import trio

from ainf.exchange import dispatch
from ainf.exchange.run import Exchange
from ainf.inference.errors import GatewayError
from ainf.inference.outcome import Ending, Verdict
from ainf.store import admin
from tests.gateway.backends import INPUT_RATE, OUTPUT_RATE
from tests.gateway.candidates import Candidate, Order, ask_target, check_routed, entries, outcomes
from tests.gateway.dialects import CHAT, DIALECTS
from tests.gateway.grammar import check_grammar
from tests.gateway.hedged import LATE_S, Race, check_cancelled, check_hedged, hedged, hedges, is_closed, set_room
from tests.gateway.law import check_ledger, check_provider, check_transcript

GOOD = "sim-tokens-7"
BOTH = ("sim-tokens-7-pace-9s", "sim-tokens-7-pace-9s")
AT_S = 3.5
EARLY = "early_head_s = 1\nheartbeat_s = 30\nsilence_s = 30\nfirst_byte_s = 30"


def open_slowly(here, seconds):
    """Let the opening of a second attempt take that long: once the store has begun, it cannot be called back."""
    opened = here.store.open_attempt

    async def open_attempt(opening):
        with trio.CancelScope(shield=True):
            await trio.sleep(seconds)
            return await opened(opening)

    here.store.open_attempt = open_attempt


class Ends:
    """What may end a request."""

    def __init__(self, here, client, scope):
        self.here, self.client, self.scope = here, client, scope

    async def cancelled(self):
        self.client.leave()

    async def timed_out(self):
        """Its deadline passes by itself."""

    async def shut_down(self):
        self.here.gateway.inflight.shut_down(2.0)

    async def terminated(self):
        await self.here.store.write(lambda tx: admin.revoke_key(tx, key_id=self.here.key_id, at=self.here.clock()))

    async def capped(self):
        (exchange,) = self.here.gateway.inflight
        both = [attempt for attempt in (exchange.attempt, exchange.rival) if attempt is not None]
        exchange.offer(Verdict(Ending.SPEND_CAP_EXCEEDED, "spend_cap_exceeded", "A cap is used up."))
        assert all(is_closed(attempt) for attempt in both), "before anything is awaited"

    async def outer_cancel(self):
        self.scope.cancel()


ENDS = ("cancelled", "timed_out", "shut_down", "terminated", "capped", "outer_cancel")


async def ask_and_end(here, dialect, end):
    """Ask, and have it ended at ``AT_S``; return the client, and when the providers had to see it."""
    headers = {"x_ainf_deadline_ms": str(int(AT_S * 1000))} if end == "timed_out" else {}
    client = here.client(dialect.question("target-0"), path=dialect.path, **headers)
    began, scope = trio.current_time(), trio.CancelScope()
    async with trio.open_nursery() as nursery:

        async def request():
            with scope:
                await here.run(client)

        nursery.start_soon(request)
        await trio.sleep(AT_S)
        await getattr(Ends(here, client, scope), end)()
    return client, began + AT_S


def status_of(end):
    return "shut_down" if end == "outer_cancel" else end


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.format)
async def test_an_end_while_both_run(tmp_path, autojump_clock, monkeypatch, dialect, end):
    """Both providers see the cancel at once; what either may bill is settled, once, as what ended it."""
    async with hedged(tmp_path, *BOTH, limits=f"{EARLY}\nprogress_s = 0.1") as here:
        race = Race(here, monkeypatch)
        client, ended_at = await ask_and_end(here, dialect, end)
        receipt = await check_routed(here, client, status_of(end), [None, None], served=1)
        assert (race.led, hedges(here)) == ([], {"lost": 1})
        for entry, line in zip(entries(here, client), receipt["attempts"], strict=True):
            check_cancelled(entry, ended_at, within_s=0.15)
            assert line["cost_nusd"] == line["usage"]["input_tokens"] * INPUT_RATE > 0
        assert receipt["overrun_nusd"] == 0
        assert client.said().text == ""


@pytest.mark.parametrize("led", [1, 2])
@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.format)
async def test_an_end_between_the_first_content_and_its_delivery(tmp_path, autojump_clock, monkeypatch, dialect, led):
    """What the leader was read with, and the client was not given, is neither in the end's words nor unpaid for."""
    take_lead = Exchange.take_lead

    def taken(exchange, attempt, reading):
        take_lead(exchange, attempt, reading)
        exchange.offer(Verdict(Ending.SHUTDOWN, "shutting_down", "The gateway is shutting down."))

    monkeypatch.setattr(Exchange, "take_lead", taken)
    behaviours = ("sim-tokens-7-delay-3s", "sim-tokens-7-pace-9s") if led == 1 else ("sim-tokens-7-pace-9s", GOOD)
    async with hedged(tmp_path, *(Candidate(one, dialect.format) for one in behaviours), limits=EARLY) as here:
        client = await ask_target(here, dialect=dialect)
        receipt = await check_routed(here, client, "shut_down", [None, None], served=led)
        check_grammar(dialect, client.payloads())
        assert client.said().text == ""
        assert receipt["output_bytes"] == 0
        assert receipt["attempts"][led - 1]["usage"]["output_tokens"] > 0


async def test_what_cannot_be_reckoned_costs_what_is_held(tmp_path, autojump_clock, monkeypatch):
    """A defect in the reckoning of one that ran beside leaves nothing open: the whole hold is taken, and an alarm."""

    def defective(verdict, attempt):
        raise ZeroDivisionError

    async with hedged(tmp_path, *BOTH, limits=EARLY) as here:
        monkeypatch.setattr(dispatch, "reckon", defective)
        client, _ = await ask_and_end(here, CHAT, "cancelled")
        receipt = await here.receipt(client.inference_id)
        assert (receipt["evidence"], receipt["settled_nusd"]) == ("none", receipt["held_nusd"])
        assert '"where":"reckoning","error":"ZeroDivisionError"' in here.log.getvalue()
        assert [one["status"] for one in await outcomes(here)] == ["cancelled"]
        await check_provider(here)
        await check_ledger(here, admitted=1)


@pytest.mark.parametrize("end", ENDS)
async def test_an_end_while_the_second_is_opened(tmp_path, autojump_clock, end):
    """The first's provider sees it at once, whatever the store does; the second is never asked, and costs nothing."""
    async with hedged(tmp_path, *BOTH, limits=f"{EARLY}\nprogress_s = 0.1") as here:
        order = Order(here)
        open_slowly(here, 4)
        client, ended_at = await ask_and_end(here, CHAT, end)
        (first,) = entries(here, client)
        check_cancelled(first, ended_at, within_s=0.15)
        assert order.steps == ["asked", "opened 2"]
        receipt = await here.receipt(client.inference_id)
        (line,) = receipt["attempts"]
        assert receipt["settled_nusd"] == line["cost_nusd"] == line["usage"]["input_tokens"] * INPUT_RATE > 0
        assert [one["status"] for one in await outcomes(here)] == [status_of(end)]
        assert hedges(here) == {}
        await check_transcript(here, client)
        await check_provider(here)
        await check_ledger(here, admitted=1)


async def test_a_key_that_was_revoked_opens_no_second_one(tmp_path, autojump_clock):
    """Where the ledger finds at the second's opening that the key is gone, the request ends then."""
    async with hedged(tmp_path, *BOTH, limits="progress_s = 60") as here:
        order, began = Order(here), trio.current_time()
        client = here.client(CHAT.question("target-0"))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(here.run, client)
            await trio.sleep(1)
            await here.store.write(lambda tx: admin.revoke_key(tx, key_id=here.key_id, at=here.clock()))
        receipt = await check_routed(here, client, "terminated", [None])
        assert (receipt["error_code"], client.json()["error"]["code"]) == ("key_revoked", "key_revoked")
        check_cancelled(entries(here, client)[0], began + LATE_S)
        assert order.steps == ["asked", "opened 2"]
        assert hedges(here) == {}


@pytest.mark.parametrize("takes_s", [3, 30], ids=["while it streams", "behind its end"])
async def test_content_does_not_wait_for_the_ledger(tmp_path, autojump_clock, takes_s):
    """A first one that comes while the second is being opened is given to the client then; the second is not asked."""
    async with hedged(tmp_path, "sim-tokens-7-delay-3s-pace-1s", GOOD) as here:
        order, began = Order(here), trio.current_time()
        open_slowly(here, takes_s)
        client, written_at = here.client(CHAT.question("target-0")), []
        client.on_write = lambda number: written_at.append(trio.current_time() - began)
        await here.run(client)
        assert written_at[0] == pytest.approx(4, abs=0.1)
        assert order.steps == ["asked", "opened 2"]
        receipt = await here.receipt(client.inference_id)
        assert (len(receipt["attempts"]), receipt["routing"]["status"]) == (1, "succeeded")
        assert client.text() != ""
        assert hedges(here) == {}
        await check_transcript(here, client)
        await check_ledger(here, admitted=1)


async def test_a_first_one_that_fails_while_the_second_is_opened(tmp_path, autojump_clock):
    """The second is asked as soon as it is open."""
    async with hedged(tmp_path, "sim-delay-3s-error-500", GOOD) as here:
        open_slowly(here, 4)
        client = await ask_target(here)
        await check_hedged(here, client, led=2, codes=("upstream_error", None))
        assert hedges(here) == {"won": 1}


def away(here, *, commits):
    """Let the store be away as a second attempt is opened, whether that is committed all the same or not."""
    opened = here.store.open_attempt

    async def open_attempt(opening):
        await trio.sleep(0.5)
        if commits:
            await opened(opening)
        raise GatewayError("store_unavailable", "The ledger cannot be written at the moment.")

    here.store.open_attempt = open_attempt


@pytest.mark.parametrize("commits", [False, True])
async def test_a_store_that_is_away_is_not_missed(tmp_path, autojump_clock, commits):
    """The first goes on and answers, and nobody else is asked; what was committed after all costs nothing."""
    async with hedged(tmp_path, "sim-tokens-7-delay-3s", GOOD) as here:
        away(here, commits=commits)
        client = await ask_target(here)
        receipt = await here.receipt(client.inference_id)
        assert (client.status, len(receipt["attempts"]), receipt["routing"]["status"]) == (200, 1, "succeeded")
        assert receipt["settled_nusd"] == receipt["attempts"][0]["cost_nusd"]
        assert len(entries(here, client)) == 1
        assert hedges(here) == {}
        await check_transcript(here, client)
        await check_ledger(here, admitted=1)


@pytest.mark.parametrize("commits", [False, True])
async def test_behind_a_store_that_was_away_nobody_else_is_tried(tmp_path, autojump_clock, commits):
    """Whether the second was opened is not known; so where the first fails then, the request does."""
    async with hedged(tmp_path, "sim-delay-3s-error-500", GOOD, GOOD) as here:
        away(here, commits=commits)
        client = await ask_target(here)
        assert (client.status, client.json()["error"]["code"]) == (503, "all_candidates_failed")
        assert len(entries(here, client)) == 1
        assert [one["status"] for one in await outcomes(here)] == ["failed"]
        await check_transcript(here, client)
        await check_ledger(here, admitted=1)


SMALL = {"limit": 50}
SLICED = "slice_tokens = 8\nmin_output_tokens = 4"


async def worst_of(here, more):
    """What one attempt may cost at most; it is asked for by the second's own name."""
    await ask_target(here, target="target-2", **SMALL)
    ((held,),) = await here.rows("SELECT amount_nusd FROM entries WHERE kind = 'hold'")
    return held + (0 if not more else (50 - 8) * OUTPUT_RATE)


@pytest.mark.parametrize("missing", [0, 1])
@pytest.mark.parametrize("more", ["", SLICED], ids=["whole", "in slices"])
async def test_there_is_room_for_the_worst_of_both_or_there_is_no_second(tmp_path, autojump_clock, more, missing):
    """What is not there for both to their last token is not there for two; neither is ever cut by the other."""
    first = Candidate("sim-tokens-50-delay-3s", more=more)
    second = Candidate("sim-tokens-50-pace-9s" if not missing else "sim-tokens-50", more=more)
    async with hedged(tmp_path, first, Candidate("sim-tokens-50", more=more)) as here:
        worst = await worst_of(here, more)
    async with hedged(tmp_path, first, second) as here:
        await set_room(here, 2 * worst - missing)
        client = await ask_target(here, **SMALL)
        receipt = await check_hedged(here, client, led=1, codes=(None,) if missing else (None, None))
        assert client.said().output_tokens == 50
        assert hedges(here) == ({"no_room": 1} if missing else {"lost": 1})
        assert receipt["notes"].get("no_room_for_another") == ("cap_agents" if missing else None)


async def test_without_room_for_two_one_is_tried_after_the_other(tmp_path, autojump_clock):
    """What the caps leave no room for beside the first may still be asked in its place."""
    async with hedged(tmp_path, "sim-delay-3s-error-500", "sim-tokens-50") as here:
        worst = await worst_of(here, "")
        await set_room(here, 2 * worst - 1)
        client = await ask_target(here, **SMALL)
        await check_hedged(here, client, led=2, codes=("upstream_error", None))
        assert hedges(here) == {"no_room": 1}


async def test_the_caps_are_those_of_the_seconds_own_model(tmp_path, autojump_clock):
    """A cap on the second's model keeps it from being asked, and one on the first's does not."""
    async with hedged(tmp_path, "sim-tokens-7-delay-3s", GOOD) as here:
        await here.set_cap(1000, model="target-2")
        await check_hedged(here, await ask_target(here, **SMALL), led=1, codes=(None,))
        assert hedges(here) == {"no_room": 1}
    async with hedged(tmp_path, "sim-tokens-7-delay-3s", GOOD) as here:
        worst = await worst_of(here, "")
        await here.set_cap(worst, model="target-1")
        await check_hedged(here, await ask_target(here, **SMALL), led=2)


@pytest.mark.parametrize("billing", ["drain", "held"])
@pytest.mark.parametrize("which", ["first", "second"])
async def test_nobody_is_raced_whose_provider_goes_on(tmp_path, autojump_clock, which, billing):
    """Where the loser would be billed to its end there is no second one; one after the other is still tried."""
    policy = f'aborted_billing = "{billing}"'
    for behaviour, codes in (("sim-tokens-7-delay-3s", (None,)), ("sim-delay-3s-error-500", ("upstream_error", None))):
        pair = [Candidate(behaviour), Candidate(GOOD)]
        pair[["first", "second"].index(which)] = Candidate((behaviour, GOOD)[which == "second"], more=policy)
        async with hedged(tmp_path, *pair) as here:
            order = Order(here)
            await check_hedged(here, await ask_target(here), led=len(codes), codes=codes)
            assert order.steps == ["asked", "opened 2", "asked"][: 2 * len(codes) - 1]
            assert hedges(here) == {}


NOT_HEDGED = {
    "whole": {"stream": False},
    "pinned": {"target": "target-1"},
    "max_cost": {"routing_hint": {"max_cost": "1"}},
}


@pytest.mark.parametrize("how", NOT_HEDGED)
async def test_what_is_not_hedged(tmp_path, autojump_clock, how):
    """A whole answer, a pinned model and a promise of what it costs at most are of one model at a time."""
    async with hedged(tmp_path, "sim-tokens-7-delay-3s", GOOD) as here:
        client = await ask_target(here, **NOT_HEDGED[how])
        assert client.status == 200
        assert len(here.simulator.books.entries) == 1
        assert (await here.rows("SELECT count(*) FROM later_attempts"), hedges(here)) == ([(0,)], {})
        await check_transcript(here, client)
        await check_ledger(here, admitted=1)


@pytest.mark.parametrize("settings", ["", "hedging = false", "hedging = true\nattempts = 1"])
async def test_only_where_it_is_switched_on_and_more_may_be_tried(tmp_path, autojump_clock, settings):
    """Without leave for a second one, or for any, the first is waited for."""
    async with hedged(tmp_path, "sim-tokens-7-delay-3s", GOOD, settings=settings) as here:
        await check_hedged(here, await ask_target(here), led=1, codes=(None,))


@pytest.mark.parametrize("count", [19, 20])
async def test_only_where_enough_is_known_of_the_first(tmp_path, autojump_clock, count):
    """What is usual is not known before twenty answers; learning from outcomes need not be on for it."""
    async with hedged(tmp_path, "sim-tokens-7-delay-3s", GOOD, known=count) as here:
        led = 2 if count == 20 else 1
        await check_hedged(here, await ask_target(here), led=led, codes=(None,) * led)


async def test_what_streams_teach_is_when_others_are_late(tmp_path, autojump_clock):
    """After twenty answers in their time, one that is later is hedged; how soon whole answers came says nothing."""
    async with hedged(tmp_path, "sim-tokens-7-delay-3s", GOOD, known=0) as here:
        late_after_s = here.gateway.services.health.late_after_s
        for stream in (False, True):
            for _ in range(20):
                assert late_after_s("sim", "target-1") is None
                await check_hedged(here, await ask_target(here, stream=stream), led=1, codes=(None,))
        assert late_after_s("sim", "target-1") == pytest.approx(3, abs=0.01)


def rest(here, number):
    """Let a model have failed until it rests."""
    breaker = here.gateway.services.health._breakers.of("sim", f"target-{number}")
    while (turn := breaker.begin(trio.current_time())) is not None:
        breaker.failed(turn, trio.current_time())


async def test_a_model_that_rests_is_passed_over(tmp_path, autojump_clock):
    """The one behind it is asked beside the first."""
    async with hedged(tmp_path, "sim-tokens-7-delay-5s", GOOD, GOOD) as here:
        client = here.client(CHAT.question("target-0"))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(here.run, client)
            await trio.sleep(1)
            rest(here, 2)
        receipt = await here.receipt(client.inference_id)
        assert [line["model"] for line in receipt["attempts"]] == ["target-1", "target-3"]
        assert receipt["notes"]["routing_skipped"] == {"target-2": "rests"}
        assert hedges(here) == {"won": 1}
        await check_ledger(here)


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("wins", [True, False])
async def test_a_probe_is_over_when_its_race_is(tmp_path, autojump_clock, number, wins):
    """A model that was let rest is asked again by one request; answered, it is back; overtaken, the next may ask."""
    soon, late = "sim-tokens-7-delay-3s-pace-1s", "sim-tokens-7-delay-9s"
    behaviours = (soon, late) if wins is (number == 1) else (late, soon)
    async with hedged(tmp_path, *behaviours) as here:
        breaker = here.gateway.services.health._breakers.of("sim", f"target-{number}")
        rest(here, number)
        await trio.sleep(10.1)
        client, may_try = here.client(CHAT.question("target-0")), []
        client.on_write = lambda _: may_try.append(breaker.may_try(trio.current_time()))
        await here.run(client)
        assert may_try[0], "the rest of the stream is no matter of the probe's"
        await check_hedged(here, client, led=number if wins else 3 - number)
        assert breaker.state(trio.current_time()) == ("closed" if wins else "half_open")
        assert breaker.may_try(trio.current_time())


async def test_many_at_once(tmp_path, autojump_clock):
    """Requests that are hedged side by side under one cap are each settled by themselves, and inside it."""
    behaviours = ("sim-tokens-7-delay-3s-pace-1s", "sim-tokens-7-pace-4s", "sim-delay-1s-error-500")
    async with hedged(tmp_path, *behaviours) as here:
        worst = await worst_of(here, "")
        ((before,),) = await here.rows("SELECT count(*) FROM settlements")
        await set_room(here, 11 * worst)
        clients = [here.client(CHAT.question("target-0", **SMALL)) for _ in range(8)]
        async with trio.open_nursery() as nursery:
            for client in clients:
                nursery.start_soon(here.run, client)
        counts = hedges(here)
        assert counts == {"lost": 3, "no_room": 5}
        for client in clients:
            assert await check_transcript(here, client) == "completed"
        await check_provider(here)
        await check_ledger(here, admitted=8 + before)
        assert [one["status"] for one in await outcomes(here)] == ["succeeded"] * 8

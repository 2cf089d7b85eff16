"""What exchanges teach of their models: breakers and what was observed, one for the process."""

from typing import Any

import attrs
import pytest
import trio

from ainf.exchange import rule
from ainf.exchange.health import Health
from ainf.routing.observed import LEAST_LATENCIES, PastAttempt, Signal
from tests.gateway.candidates import GOOD, Candidate, counter, outcomes, target_text
from tests.gateway.law import check_ledger, check_provider
from tests.gateway.world import World, world

ONE = target_text(Candidate())
"""A target of one model, "target-1"."""
MODEL = ("sim", "target-1")


def health_of(here: World) -> Health:
    return here.gateway.services.health


def seen_by(here: World, model: tuple[str, str] = MODEL) -> tuple[int, int]:
    """How many signals are known of a model, and what they are worth in all, in thousandths."""
    observed = health_of(here).observed(*model)
    return observed.observations, observed._worth


async def let_rest(here: World, model: tuple[str, str] = MODEL, seconds: int = 5) -> None:
    """Open a model's breaker for so long."""
    breaker = health_of(here)._breakers.of(*model)
    turn = breaker.begin(trio.current_time())
    assert turn is not None
    breaker.failed(turn, trio.current_time(), retry_after_s=seconds)


def is_probed(here: World, model: tuple[str, str] = MODEL) -> bool:
    return health_of(here)._breakers.of(*model)._is_probed


# --- the breaker ---


async def test_failures_let_a_model_rest_and_are_told(tmp_path, autojump_clock):
    """The fifth in a row opens its breaker, once: counted and logged; who pins it still asks it."""
    async with world(tmp_path, "sim", after=target_text(Candidate("sim-error-500"))) as here:
        for number in range(5):
            assert health_of(here).rests_s(*MODEL) is None, number
            assert (await here.ask("target-0")).status == 503
        assert health_of(here).rests_s(*MODEL) == pytest.approx(10)
        assert counter(here, "breaker_opened", provider="sim", model="target-1") == 1
        assert here.log.getvalue().count('"breaker_opened"') == 1
        asked = len(here.simulator.books.entries)
        client = await here.ask("target-0")
        assert (client.status, client.headers["retry-after"]) == (503, "10")
        assert len(here.simulator.books.entries) == asked
        assert (await here.ask("target-1")).status == 502
        assert len(here.simulator.books.entries) == asked + 1
        assert (await outcomes(here))[-1]["status"] == "rejected_unavailable"
        await check_ledger(here, admitted=6)


async def test_pinned_failures_count_as_well(tmp_path, autojump_clock):
    """Whoever asks a model teaches of it."""
    async with world(tmp_path, "sim", after=target_text(Candidate("sim-error-500"))) as here:
        for _ in range(5):
            await here.ask("target-1")
        assert health_of(here).rests_s(*MODEL) == pytest.approx(10)


@pytest.mark.parametrize("behaviour", ["sim-error-400", "sim-finish-content_filter", "sim-tokens-40"])
async def test_what_is_not_the_models_failure(behaviour, tmp_path, autojump_clock):
    """A request that is refused for what it asks, filtered or cut at its limit lets nobody rest."""
    async with world(tmp_path, "sim", after=target_text(Candidate(behaviour))) as here:
        for _ in range(7):
            await here.ask("target-0", max_completion_tokens=4)
        assert health_of(here).rests_s(*MODEL) is None


async def test_a_provider_that_says_when_to_come_again(tmp_path, autojump_clock):
    """Its word is taken at the first failure, for as long as it says."""
    async with world(tmp_path, "sim", after=target_text(Candidate("sim-error-429-retry-after-7"))) as here:
        await here.ask("target-0")
        assert health_of(here).rests_s(*MODEL) == pytest.approx(7)


@attrs.frozen
class Probe:
    """How the one request ends that is let through after a rest."""

    name: str
    behaviour: str = GOOD
    stream: bool = True
    leaves: bool = False
    rests: bool = False
    """Whether the model rests again behind it."""
    half_open: bool = False
    """Whether another one is the probe then."""


PROBES = [
    Probe("answers"),
    Probe("answers-whole", stream=False),
    Probe("fails", "sim-error-500", rests=True),
    Probe("is-refused", "sim-error-400", half_open=True),
    Probe("is-left-before-content", "sim-delay-3s", leaves=True, half_open=True),
    Probe("is-left-behind-content", "sim-tokens-90-pace-100ms", leaves=True),
    Probe("fails-behind-content", "sim-tokens-9-pace-5ms-reset-after-3"),
]


@pytest.mark.parametrize("probe", PROBES, ids=lambda probe: probe.name)
async def test_one_probe_at_a_time(probe, tmp_path, autojump_clock):
    """While it is under way others are refused; that it begins closes the breaker, that it fails opens it again."""
    async with world(tmp_path, "sim", after=target_text(Candidate(probe.behaviour))) as here:
        await let_rest(here)
        await trio.sleep(5)
        client, other = (here.client(body(stream=probe.stream)) for _ in range(2))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(here.run, client)
            while not is_probed(here):
                await trio.lowlevel.checkpoint()
            assert health_of(here).rests_s(*MODEL) == pytest.approx(10)
            await here.run(other)
            assert (other.status, other.json()["error"]["code"]) == (503, "all_candidates_failed")
            if probe.leaves:
                await trio.sleep(1)
                client.leave()
        assert not is_probed(here)
        rests_s = health_of(here).rests_s(*MODEL)
        assert (rests_s is not None) is probe.rests
        state = health_of(here)._breakers.of(*MODEL).state(trio.current_time())
        assert (state == "half_open") is probe.half_open
        await check_provider(here)
        await check_ledger(here, admitted=1)


def body(*, stream: bool = True) -> dict[str, Any]:
    return {"model": "target-0", "messages": [{"role": "user", "content": "Count."}], "stream": stream}


async def test_a_long_stream_is_no_probe_for_long(tmp_path, autojump_clock):
    """As soon as its first content is there the others need not wait for its end."""
    async with world(tmp_path, "sim", after=target_text(Candidate("sim-tokens-90-pace-100ms"))) as here:
        await let_rest(here)
        await trio.sleep(5)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(here.run, here.client(body()))
            await trio.sleep(1)
            assert (await here.ask("target-0")).status == 200
        await check_ledger(here, admitted=2)


async def test_a_defect_keeps_no_probe(tmp_path, autojump_clock, monkeypatch):
    """An exchange that cannot be reckoned, and is settled blindly, lets the next one ask its model."""

    def broken(known: rule.Known) -> rule.Reckoning:
        raise LookupError

    async with world(tmp_path, "sim", after=target_text(Candidate("sim-error-500"), Candidate())) as here:
        for model in (MODEL, ("sim", "target-2")):
            await let_rest(here, model)
        await trio.sleep(5)
        with monkeypatch.context() as patched:
            patched.setattr(rule, "reckon", broken)
            await here.ask("target-0")
        assert not is_probed(here)
        assert not is_probed(here, ("sim", "target-2"))
        assert '"where":"reckoning"' in here.log.getvalue()
        await check_ledger(here, admitted=1)


async def test_other_settings_are_adopted_and_what_is_known_is_kept(tmp_path, autojump_clock):
    """A reload changes after how many failures a model rests, not what rests."""
    async with world(
        tmp_path, "sim", after=target_text(Candidate("sim-error-500"), Candidate("sim-error-500"))
    ) as here:
        await let_rest(here, seconds=60)
        health_of(here).adopt(2, 30.0)
        assert health_of(here).rests_s(*MODEL) == pytest.approx(60)
        for _ in range(2):
            await here.ask("target-0")
        assert health_of(here).rests_s("sim", "target-2") == pytest.approx(30)


# --- what is observed ---

SIGNALS = {
    "sim-tokens-5": Signal.SUCCEEDED,
    "sim-tokens-40": Signal.TRUNCATED,
    "sim-error-500": Signal.FAILED_BEFORE,
    "sim-tokens-9-reset-after-3": Signal.FAILED_AFTER,
    "sim-tokens-0": Signal.EMPTY,
    "sim-error-400": None,
    "sim-tokens-9-finish-content_filter": None,
}
WORTH = {
    Signal.SUCCEEDED: 1000, Signal.TRUNCATED: 900, Signal.FAILED_BEFORE: 500, Signal.FAILED_AFTER: 0, Signal.EMPTY: 0,
}  # fmt: skip


@pytest.mark.parametrize("behaviour", SIGNALS)
async def test_what_an_end_says_of_its_model(behaviour, tmp_path, autojump_clock):
    """Pinned or chosen, each answer says one thing of its model, or nothing."""
    async with world(tmp_path, "sim", after=target_text(Candidate(behaviour))) as here:
        await here.ask("target-0", max_completion_tokens=20)
        await here.ask("target-1", max_completion_tokens=20, user="another")
        signal = SIGNALS[behaviour]
        assert seen_by(here) == ((0, 0) if signal is None else (2, 2 * WORTH[signal]))


async def test_what_failed_before_another_answered(tmp_path, autojump_clock):
    """The first of two is half blamed, the second praised."""
    async with world(tmp_path, "sim", after=target_text(Candidate("sim-error-500"), Candidate())) as here:
        await here.ask("target-0")
        assert (seen_by(here), seen_by(here, ("sim", "target-2"))) == ((1, 500), (1, 1000))


async def test_what_is_asked_again(tmp_path, autojump_clock):
    """The same again within minutes says of the model that answered first that it was not what was wanted."""
    async with world(tmp_path, "sim", after=ONE) as here:
        await here.ask("target-0")
        assert seen_by(here) == (1, 1000)
        await here.ask("target-0")
        assert seen_by(here) == (3, 2000)


async def test_tokens_that_are_counted_say_nothing_of_answers(tmp_path, autojump_clock):
    """Who can count need not be able to answer; but a counter that fails is down."""
    after = target_text(Candidate(format="messages"))
    async with world(tmp_path, "sim", after=after) as here:
        asked = {"model": "target-0", "messages": [{"role": "user", "content": "Count."}]}
        client = await here.run(here.client(asked, path="/v1/messages/count_tokens"))
        assert client.status == 200
        assert seen_by(here, ("messages", "target-1")) == (0, 0)
        await let_rest(here, ("messages", "target-1"))
        await trio.sleep(5)
        await here.run(here.client(asked, path="/v1/messages/count_tokens"))
        assert health_of(here)._breakers.of("messages", "target-1").state(trio.current_time()) == "closed"


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
async def test_how_soon_a_stream_begins(stream, tmp_path, autojump_clock):
    """From the beginning of its own attempt to its first content; what comes first of a whole answer is its end."""
    async with world(tmp_path, "sim", after=target_text(Candidate("sim-delay-700ms"))) as here:
        for _ in range(LEAST_LATENCIES):
            assert health_of(here).late_after_s(*MODEL) is None
            await here.ask("target-0", stream=stream)
        late_s = health_of(here).late_after_s(*MODEL)
        assert late_s == (pytest.approx(0.7) if stream else None)


def test_what_earlier_processes_saw():
    """A history is all that is known, the newest last."""
    health = Health()
    health.observed("sim", "a").note(Signal.FAILED_AFTER)
    health.recall([PastAttempt(provider="sim", model="a", ending=None, error_code="upstream_error")])
    assert (health.observed("sim", "a").observations, health.observed("sim", "a").blended(1000, 0)) == (1, 500)


async def test_only_the_latest_exchanges_are_remembered(tmp_path, autojump_clock, monkeypatch):
    """What was asked so long ago that it is forgotten takes nothing back."""
    monkeypatch.setattr("ainf.exchange.health._REMEMBERED", 1)
    async with world(tmp_path, "sim", after=ONE) as here:
        await here.ask("target-0")
        await here.ask("target-0", user="another")
        assert len(health_of(here)._answered) == 1
        await here.ask("target-0")
        assert seen_by(here) == (3, 3000)


async def test_who_was_not_given_leave_opens_and_closes_nothing(tmp_path, autojump_clock):
    """A pinned request to a model that rests is answered, and it goes on to rest."""
    async with world(tmp_path, "sim", after=ONE) as here:
        await let_rest(here, seconds=60)
        assert (await here.ask("target-1")).status == 200
        assert health_of(here).rests_s(*MODEL) == pytest.approx(60)

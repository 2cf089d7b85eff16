"""Where a routed request goes to no other model: what is the client's own, what came too late, what ended before."""

import json
from collections.abc import Callable
from functools import partial
from typing import Any

import attrs
import pytest
import trio

from ainf.inference.outcome import Ending, Verdict
from ainf.simulator import Step, whole
from ainf.simulator.steps import Script
from ainf.store.base import AttemptOpening
from tests.gateway.candidates import (
    LIMITS,
    Candidate,
    ask_target,
    check_routed,
    counter,
    outcomes,
    target_text,
)
from tests.gateway.dialects import CHAT, DIALECTS
from tests.gateway.law import check_ledger, check_provider, check_transcript
from tests.gateway.told import check_failure
from tests.gateway.world import Client, SimulatedWire, World, world

dialects = pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.format)
streams = pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
FORMATS_OF = {"chat": "messages", "messages": "responses", "responses": "gemini"}
"""A protocol's format -> another one, to be translated from."""


def pair(first: str, second: str = "sim-tokens-7", format_: str = "chat") -> str:
    return target_text(Candidate(first, format_), Candidate(second, format_))


def refusal(status: int, **error: Any) -> list[Step]:
    return [whole(status, "application/json", json.dumps({"error": {"message": "No.", **error}}).encode())]


# --- what is the request's own ---


@attrs.frozen
class Own:
    """A refusal that another model would repeat."""

    code: str
    behaviour: str = "sim"
    steps: list[Step] | None = None


OWN = {
    "status 400": Own("upstream_rejected", "sim-error-400"),
    "status 422": Own("upstream_rejected", "sim-error-422"),
    "status 413": Own("upstream_rejected", "sim-error-413"),
    "a filter": Own("content_filter", steps=refusal(400, code="content_filter", type="invalid_request_error")),
    "a policy": Own("content_filter", steps=refusal(403, code="content_policy_violation")),
}


@streams
@dialects
@pytest.mark.parametrize("row", OWN)
async def test_what_is_wrong_with_the_request_is_told_at_once(row, dialect, stream, tmp_path, autojump_clock):
    """With the provider's own status and code; nobody else is asked, and who pins the model is told the same."""
    own = OWN[row]
    async with world(tmp_path, "sim", after=pair(own.behaviour)) as here:
        told = []
        for model in ("target-0", "target-1"):
            if own.steps is not None:
                here.simulator.set_script(Script(own.steps))
            client = await here.speak(dialect, model, stream=stream)
            check_failure(client, await here.receipt(client.inference_id), own.code, in_stream=False)
            told.append((client, client.status, client.json()["error"]["message"]))
        assert told[0][1:] == told[1][1:]
        await check_routed(here, told[0][0], "failed", [own.code])
        assert len(here.simulator.books.entries) == 2
        assert counter(here, "fallbacks", from_model="target-1", code=own.code) == 0, "nothing followed"


TOO_LONG = {"code": "context_length_exceeded", "message": "This model's maximum context length is 8 tokens."}


@streams
@dialects
async def test_a_model_with_a_larger_window_is_tried(dialect, stream, tmp_path, autojump_clock):
    """What does not fit one model may fit the next."""
    async with world(tmp_path, "sim", after=pair("sim")) as here:
        here.simulator.set_script(Script(refusal(400, **TOO_LONG)))
        client = await ask_target(here, dialect=dialect, stream=stream)
        await check_routed(here, client, "fell_back", ["context_length_exceeded", None])


@streams
@dialects
async def test_what_fits_no_model_is_the_clients_to_mend(dialect, stream, tmp_path, autojump_clock):
    """Where all say so it is told as what it is."""
    async with world(tmp_path, "sim", after=pair("sim")) as here:
        here.simulator.set_script(Script(refusal(400, **TOO_LONG), refusal(400, **TOO_LONG)))
        client = await ask_target(here, dialect=dialect, stream=stream)
        receipt = await check_routed(here, client, "failed", ["context_length_exceeded"] * 2)
        check_failure(client, receipt, "context_length_exceeded", in_stream=False)


@pytest.mark.parametrize("order", ["first", "last"])
async def test_what_does_not_fit_one_model_may_fit_the_one_that_failed(order, tmp_path, autojump_clock):
    """Where only one says so, a retry can help: the other one may be back."""
    async with world(tmp_path, "sim", after=pair("sim")) as here:
        answers = [refusal(400, **TOO_LONG), refusal(500)]
        here.simulator.set_script(Script(*(answers if order == "first" else reversed(answers))))
        client = await ask_target(here)
        codes = ["context_length_exceeded", "upstream_error"]
        receipt = await check_routed(here, client, "failed", codes if order == "first" else codes[::-1])
        check_failure(client, receipt, "all_candidates_failed", in_stream=False)


@streams
@dialects
async def test_the_seconds_word_on_the_request_is_told(dialect, stream, tmp_path, autojump_clock):
    """When the first has merely failed, and the second says what is wrong, that is what the client is told."""
    async with world(tmp_path, "sim", after=pair("sim-error-500", "sim-error-400")) as here:
        client = await ask_target(here, dialect=dialect, stream=stream)
        receipt = await check_routed(here, client, "failed", ["upstream_error", "upstream_rejected"])
        check_failure(client, receipt, "upstream_rejected", in_stream=False)


@streams
@dialects
async def test_a_blocked_prompt_is_an_answer(dialect, stream, tmp_path, autojump_clock):
    """A finish without content is the model's own end; nobody else is asked."""
    async with world(tmp_path, "sim", after=pair("sim-blocked")) as here:
        client = await ask_target(here, dialect=dialect, stream=stream)
        receipt = await here.receipt(client.inference_id)
        assert (client.status, receipt["ending"], receipt["routing"]["status"]) == (200, "completed", "succeeded")
        assert len(receipt["attempts"]) == 1
        await check_ledger(here, admitted=1)


# --- what comes behind the first content ---


@pytest.mark.parametrize(
    ("broken", "code"),
    [
        ("reset-after-3", "upstream_truncated"), ("close-after-3", "upstream_truncated"),
        ("eof-after-3", "upstream_truncated"), ("stall-after-3", "upstream_timeout"), ("error-after-3", None),
    ],
)  # fmt: skip
@pytest.mark.parametrize("translated", [False, True], ids=["native", "translated"])
@dialects
async def test_an_answer_that_began_is_never_gone_on_with(
    dialect, translated, broken, code, tmp_path, autojump_clock
):  # fmt: skip
    """What came stands, with an error behind it; no other model is asked for the rest."""
    format_ = FORMATS_OF[dialect.format] if translated else dialect.format
    behaviour = f"sim-tokens-9-pace-50ms-{broken}"
    async with world(tmp_path, "sim", limits=LIMITS, after=pair(behaviour, format_=format_)) as here:
        client = await ask_target(here, dialect=dialect)
        receipt = await here.receipt(client.inference_id)
        said, code = client.said(), code or receipt["error_code"]
        assert len(said.text) == 3 * 4 or (broken == "reset-after-3" and 0 < len(said.text) < 3 * 4)
        check_failure(client, receipt, code, in_stream=True)
        assert len(here.simulator.books.entries) == 1
        line_code = receipt["attempts"][0]["error_code"]  # silence ends the exchange, not the call
        await check_routed(here, client, "failed", [None if code == "upstream_timeout" else line_code])


# --- endings of ours before the commit point ---


def _leave(here: World, client: Client) -> None:
    (exchange,) = here.gateway.inflight
    exchange.client_gone()  # at once: the watcher of its connection is another task
    client.leave()


def _shut_down(here: World, client: Client) -> None:
    here.gateway.inflight.shut_down(2.0)


def _kill(here: World, client: Client) -> None:
    (exchange,) = here.gateway.inflight
    exchange.offer(Verdict(Ending.TERMINATED, "killed", "An operator ended the request."))


def _deadline(here: World, client: Client) -> None:
    (exchange,) = here.gateway.inflight
    exchange.offer(Verdict(Ending.DEADLINE_EXCEEDED, "deadline_exceeded", "The deadline passed."))


def _cap(here: World, client: Client) -> None:
    (exchange,) = here.gateway.inflight
    exchange.offer(Verdict(Ending.SPEND_CAP_EXCEEDED, "spend_cap_exceeded", "A cap is used up."))


ENDINGS: dict[str, tuple[Callable[[World, Client], None], str, int | None]] = {
    "client": (_leave, "cancelled", None),
    "shutdown": (_shut_down, "shut_down", 503),
    "killed": (_kill, "terminated", 503),
    "deadline": (_deadline, "timed_out", 504),
    "cap": (_cap, "capped", 402),
}
endings = pytest.mark.parametrize("ending", ENDINGS)


def check_ended(client: Client, status: int | None) -> None:
    if status is None:
        assert client.body == b""
    else:
        assert client.status == status
        assert json.loads(client.body)["error"]["code"]


@endings
@streams
async def test_an_ending_before_any_content_asks_nobody_else(ending, stream, tmp_path, autojump_clock):
    """Whatever ends the request while its first model is waited for is the end of it."""
    act, outcome, status = ENDINGS[ending]
    async with world(tmp_path, "sim", after=pair("sim-stall-before-head")) as here:
        client = here.client(CHAT.question("target-0", stream=stream))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(here.run, client)
            await trio.sleep(1)
            act(here, client)
        check_ended(client, status)
        assert len(here.simulator.books.entries) == 1
        assert [one["status"] for one in await outcomes(here)] == [outcome]
        await check_provider(here)
        await check_ledger(here, admitted=1)


async def send_at_once(self: SimulatedWire, data: bytes) -> None:
    """Send as a socket does that takes it all: without a look whether the task is cancelled."""
    self.stream._outgoing.buffer += data
    self.stream._outgoing.notify()


@endings
@pytest.mark.parametrize("moment", ["before", "after"])
@streams
async def test_an_ending_while_another_is_opened_dials_nothing(
    ending, stream, moment, tmp_path, autojump_clock, monkeypatch
):  # fmt: skip
    """The second model is not asked any more, whether its hold is durable by then or not, and costs nothing."""
    act, outcome, status = ENDINGS[ending]
    monkeypatch.setattr(SimulatedWire, "send_all", send_at_once)
    async with world(tmp_path, "sim", after=pair("sim-error-500", "sim-delay-1s-tokens-7")) as here:
        async with trio.open_nursery() as nursery:  # leaves two connections, of which the first model breaks one
            for _ in range(2):
                nursery.start_soon(partial(here.speak, CHAT, "target-2", stream=False))
        client = here.client(CHAT.question("target-0", stream=stream))
        opened = here.store.open_attempt

        async def open_attempt(opening: AttemptOpening) -> Any:
            if moment == "before":
                act(here, client)
                await trio.sleep(0.1)
            answer = await opened(opening)
            act(here, client)
            return answer

        here.store.open_attempt = open_attempt  # type: ignore[method-assign]
        await here.run(client)
        check_ended(client, status)
        assert len(here.simulator.books.entries) == 3
        (one,) = await outcomes(here)
        assert (one["status"], one["attempts"], one["cost_nusd"]) == (outcome, 1 if moment == "before" else 2, 0)
        await check_provider(here)
        await check_ledger(here, admitted=3)


@endings
@streams
async def test_an_ending_while_the_second_is_waited_for_asks_no_third(ending, stream, tmp_path, autojump_clock):
    """The first one's cost stands, the second one's is none, and the third is never opened."""
    act, outcome, status = ENDINGS[ending]
    after = target_text(Candidate("sim-close-after-head"), Candidate("sim-stall-before-head"), Candidate())
    async with world(tmp_path, "sim", after=after) as here:
        client = here.client(CHAT.question("target-0", stream=stream))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(here.run, client)
            await trio.sleep(1)
            act(here, client)
        check_ended(client, status)
        assert len(here.simulator.books.entries) == 2
        (one,) = await outcomes(here)
        assert (one["status"], one["attempts"], one["model"]) == (outcome, 2, "target-2")
        lines = (await here.receipt(one["inference_id"]))["attempts"]
        assert [line["error_code"] for line in lines] == ["upstream_truncated", None]
        assert one["cost_nusd"] == lines[0]["cost_nusd"] > 0 == lines[1]["cost_nusd"]
        await check_provider(here)
        await check_ledger(here, admitted=1)


@streams
async def test_the_deadline_is_the_requests_own_whoever_is_tried(stream, tmp_path, autojump_clock):
    """Its time runs from its arrival; a second model gets what is left of it."""
    after = target_text(Candidate("sim-delay-2s-close-after-head"), Candidate("sim-stall-before-head"))
    async with world(tmp_path, "sim", after=after) as here:
        client = here.client(CHAT.question("target-0", stream=stream), x_ainf_deadline_ms="5000")
        began = trio.current_time()
        await here.run(client)
        assert 4.9 < trio.current_time() - began < 5.5
        assert client.status == 504
        assert [one["status"] for one in await outcomes(here)] == ["timed_out"]
        await check_transcript(here, client)
        await check_ledger(here, admitted=1)


@streams
@dialects
async def test_a_model_that_is_pinned_has_no_other(dialect, stream, tmp_path, autojump_clock):
    """Its failure is told by its own code and status, and there is no outcome."""
    async with world(tmp_path, "sim", after=pair("sim-error-500")) as here:
        client = await here.speak(dialect, "target-1", stream=stream)
        check_failure(client, await here.receipt(client.inference_id), "upstream_error", in_stream=False)
        assert len(here.simulator.books.entries) == 1
        assert await outcomes(here) == []
        await check_ledger(here, admitted=1)

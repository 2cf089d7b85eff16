"""From a parsed request to a plan."""

import attrs
import pytest
import trio

from ainf.inference.errors import GatewayError
from ainf.store.admin import digest_of
from tests.gateway.dialects import RESPONSES
from tests.gateway.world import question, world
from tests.http.requests import request


@pytest.mark.threat(64, 72)
async def test_when_it_is_closed(tmp_path, autojump_clock):
    """Stopping and full are told apart; both are worth a retry."""
    async with world(tmp_path, "sim", limits="running = 1") as here:
        here.gateway.check_open()
        here.gateway.inflight._running["inf_x"] = None
        with pytest.raises(GatewayError, match="overloaded"):
            here.gateway.check_open()
        here.gateway.inflight._running.clear()
        here.gateway.draining = True
        with pytest.raises(GatewayError, match="shutting_down"):
            here.gateway.check_open()
        client = await here.ask()
        assert (client.status, client.headers["x-should-retry"], client.headers["retry-after"]) == (503, "true", "1")


async def test_plans_refuse_before_anything_is_opened(tmp_path, autojump_clock):
    """Unknown model, no right, a field that changes the price: in this order."""
    async with world(tmp_path, "sim") as here:
        narrow = await here.new_key("agents", models=("other",))
        client = await here.run(here.client(question("nope", audio={}), authorization=f"Bearer {narrow}"))
        assert client.json()["error"]["code"] == "model_not_found"
        client = await here.run(here.client(question("sim", audio={}), authorization=f"Bearer {narrow}"))
        assert client.json()["error"]["code"] == "not_permitted"
        client = await here.ask(audio={})
        assert client.json()["error"]["code"] == "unsupported_parameter"


@pytest.mark.parametrize("more", [{}, {"idempotency_key": "k"}], ids=["", "keyed"])
async def test_a_shutdown_while_a_stored_response_is_looked_up(more, tmp_path, autojump_clock):
    """What was admitted before it and is planned behind it is refused: nobody would tell it of the end any more."""
    async with world(tmp_path, "responses/sim") as here:
        find_response = here.store.find_response

        async def slowly(response_id, account_id):
            await trio.sleep(1)
            return await find_response(response_id, account_id)

        first = await here.run(here.client(RESPONSES.question("responses/sim", stream=False), path=RESPONSES.path))
        asked = RESPONSES.question("responses/sim", stream=True, previous_response_id=first.json()["id"])
        here.store.find_response = slowly
        client = here.client(asked, path=RESPONSES.path, **more)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(here.run, client)
            await trio.sleep(0.5)
            here.gateway.draining = True
            here.gateway.inflight.shut_down(2.0)
        assert (client.status, client.json()["error"]["code"]) == (503, "shutting_down")
        assert len(here.simulator.books.entries) == 1


async def test_a_reload_while_a_stored_response_is_looked_up(tmp_path, autojump_clock):
    """What a name stands for is settled at one moment: a model that is taken away meanwhile is none, not a defect."""
    async with world(tmp_path, "responses/sim", "chat/sim") as here:
        find_response, models = here.store.find_response, here.gateway.models

        async def slowly(response_id, account_id):
            await trio.sleep(1)
            return await find_response(response_id, account_id)

        here.store.find_response = slowly
        for name, left in (("responses/sim", {"chat/sim"}), ("ainf-inference", set())):
            client = here.client(RESPONSES.question(name, previous_response_id="resp_1"), path=RESPONSES.path)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(here.run, client)
                await trio.sleep(0.5)
                here.gateway.models = {model: models[model] for model in left}
                here.gateway.targets = {} if not left else here.gateway.targets
            assert (client.status, client.json()["error"]["code"]) == (404, "model_not_found")
            here.gateway.models = models
        assert '"defect"' not in here.log.getvalue()


async def test_whom_a_name_stands_for(tmp_path, autojump_clock):
    """A pinned model is the only choice; a target's models are, as far as they can and may; nothing is recorded."""
    async with world(tmp_path, "chat/sim", "messages/sim") as here:
        key = await here.store.find_key(digest_of(here.key))
        assert key is not None
        parsed = request(routing_hint={"min_quality": 0})
        for name, models in (
            ("messages/sim", ["messages/sim"]),
            ("ainf-auto", ["chat/sim", "messages/sim"]),
        ):
            choices = here.gateway.choices(key, attrs.evolve(parsed, model=name))
            assert [model.terms.name for model in choices.models] == models
            assert choices.request.fields == {}
            is_pinned = choices.decision is None
            assert is_pinned is (name == "messages/sim")
            assert choices.request.dropped == (("routing_hint",) if is_pinned else ())
        none = here.gateway.choices(key, attrs.evolve(request(routing_hint={"min_quality": 1}), model="ainf-auto"))
        assert (none.models, none.decision.ranked) == ((), ())
        assert await here.rows("SELECT * FROM routing_outcomes") == []
        assert "ainf_alias_hits_total{" not in here.telemetry.exposition().decode()

"""A request in the words of the provider that serves a model, and the plan for it."""

from collections.abc import Callable
from typing import Any

import attrs
import pytest

from ainf.exchange.plan import Plan
from ainf.http.asked import Asked, RequestHeaders
from ainf.http.models import as_answer, format_for, not_for_this, planned, prepared
from ainf.inference.errors import DownstreamError, RoutingError
from ainf.inference.request import InferenceRequest, Operation
from ainf.protocols.registry import PROTOCOLS
from ainf.store.base import StoredResponse
from tests.gateway.clock import SteppedClock, moment
from tests.gateway.dialects import CHAT, MESSAGES, RESPONSES, Dialect
from tests.gateway.keyed import plan_of
from tests.gateway.world import World, world

DROPS = 'drop_params = ["top_k"]'


def parsed(dialect: Dialect, *, path: str | None = None, **fields: Any) -> InferenceRequest:
    """A request of a protocol."""
    asked = dialect.question("sim", stream=False, **fields)
    return PROTOCOLS[dialect.name].parse(asked, path=path or dialect.path, body_bytes=100, headers={})


async def asked_as(here: World, request: InferenceRequest, dialect: Dialect, **changes: Any) -> Asked:
    """The request, as it comes to be planned."""
    plan = await plan_of(here, next(iter(here.gateway.models)), dialect=CHAT)
    headers = RequestHeaders.read({b"idempotency-key": b"k-1"})
    asked = Asked(plan.key, request, PROTOCOLS[dialect.name], plan.listener, b"digest", headers, arrived_at=0.0)
    return attrs.evolve(asked, **changes)


def refusal(act: Callable[[], object]) -> tuple[str, str | None]:
    """The code and the field of the error that an act raises."""
    with pytest.raises((DownstreamError, RoutingError)) as caught:
        act()
    return caught.value.code, caught.value.param


async def test_the_price_in_force(tmp_path, autojump_clock):
    """A model is looked at with the price of the moment; while that does not change, it is the same object."""
    later = '\nprice = [{ input = "1.00", output = "2.00" }, { from = 2026-12-01, input = "9.00", output = "9.00" }]'
    async with world(tmp_path, "sim", more=later, clock=SteppedClock("2026-11-30T00:00:00")) as here:
        model = here.gateway.models["sim"]
        assert model.at(moment("2026-11-30T23:59:59")) is model
        risen = model.at(moment("2026-12-01T00:00:00"))
        assert (model.terms.price.input, risen.terms.price.input) == (1_000_000_000, 9_000_000_000)
        assert attrs.evolve(risen, terms=model.terms) == model


async def test_a_plan(tmp_path, autojump_clock):
    """It has the client's own as it came, and the model's terms at their price."""
    async with world(tmp_path, "sim") as here:
        asked = await asked_as(here, parsed(CHAT), CHAT, inference_shape=True)
        plan = planned(asked, here.gateway.models["sim"])
        assert (plan.request, plan.protocol, plan.fingerprint) == (asked.request, asked.protocol, b"digest")
        assert (plan.provider_format, plan.is_translated, plan.inference_shape) == ("chat", False, True)
        assert plan.claim is not None
        assert plan.admission.terms is here.gateway.models["sim"].terms
        assert (plan.admission.limit_tokens, plan.route, plan.deadline_at) == (None, None, 900.0)


async def test_a_promise_of_cost_limits_the_output(tmp_path, autojump_clock):
    """What it leaves beside the input is sent upstream as the limit; where that is too little there is no plan."""
    async with world(tmp_path, "sim") as here:
        asked, model = await asked_as(here, parsed(CHAT), CHAT), here.gateway.models["sim"]
        free: Plan = planned(asked, model)
        base, rate = free.admission.ask.base_nusd, 2_000
        tight = planned(asked, model, base + 100 * rate + 1)
        assert (tight.admission.limit_tokens, tight.admission.ask.worst_tokens) == (100, 100)
        least = model.terms.min_output_tokens
        assert planned(asked, model, base + least * rate).admission.limit_tokens == least
        too_little = ("no_candidate", "routing_hint.max_cost")
        assert refusal(lambda: planned(asked, model, base + least * rate - 1)) == too_little


async def test_to_count_is_free_and_claims_nothing(tmp_path, autojump_clock):
    """Whatever the model costs, and whatever key was sent."""
    async with world(tmp_path, "messages/sim") as here:
        count = attrs.evolve(parsed(MESSAGES), operation=Operation.COUNT)
        plan = planned(await asked_as(here, count, MESSAGES), here.gateway.models["messages/sim"])
        assert (plan.claim, plan.admission.ask.base_nusd, plan.admission.ask.worst_tokens) == (None, 0, 0)


async def test_what_is_left_out_is_named_behind_what_was(tmp_path, autojump_clock):
    """Native or translated, what the provider is not told joins what was dropped before."""
    async with world(tmp_path, "chat/sim", "messages/sim", more=DROPS) as here:
        request = attrs.evolve(parsed(MESSAGES, top_k=5), dropped=("routing_hint",))
        for name, dropped in (("chat/sim", ("routing_hint", "top_k")), ("messages/sim", ("routing_hint",))):
            model = here.gateway.models[name]
            sent, _ = prepared(request, model, PROTOCOLS["messages"], format_for(model, request))
            assert sent.dropped == dropped
            assert ("top_k" in sent.fields) is (name == "messages/sim")


async def test_what_is_announced_is_counted_as_the_answer_would_be_asked(tmp_path, autojump_clock):
    """A count is refused for what would be refused of the answer."""
    async with world(tmp_path, "chat/sim") as here:
        model = here.gateway.models["chat/sim"]
        count = attrs.evolve(parsed(MESSAGES, system="Be brief."), operation=Operation.COUNT)
        assert as_answer(count, model).operation is Operation.GENERATE
        assert as_answer(count, model).fields["messages"][0]["role"] == "system"
        strange = attrs.evolve(parsed(MESSAGES, top_k=5), operation=Operation.COUNT)
        assert refusal(lambda: as_answer(strange, model)) == ("unsupported_parameter", "top_k")


async def test_what_a_provider_cannot_do(tmp_path, autojump_clock):
    """It is named, with the path and the model."""
    async with world(tmp_path, "chat/sim", "messages/sim") as here:
        count = attrs.evolve(parsed(MESSAGES), operation=Operation.COUNT)
        assert format_for(here.gateway.models["messages/sim"], count) == "count_tokens"
        chat = here.gateway.models["chat/sim"]
        assert refusal(lambda: format_for(chat, count)) == ("operation_not_supported", "model")
        assert "chat/sim" in not_for_this(chat, "/v1/embeddings").message


async def test_stored_responses(tmp_path, autojump_clock):
    """Only a provider that stores them, and has this one, can go on from it; then its tokens are read as well."""
    async with world(tmp_path, "chat/sim", "responses/sim") as here:
        request = parsed(RESPONSES, previous_response_id="resp_1")
        stored = StoredResponse("responses", "responses/sim", "sim", 1000, 200)
        asked = await asked_as(here, request, RESPONSES, stored=stored)
        own, other = here.gateway.models["responses/sim"], here.gateway.models["chat/sim"]
        plain = planned(await asked_as(here, parsed(RESPONSES), RESPONSES), own)
        assert planned(asked, own).admission.input_tokens_estimate == plain.admission.input_tokens_estimate + 1200
        assert refusal(lambda: planned(asked, other)) == ("unsupported_parameter", "previous_response_id")
        for elsewhere in (None, attrs.evolve(stored, provider="another")):
            lost = attrs.evolve(asked, stored=elsewhere)
            assert refusal(lambda lost=lost: planned(lost, own)) == ("not_found", "previous_response_id")

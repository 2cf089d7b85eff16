"""Who may ask what, and the most that it can cost."""

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ainf.admission import ModelTerms, Reads, admit, check_endpoint, check_model
from ainf.inference.conversation import CacheMark, ReasoningAsk
from ainf.inference.errors import DownstreamError, RoutingError
from ainf.inference.request import InferenceRequest, Operation
from ainf.inference.usage import Usage
from ainf.metering import MeterRatios
from ainf.pricing import cost, parse_price, tokens_cost

TERMS = ModelTerms(
    name="m", provider="p", upstream_model="up", max_output_tokens=4096, min_output_tokens=16,
    price=parse_price({"input": "1", "cached_input": "0.5", "output": "2", "request": "0.001"}),
    ratios=MeterRatios(mean=4000, low=2000, image_tokens=1600), slice_tokens=1024,
)  # fmt: skip
REQUEST = InferenceRequest(
    protocol="chat_completions", path="/v1/chat/completions", model="m", stream=True, include_usage=False,
    max_output_tokens=None, input_bytes=1000, bound_bytes=1000, attachment_count=0, has_tools=False, fields={},
)  # fmt: skip


@pytest.mark.parametrize(
    ("request_changes", "terms_changes", "first", "worst"),
    [
        ({}, {}, 1024, 4096),
        ({"max_output_tokens": 100}, {}, 100, 100),
        ({"max_output_tokens": 3000}, {}, 1024, 3000),
        ({"max_output_tokens": 1 << 30}, {}, 1024, 4096),
        ({"stream": False}, {}, 4096, 4096),
        ({"stream": False, "max_output_tokens": 7}, {}, 7, 7),
        ({}, {"hidden_reasoning": "always"}, 4096, 4096),
        ({}, {"hidden_reasoning": "asked"}, 1024, 4096),
        ({}, {"streaming": "wrap"}, 4096, 4096),
        ({"operation": Operation.EMBED}, {}, 0, 0),
        ({"operation": Operation.COUNT}, {}, 0, 0),
        ({}, {"slice_tokens": 9999}, 4096, 4096),
    ],
)
def test_what_is_held_of_the_output(request_changes, terms_changes, first, worst):
    """A visible stream is held in slices; a whole answer and hidden reasoning for all they may produce."""
    admission = admit(attrs.evolve(REQUEST, **request_changes), attrs.evolve(TERMS, **terms_changes))
    assert (admission.ask.first_tokens, admission.ask.worst_tokens) == (first, worst)
    assert admission.own_limit_tokens == worst
    assert admission.ask.output_rate == TERMS.price.dearest_output(admission.input_tokens_bound)
    assert admission.ask.min_tokens == 16


@pytest.mark.parametrize(
    ("reasoning", "first"),
    [
        (None, 1024),
        (ReasoningAsk(effort="none"), 1024),
        (ReasoningAsk(budget_tokens=0), 1024),
        (ReasoningAsk(effort="low"), 4096),
        (ReasoningAsk(budget_tokens=2000), 4096),
        (ReasoningAsk(is_adaptive=True), 4096),
    ],
)
def test_thinking_that_is_asked_for_is_held_whole_where_it_is_not_shown(reasoning, first):
    """Where hidden output is billed only when it is asked for, only then all of it is held."""
    admission = admit(REQUEST, attrs.evolve(TERMS, hidden_reasoning="asked"), Reads(reasoning))
    assert admission.ask.first_tokens == first


def test_a_clamp_leaves_the_budget_for_thinking():
    """What the request lets the model think is never taken from it: rather it is refused."""
    admission = admit(REQUEST, TERMS, Reads(ReasoningAsk(budget_tokens=2000)))
    assert admission.ask.min_tokens == 2016


def test_a_stored_response_is_read_again():
    """What a request goes on from counts as input, in the hold and in the estimate."""
    plain, longer = admit(REQUEST, TERMS), admit(REQUEST, TERMS, Reads(stored_tokens=700))
    assert longer.input_tokens_bound == plain.input_tokens_bound + 700
    assert longer.input_tokens_estimate == plain.input_tokens_estimate + 700


@given(st.integers(0, 1 << 24), st.integers(0, 50), st.integers(0, 100))
def test_the_hold_pays_for_any_input_within_its_bound(size, images, cached_percent):
    """However much of the input was cached, its cost is inside what is held for it, with the request's fee."""
    admission = admit(attrs.evolve(REQUEST, input_bytes=size, bound_bytes=size, attachment_count=images), TERMS)
    tokens = admission.input_tokens_bound
    usage = Usage(input_tokens=tokens, cached_input_tokens=tokens * cached_percent // 100)
    assert cost(TERMS.price, usage) <= admission.ask.base_nusd
    assert admission.input_tokens_estimate <= tokens


def test_the_bound_is_of_all_that_may_be_read_and_the_estimate_of_what_is_known_to_be():
    """The one is what is held and what reported usage is measured by, the other what is charged when none comes."""
    admission = admit(attrs.evolve(REQUEST, input_bytes=400, bound_bytes=1000, attachment_count=2), TERMS)
    assert (admission.input_tokens_bound, admission.input_tokens_estimate) == (500 + 3200, 100 + 3200)
    assert admission.attachment_count == 2


@pytest.mark.parametrize(("asked", "rate"), [(None, 1000), (CacheMark.SHORT, 1250), (CacheMark.LONG, 2000)])
def test_a_write_to_a_cache_is_held_where_it_is_asked_for(asked, rate):
    """Only what a request can trigger is set aside: no write costs anybody who did not ask for one."""
    price = parse_price({"input": "1", "cache_write": "1.25", "long_cache_write": "2", "output": "2"})
    admission = admit(REQUEST, attrs.evolve(TERMS, price=price), Reads(cache_write=asked))
    assert admission.ask.base_nusd == 500 * rate


def test_a_cache_that_is_dearer_is_what_is_held():
    """The dearest part of the input counts, whichever it is."""
    price = parse_price({"input": "1", "cached_input": "3", "output": "2"})
    admission = admit(REQUEST, attrs.evolve(TERMS, price=price))
    assert admission.ask.base_nusd == 500 * 3_000


def test_what_attachments_are_reckoned_with_may_be_sound():
    """Their tokens are held at the rate of sound, where the price has one, the text beside them is not."""
    price = parse_price({"input": "1", "output": "2", "audio_input": "10"})
    silent, heard = (
        admit(attrs.evolve(REQUEST, attachment_count=count), attrs.evolve(TERMS, price=price)) for count in (0, 2)
    )
    assert silent.ask.base_nusd == 500 * 1_000
    assert heard.ask.base_nusd == 500 * 1_000 + 3200 * 10_000


@pytest.mark.parametrize(("size", "rate", "output"), [(1000, 1, 2), (1002, 3, 5)])
def test_the_tier_that_the_input_may_reach_is_what_is_held(size, rate, output):
    """A bound of more tokens than a tier is above holds the tier's rates, for input and output."""
    price = parse_price({"input": "1", "output": "2", "tiers": [{"above": 500, "input": "3", "output": "5"}]})
    admission = admit(attrs.evolve(REQUEST, bound_bytes=size), attrs.evolve(TERMS, price=price))
    assert admission.ask.base_nusd == admission.input_tokens_bound * rate * 1_000
    assert admission.ask.output_rate == output * 10**9


@pytest.mark.parametrize(
    ("request_changes", "terms_changes", "code", "param"),
    [
        ({"has_tools": True}, {"tools": False}, "tools_not_supported", "tools"),
        ({"stream": True}, {"streaming": "reject"}, "streaming_not_supported", "stream"),
    ],
)
def test_what_a_model_cannot_do_is_refused_by_name(request_changes, terms_changes, code, param):
    """The refusal names the model, the field and, for tools, the backend."""
    with pytest.raises(DownstreamError) as refused:
        admit(attrs.evolve(REQUEST, **request_changes), attrs.evolve(TERMS, **terms_changes))
    assert (refused.value.code, refused.value.param) == (code, param)
    assert "'m'" in refused.value.message


def test_what_a_model_can_do_is_not_refused():
    """Neither flag stands in the way of the other."""
    admit(attrs.evolve(REQUEST, has_tools=True), TERMS)
    admit(attrs.evolve(REQUEST, stream=False), attrs.evolve(TERMS, streaming="reject"))


@pytest.mark.parametrize(
    ("models", "endpoints", "param"),
    [
        (None, None, "allowed"),
        (("m",), ("/v1/inference",), "allowed"),
        (("other",), None, "model"),
        (("other", "m*"), None, "allowed"),
        (("m?", "m-*"), None, "model"),
        ((), None, "model"),
        (None, ("/v1/messages",), None),
        (("other",), ("/v1/messages",), None),
    ],
)
def test_rights(models, endpoints, param):
    """None is all, a list is only those, an empty list is nothing."""

    def check() -> None:
        check_endpoint(endpoints, "/v1/inference")
        check_model(models, "m")

    if param == "allowed":
        check()
        return
    with pytest.raises(DownstreamError) as refused:
        check()
    assert (refused.value.code, refused.value.param) == ("not_permitted", param)


def test_a_chosen_model_is_asked_for_no_more_than_it_gives():
    """A limit above the model's is lowered where the client did not choose it; any other is left as it came."""
    most = TERMS.max_output_tokens
    for own, sent in ((most + 1, most), (10**6, most), (most, None), (most - 1, None), (None, None)):
        request = attrs.evolve(REQUEST, max_output_tokens=own)
        chosen, named = admit(request, TERMS, is_chosen=True), admit(request, TERMS)
        assert (chosen.limit_tokens, named.limit_tokens) == (sent, None)
        assert attrs.evolve(chosen, limit_tokens=None) == named
    counted = attrs.evolve(REQUEST, operation=Operation.COUNT, max_output_tokens=10**6)
    assert admit(counted, TERMS, is_chosen=True).limit_tokens is None


def test_a_chosen_model_can_think_as_much_as_is_asked():
    """One whose own limit leaves nothing beside the thinking budget is none for this; the client's own limit may."""
    most, least = TERMS.max_output_tokens, TERMS.min_output_tokens
    request = attrs.evolve(REQUEST, max_output_tokens=10**6)
    assert admit(request, TERMS, Reads(ReasoningAsk(budget_tokens=most - least)), is_chosen=True).limit_tokens == most
    beyond = Reads(ReasoningAsk(budget_tokens=most - least + 1))
    with pytest.raises(DownstreamError) as refused:
        admit(request, TERMS, beyond, is_chosen=True)
    assert refused.value.code == "invalid_value"
    assert admit(request, TERMS, beyond).limit_tokens is None


def test_what_it_may_cost_at_most_limits_its_output():
    """The output is cut to what the amount pays for beside the input; less than is worth a call is refused by name."""
    whole = admit(REQUEST, TERMS)
    rate = whole.ask.output_rate
    most = whole.ask.base_nusd + tokens_cost(100, rate)
    cut = admit(REQUEST, TERMS, most_nusd=most)
    assert (cut.limit_tokens, cut.own_limit_tokens, cut.ask.worst_tokens) == (100, 100, 100)
    assert cut.ask.base_nusd + tokens_cost(cut.ask.worst_tokens, rate) <= most
    assert admit(REQUEST, TERMS, most_nusd=10**12) == whole
    assert whole.limit_tokens is None
    for too_little in (0, whole.ask.base_nusd, whole.ask.least_nusd - 1):
        with pytest.raises(RoutingError) as refused:
            admit(REQUEST, TERMS, most_nusd=too_little)
        assert (refused.value.code, refused.value.param) == ("no_candidate", "routing_hint.max_cost")

"""One model and one request: what is expected, and the first filter that it does not pass."""

import attrs
import pytest
from msgspec.structs import replace

from ainf.inference.usage import Usage
from ainf.metering import MeterRatios
from ainf.pricing import cost
from ainf.routing.candidates import Candidate, Filter, Need, Seen, scales_for, weigh
from ainf.routing.ruleset import Quality, RatedModel, Rules, Ruleset
from tests.routing.fleet import price

MODEL = RatedModel("one", "alpha", Quality(700), 1_000, frozenset({"image"}), True, True, 400, 250)
SEEN = Seen(price("0.15", "0.60", request="0.001"), MeterRatios(3_000, 2_000, image_tokens=90))
NEED = Need(1_000)


def weighed(need=NEED, model=MODEL, seen=SEEN, *, rules=Rules(), floor=500, most_nusd=None) -> Candidate:  # noqa: B008 - frozen
    lacks = Ruleset("t", 500, (model,)).lacks[0]
    return weigh(scales_for(need, rules, floor, most_nusd), model, lacks, model.quality.of(None), seen)


def test_what_is_expected():
    """Input by the model's own ratio, output by its limit, and their cost rounded up once, with the fee."""
    candidate = weighed()
    expected = cost(SEEN.price, Usage(input_tokens=334, output_tokens=400))
    assert candidate == Candidate("one", "alpha", SEEN.price.version, 334, 400, expected, 700, "prior", latency_ms=250)
    assert expected == 1_000_000 + 50_100 + 240_000


@pytest.mark.parametrize(
    ("own", "models", "rules", "output"),
    [(None, 400, 500, 400), (None, 400, 300, 300), (None, 400, 400, 400), (200, 400, 300, 200), (300, 400, 500, 300),
     (350, 400, 300, 300), (9_000, 400, 500, 400),
     (401, 400, 401, 400), (1, 1, 0, 0)],
)  # fmt: skip
def test_the_length_of_an_answer(own, models, rules, output):
    """It is the least of the client's limit, the model's and what the rules expect."""
    model = attrs.evolve(MODEL, max_output_tokens=models, context_tokens=None)
    made = weighed(replace(NEED, max_output_tokens=own), model, rules=Rules(expected_output_tokens=rules))
    assert made.output_tokens == output


def test_all_that_is_read_counts():
    """Text, attachments and the stored response that a request goes on from."""
    assert weighed(Need(1_000, attachment_count=2, stored_tokens=11)).input_tokens == 334 + 180 + 11
    assert weighed(Need(0)).input_tokens == 0


@pytest.mark.parametrize(
    ("learning", "quality", "latency_ms", "expected"),
    [
        (False, 300, 9, (700, "prior", 0, 250)),
        (True, None, None, (700, "prior", 0, 250)),
        (True, 690, None, (690, "blended", 31, 250)),
        (True, None, 9, (700, "prior", 0, 9)),
        (True, 0, 0, (0, "blended", 31, 0)),
    ],
)
def test_what_was_learnt(learning, quality, latency_ms, expected):
    """It counts only where it is switched on and something was seen; the record says which was used."""
    seen = replace(SEEN, quality=quality, latency_ms=latency_ms, observations=31)
    made = weighed(seen=seen, rules=Rules(learning=learning))
    assert (made.quality, made.quality_from, made.observations, made.latency_ms) == expected


UNABLE = attrs.evolve(MODEL, tools=False, streams=False, attachments=frozenset(), context_tokens=333)
ASKS = Need(1_000, 1, frozenset({"image"}), True, True, None, "beta")


@pytest.mark.parametrize(
    ("need", "model", "fell"),
    [
        (ASKS, UNABLE, Filter.TOOLS),
        (replace(ASKS, has_tools=False), UNABLE, Filter.STREAMING),
        (replace(ASKS, has_tools=False, stream=False), UNABLE, Filter.ATTACHMENTS),
        (Need(1_000, stored_at="beta"), UNABLE, Filter.STORED),
        (Need(1_000), UNABLE, Filter.CONTEXT),
        (Need(999), UNABLE, None),
        (Need(999, max_output_tokens=1), UNABLE, Filter.CONTEXT),
        (replace(ASKS, stored_at="alpha"), MODEL, None),
        (replace(ASKS, stored_at="alpha", attachments=frozenset({"image", "file"})), MODEL, Filter.ATTACHMENTS),
        (replace(ASKS, stored_at="alpha", attachments=frozenset({"audio"})), MODEL, Filter.ATTACHMENTS),
        (Need(10**9), attrs.evolve(MODEL, context_tokens=None), None),
    ],
)
def test_what_it_cannot(need, model, fell):
    """The first ability that is wanting, in the order of the filters."""
    assert weighed(need, model).fell is fell


@pytest.mark.parametrize(
    ("floor", "most_nusd", "rests_s", "fell"),
    [
        (700, None, None, None),
        (701, None, None, Filter.FLOOR),
        (701, 0, 1.0, Filter.FLOOR),
        (700, 1_290_100, None, None),
        (700, 1_290_099, None, Filter.COST),
        (700, 0, 1.0, Filter.COST),
        (700, 1_290_100, 1.0, Filter.RESTING),
        (700, None, 0.0, Filter.RESTING),
    ],
)
def test_floor_cost_and_rest(floor, most_nusd, rests_s, fell):
    """The floor and the promise are just kept or not by one; what only has to rest falls last."""
    assert weighed(seen=replace(SEEN, rests_s=rests_s), floor=floor, most_nusd=most_nusd).fell is fell


@pytest.mark.parametrize(
    ("rests_s", "rests_ms"), [(None, None), (0.0, 0), (0.0001, 1), (1.5, 1500), (59.99901, 60_000)]
)
def test_how_long_it_rests(rests_s, rests_ms):
    """In whole milliseconds, rounded up: nobody is told to come too early."""
    assert weighed(seen=replace(SEEN, rests_s=rests_s)).rests_ms == rests_ms


def test_a_kind_of_attachment_that_no_model_can_name():
    """It is a bug of who says so, not of the request."""
    with pytest.raises(KeyError):
        weighed(Need(1, 1, frozenset({"smell"})))


def test_an_ability_comes_before_the_floor_and_rest_comes_last():
    """The last filter that a candidate came to says how near it was, so the order of their names is that of asking."""
    assert list(Filter) == ["tools", "streaming", "attachments", "stored", "context", "floor", "cost", "resting"]

"""Any target and request, for what must hold of all; and what may be chosen, said once more in other words."""

import attrs
from hypothesis import strategies as st

from ainf.inference.usage import Usage
from ainf.metering import MeterRatios
from ainf.pricing import Price, Tier, cost
from ainf.routing.decision import Need, Seen
from ainf.routing.hint import Hint
from ainf.routing.ruleset import Quality, RatedModel, Rules, Ruleset

kinds = st.frozensets(st.sampled_from(["image", "audio", "video", "file"]))
thousandths = st.integers(0, 1000)
few_thousandths = st.sampled_from([0, 400, 500, 600, 850, 1000])
rates = st.sampled_from([0, 1, 50_000_000, 60_000_000, 10**10])
tasks = st.sampled_from([None, "code", "prose"])


@st.composite
def prices(draw):
    tiers = ()
    if draw(st.booleans()):
        tier = Tier(
            above=draw(st.integers(1, 2_000)), input=draw(rates), cached_input=0, output=draw(rates), reasoning=0
        )
        tiers = (tier,)
    return Price(draw(rates), 0, draw(rates), 0, request=draw(st.integers(0, 3)), tiers=tiers)


@st.composite
def markets(draw):
    """A ruleset of a few models, and how they are seen."""
    models, seen = [], {}
    for name in draw(st.lists(st.sampled_from("abcdef"), unique=True)):
        named = draw(st.dictionaries(st.sampled_from(["code", "prose"]), few_thousandths))
        models.append(
            RatedModel(
                name=name,
                provider=draw(st.sampled_from(["one", "two"])),
                quality=Quality(draw(few_thousandths), tuple(named.items())),
                context_tokens=draw(st.none() | st.integers(1, 2_000)),
                attachments=draw(kinds),
                tools=draw(st.booleans()),
                streams=draw(st.booleans()),
                max_output_tokens=draw(st.integers(1, 1_000)),
                latency_ms=draw(st.none() | st.integers(0, 3)),
            )
        )
        seen[name] = Seen(
            price=draw(prices()),
            ratios=MeterRatios(draw(st.integers(1_000, 5_000)), 1_000, image_tokens=draw(st.integers(0, 500))),
            allowed=draw(st.sampled_from([True, True, True, False])),
            rests_s=draw(st.none() | st.none() | st.floats(0, 400)),
            quality=draw(st.none() | few_thousandths),
            observations=draw(st.integers(0, 9)),
            latency_ms=draw(st.none() | st.integers(0, 3)),
        )
    rules = Rules(preference_live=draw(st.booleans()), learning=draw(st.booleans()))
    return Ruleset("t", draw(few_thousandths), models, rules), seen


needs = st.builds(
    Need,
    input_bytes=st.integers(0, 6_000),
    attachment_count=st.integers(0, 2),
    attachments=st.frozensets(st.sampled_from(["image", "file"]), max_size=1),
    has_tools=st.booleans(),
    stream=st.booleans(),
    max_output_tokens=st.none() | st.integers(1, 1_500),
    stored_at=st.sampled_from([None, None, "one"]),
    stored_tokens=st.integers(0, 100),
)
hints = st.builds(
    Hint,
    min_quality=st.none() | few_thousandths,
    max_cost_nusd=st.none() | st.integers(0, 10**8),
    task_type=tasks,
    preference=st.sampled_from([None, "quality", "balanced", "cost", "haste"]),
)


def quality_of(model: RatedModel, seen: Seen, ruleset: Ruleset, hint: Hint) -> int:
    """The quality that counts, said once more."""
    if ruleset.rules.learning and seen.quality is not None:
        return seen.quality
    return dict(model.quality.tasks).get(hint.task_type, model.quality.default)


def can(model: RatedModel, need: Need, input_tokens: int) -> bool:
    """Whether a model is able, said once more."""
    return (
        (model.tools or not need.has_tools)
        and (model.streams or not need.stream)
        and all(kind in model.attachments for kind in need.attachments)
        and need.stored_at in {None, model.provider}
        and (model.context_tokens is None or input_tokens + (need.max_output_tokens or 0) <= model.context_tokens)
    )


def tokens_and_cost(model: RatedModel, seen: Seen, need: Need, rules: Rules) -> tuple[int, int]:
    """What is expected, said once more, with the price's own word for it."""
    tokens = -(-need.input_bytes * 1000 // seen.ratios.input_mean) + need.attachment_count * seen.ratios.image_tokens
    tokens += need.stored_tokens
    limits = (need.max_output_tokens, model.max_output_tokens, rules.expected_output_tokens)
    answer = min(limit for limit in limits if limit is not None)
    return tokens, cost(seen.price, Usage(input_tokens=tokens, output_tokens=answer))


def eligible(ruleset: Ruleset, seen: dict[str, Seen], need: Need, hint: Hint, floor: int) -> dict[str, int]:
    """The models that may be chosen, each with its cost: the law in other words than the code's."""
    found = _good_enough(ruleset, seen, need, hint, floor)
    if found or not ruleset.rules.learning:
        return found
    return _good_enough(
        attrs.evolve(ruleset, rules=attrs.evolve(ruleset.rules, learning=False)), seen, need, hint, floor
    )


def _good_enough(ruleset: Ruleset, seen: dict[str, Seen], need: Need, hint: Hint, floor: int) -> dict[str, int]:
    found = {}
    for model in ruleset.models:
        one = seen[model.name]
        tokens, expected = tokens_and_cost(model, one, need, ruleset.rules)
        if (
            one.allowed
            and one.rests_s is None
            and can(model, need, tokens)
            and quality_of(model, one, ruleset, hint) >= floor
            and (hint.max_cost_nusd is None or expected <= hint.max_cost_nusd)
        ):
            found[model.name] = expected
    return found

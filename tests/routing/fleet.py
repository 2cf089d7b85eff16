"""Five models to choose from, and what a request for them comes to: the ground of the decision tests."""

from collections.abc import Mapping
from typing import Any

import attrs
from msgspec.structs import replace

from ainf.metering import MeterRatios
from ainf.pricing import Price, parse_price
from ainf.routing.decision import Decision, Need, Seen, decide
from ainf.routing.hint import parse_hint
from ainf.routing.ruleset import Quality, RatedModel, Rules, Ruleset

EVERYTHING = frozenset({"image", "audio", "video", "file"})
# A request of 3,000 bytes is 750 tokens, and 500 are expected of an answer.
NEED = Need(3_000)

RATED = {
    # Provider, quality, context, attachments, tools, streams, output limit, latency.
    "nano": ("alpha", Quality(450), 8_000, frozenset(), False, True, 1_024, 200),
    "mini": ("alpha", Quality(600, (("code", 550),)), 128_000, frozenset({"image"}), True, True, 4_096, 300),
    "solo": ("beta", Quality(750, (("prose", 400),)), 32_000, frozenset({"file"}), True, False, 4_096, 900),
    "mid": ("beta", Quality(700, (("code", 860),)), 128_000, frozenset({"image", "file"}), True, True, 8_192, 500),
    "large": ("gamma", Quality(900), None, EVERYTHING, True, True, 8_192, None),
}  # fmt: skip
PRICES = {  # What the request costs, in nano-dollars:
    "nano": ("0.05", "0.20"),  # 137,500
    "mini": ("0.15", "0.60"),  # 412,500
    "solo": ("0.40", "1.60"),  # 1,100,000
    "mid": ("0.50", "2.00"),  # 1,375,000
    "large": ("3.00", "15.00"),  # 9,750,000
}

Changes = Mapping[str, Mapping[str, Any]]
"""Of models, by name."""


def ratios(mean: int, *, image_tokens: int = 1_000) -> MeterRatios:
    return MeterRatios(mean, 2_000, image_tokens)


def price(input_usd: str, output_usd: str, **others: Any) -> Price:
    return parse_price({"input": input_usd, "output": output_usd, **others})


def fleet(only: str = "", changes: Changes | None = None) -> list[RatedModel]:
    """The models, or only some of them, with changes."""
    names = only.split() or list(RATED)
    return [attrs.evolve(RatedModel(name, *RATED[name]), **(changes or {}).get(name, {})) for name in names]


def moment(models: list[RatedModel], changes: Changes | None = None) -> dict[str, Seen]:
    """How they are seen, with changes."""
    changes = changes or {}
    seen = {model.name: Seen(price(*PRICES[model.name]), ratios(4_000)) for model in models}
    return {name: replace(one, **changes.get(name, {})) for name, one in seen.items()}


@attrs.frozen(kw_only=True)
class Case:
    """One question: what stands beside the fleet as it is, for the request as it is."""

    hint: Any = None
    """As a client sends it."""
    need: Mapping[str, Any] = attrs.field(factory=dict)
    floor: int = 500
    rules: Mapping[str, Any] = attrs.field(factory=dict)
    only: str = ""
    """Which models the target has; all if empty."""
    models: Changes = attrs.field(factory=dict)
    seen: Changes = attrs.field(factory=dict)

    def ruleset(self) -> Ruleset:
        return Ruleset("ainf-inference", self.floor, fleet(self.only, self.models), Rules(**self.rules))

    def decide(self) -> Decision:
        models = fleet(self.only, self.models)
        return decide(
            self.ruleset(), replace(NEED, **self.need), parse_hint(self.hint), moment(models, self.seen),
            requested="ainf-auto",
        )  # fmt: skip

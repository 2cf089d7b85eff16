"""A provider whose models answer as the mood takes them: each request draws one, by a seed and its number.

Four models, two at each of two providers, of which one costs but little more than the other. Most answers are good;
some fail before their first content, some behind it, and some come late. None is silent for ever: whether that is told
from a busy machine would be chance too.
"""

import random
from collections.abc import Callable, Iterable, Mapping
from typing import Final

import attrs

from ainf.simulator import Entry, Simulator
from ainf.simulator.answer import Ask
from ainf.simulator.steps import Step
from ainf.simulator.wire import Wire
from tests.gateway.backends import model_table

TOKENS: Final = 200
"""Of a good answer, and the most that is asked for."""
INPUT_TOKENS: Final = 11
LEAST_TOKENS: Final = 1
_SETTINGS: Final = f"""
slice_tokens = 32
min_output_tokens = {LEAST_TOKENS}
metering = "configured"
input_bytes_per_token_low = 4
"""
"""The least of a request is much less than an answer, so that what a cap cannot give any more is little."""


@attrs.frozen
class Fickle:
    """One of the models."""

    name: str
    provider: str
    input_rate: int
    """Nano-dollars of a token."""
    output_rate: int
    quality: str

    @property
    def answer_nusd(self) -> int:
        """What a good answer costs."""
        return TOKENS * self.output_rate + INPUT_TOKENS * self.input_rate

    def table(self) -> str:
        """Its table in the configuration."""
        price = f'{{ input = "{self.input_rate / 1000}", output = "{self.output_rate / 1000}" }}'
        more = f"price = {price}\nquality = {self.quality}\n{_SETTINGS}"
        return model_table(self.name, self.provider, self.name, more)


MODELS: Final[Mapping[str, Fickle]] = {
    model.name: model
    for model in (
        Fickle("small-a", "sim", 1000, 2000, "0.60"),
        Fickle("small-b", "messages", 1100, 2200, "0.60"),
        Fickle("large-a", "sim", 1500, 3000, "0.90"),
        Fickle("large-b", "messages", 2000, 4000, "0.90"),
    )
}
CONFIG: Final = """
[routing]
attempts = 3
hedging = true
breaker_failures = 1000000
[targets.ainf-inference]
models = ["small-*", "large-*"]
[targets.crew]
aliases = ["crew-now"]
models = ["large-*", "small-*"]
min_quality = 0.85
""" + "".join(model.table() for model in MODELS.values())
"""Both targets choose from all four: of ``ainf-inference`` the small ones come first, ``crew`` wants a large one."""

_GOOD: Final = f"sim-tokens-{TOKENS}-per-frame-20-pace-1ms"
_FAIL_FIRST: Final = (
    "sim-error-500", "sim-error-401", "sim-error-404", "sim-overloaded", "sim-html-200", "sim-empty-200",
    "sim-empty-stream", "sim-status-204", "sim-redirect-302", "sim-not-http", "sim-reset-before-head",
    "sim-close-before-head", "sim-reset-after-head", "sim-eof-after-head", "sim-error-first",
)  # fmt: skip
_FAIL_LATER: Final = (f"{_GOOD}-reset-after-40", f"{_GOOD}-error-after-60", f"{_GOOD}-eof-after-20")
_LATE: Final = (f"sim-delay-600ms-tokens-{TOKENS}-per-frame-20", "sim-tokens-80-per-frame-80-pace-8ms")
_MOODS: Final = ((_GOOD,), 63, _FAIL_FIRST, 26, _FAIL_LATER, 3, _LATE, 8)


def _ignore(entry: Entry) -> None:
    """Look at nothing."""


class FickleSimulator(Simulator):
    """The provider of the models.

    Args:
        seed: what the moods are drawn by.
        on_call: told of each request for a model, before anything is answered.
    """

    def __init__(self, seed: int, on_call: Callable[[Entry], None] = _ignore) -> None:
        super().__init__(seed=seed)
        self.on_call = on_call
        self._own_seed = seed

    def _answer(self, wire: Wire, ask: Ask, entry: Entry, headers: Mapping[str, str]) -> Iterable[Step]:
        self.on_call(entry)
        if ask.model not in MODELS:
            return super()._answer(wire, ask, entry, headers)
        return super()._answer(wire, attrs.evolve(ask, model=self.mood(entry.number)), entry, headers)

    def mood(self, number: int) -> str:
        """Return how the request of a number is answered."""
        chance = random.Random(f"{self._own_seed}-{number}")
        (kind,) = chance.choices(_MOODS[::2], _MOODS[1::2])
        return chance.choice(kind)

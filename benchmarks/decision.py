"""What a routing decision costs: CPU of one core, in us, for a target of 50 models.

    python -m benchmarks.decision [--models 50]

``decided`` is what an exchange needs to go on: the models in order. ``recorded`` adds the record that its opening
stores. ``seen`` is beside them: to say of each model what it is at this moment, which a caller may keep for longer than
one request. Each figure is the best of many runs, for a process that is interrupted only gets slower.
"""

import argparse
import time
from collections.abc import Callable

from ainf.metering import MeterRatios
from ainf.pricing import Price, parse_price
from ainf.routing.decision import Decision, Need, Seen, decide
from ainf.routing.hint import parse_hint
from ainf.routing.ruleset import Quality, RatedModel, Rules, Ruleset
from benchmarks.report import yardstick_ms

TARGET_US = 50
RUNS, TIMES = 40, 500

HINT = parse_hint({"min_quality": "good", "max_cost": "1", "task_type": "code", "routing_preference": "balanced"})
NEED = Need(12_000, has_tools=True, stream=True, max_output_tokens=4_096)


def fleet(count: int) -> list[RatedModel]:
    """Return models of which all can be chosen: the most work for a decision."""
    return [
        RatedModel(
            f"vendor/model-{number}", f"provider-{number % 5}", Quality(600 + number % 300, (("code", 700),)), 200_000,
            frozenset({"image", "file"}), tools=True, streams=True, max_output_tokens=8_192, latency_ms=300 + number,
        )
        for number in range(count)
    ]  # fmt: skip


def moment(models: list[RatedModel], prices: list[Price], ratios: list[MeterRatios]) -> dict[str, Seen]:
    """Return what the models are at this moment, no two alike."""
    return {
        model.name: Seen(price, ratio, allowed=True, rests_s=None, quality=650, observations=40, latency_ms=400)
        for model, price, ratio in zip(models, prices, ratios, strict=True)
    }


def best_us(work: Callable[[], object]) -> float:
    """Return the CPU time of one call, the best of many runs."""
    least = float("inf")
    for _ in range(RUNS):
        began = time.process_time_ns()
        for _ in range(TIMES):
            work()
        least = min(least, (time.process_time_ns() - began) / TIMES / 1_000)
    return least


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.decision")
    parser.add_argument("--models", type=int, default=50)
    count: int = parser.parse_args().models
    models = fleet(count)
    # Dear and cheap ones mixed, so that there is something to sort.
    prices = [parse_price({"input": f"{1 + n * 37 % 50}", "output": f"{5 + n * 13 % 50}"}) for n in range(count)]
    ratios = [MeterRatios(4_000 + n, 2_000) for n in range(count)]
    seen = moment(models, prices, ratios)
    ruleset = Ruleset("ainf-inference", 500, models)
    learning = Ruleset("ainf-inference", 500, models, Rules(learning=True))

    def made(by: Ruleset = ruleset) -> Decision:
        return decide(by, NEED, HINT, seen, requested="ainf-auto")

    assert len(made().ranked) == count, "a model that falls is less work"
    print(f"{count} candidates, us of CPU (target: {TARGET_US} for 50), best of {RUNS}:")
    print(f"{'decided':24}{best_us(made):8.1f}")
    print(f"{'decided and recorded':24}{best_us(lambda: made().record()):8.1f}  {len(made().record()):,} bytes")
    print(f"{'decided, learning on':24}{best_us(lambda: made(learning)):8.1f}")
    print(f"{'seen':24}{best_us(lambda: moment(models, prices, ratios)):8.1f}")
    print(f"Yardstick of the machine: {yardstick_ms():.1f} ms of Python.")


if __name__ == "__main__":
    main()

"""What it costs to have a model chosen: the gateway's CPU for a small request, pinned and routed, side by side.

    python -m benchmarks.routing [--rounds 5] [--count 600]

Every round makes the same requests pinned, then routed to targets of 3 and of 50 models, all of which could answer;
the ratio is that of one round. Streams are measured with hedging off and on (where every request waits for its first
content beside a clock, and none is late). Absolute figures are as ``python -m benchmarks`` has them: one pinned core.
"""

import argparse
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Final

import attrs

from benchmarks.report import median, yardstick_ms
from benchmarks.rig import CHAT_PROVIDER, SHORT, running_rig
from benchmarks.workloads import Cost

CONNECTIONS: Final = 16
SIZES: Final = (3, 50)
_US: Final = 1e6
_MODEL: Final = """
[models.{kind}-{number:02}]
provider = "{provider}"
upstream_model = "{upstream_model}"
max_output_tokens = 4096
price = {{ input = "0.15", output = "{output}" }}
"""
_TARGET: Final = """
[targets.{provider}-{kind}-of-{size}]
models = [{models}]
"""
_KINDS: Final = {"whole": "bench-json", "stream": "sim-tokens-8-burst"}
_PINNED: Final = {"whole": "bench-json", "stream": SHORT}


def tables(*, hedging: bool) -> str:
    """Return the models and targets to choose from, no two models at the same price."""
    text = f"[routing]\nhedging = {str(hedging).lower()}\n"
    for kind, upstream_model in _KINDS.items():
        text += "".join(
            _MODEL.format(
                kind=kind, number=number, provider=CHAT_PROVIDER, upstream_model=upstream_model,
                output=f"0.{60 + number * 37 % 50 // 2}{number:02}",
            )
            for number in range(max(SIZES))
        )  # fmt: skip
        for size in SIZES:
            names = ", ".join(f'"{kind}-{number:02}"' for number in range(size))
            text += _TARGET.format(provider=CHAT_PROVIDER, kind=kind, size=size, models=names)
    return text


def costs_of(kind: str) -> dict[str, Cost]:
    """Return what is measured of a kind of request, pinned first."""
    stream = kind == "stream"
    models = {"pinned": _PINNED[kind]} | {f"routed, {size} models": f"{kind}-of-{size}" for size in SIZES}
    return {name: Cost(name, model, stream, CONNECTIONS, 0, "us/request", None) for name, model in models.items()}


@attrs.frozen
class Figure:
    """One row: CPU in us for each request, and beside the pinned one of the same round."""

    name: str
    each_us: list[float]
    ratios: list[float]

    def line(self) -> str:
        """Return it as a row of the table."""
        spread = f"{min(self.ratios):.2f} to {max(self.ratios):.2f}"
        return f"{self.name:42}{median(self.each_us):10,.0f}{median(self.ratios):9.2f}  {spread}"


def measure(kind: str, rounds: int, count: int, *, hedging: bool) -> Iterator[Figure]:
    """Measure a kind of request on a rig of its own."""
    costs = costs_of(kind)
    each: dict[str, list[float]] = {name: [] for name in costs}
    with running_rig(pinned=True, more=tables(hedging=hedging)) as rig, ExitStack() as stack:
        loads = {name: stack.enter_context(cost.load(rig)) for name, cost in costs.items()}
        for name, cost in costs.items():
            cost.warm_up(rig, loads[name])
        for _ in range(rounds):
            for name, cost in costs.items():
                run = cost.run(rig, loads[name], count)
                each[name].append(run.gateway_cpu_s / count * _US)
    for name, found in each.items():
        ratios = [one / pinned for one, pinned in zip(found, each["pinned"], strict=True)]
        yield Figure(f"{kind}, hedging on: {name}" if hedging else f"{kind}: {name}", found, ratios)


def main() -> None:
    """Print the figures; exit with an error at the first failed answer or inexact ledger."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.routing")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--count", type=int, default=600, help="requests of each sort in a round")
    arguments = parser.parse_args()
    print(f"{'':42}{'us each':>10}{'ratio':>9}  of {arguments.rounds} rounds")
    for kind, hedging in (("whole", False), ("stream", False), ("stream", True)):
        for figure in measure(kind, arguments.rounds, arguments.count, hedging=hedging):
            print(figure.line(), flush=True)
    print(f"Yardstick of the machine: {yardstick_ms():.1f} ms of Python.")


if __name__ == "__main__":
    main()

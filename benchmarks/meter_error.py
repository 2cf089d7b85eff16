"""How far the meter is off, before and after it has learnt: output, estimates of input, bounds of input.

    python -m benchmarks.meter_error [--requests N]

A gateway, a simulated provider and a client in one process, over loopback. The provider says real text with a real
tokenizer's tokens (``ainf.simulator.passages``), cut at 20 to 300 tokens; requests hold one or three passages. The
meter learns from answers that are cut out of half of the passages, with their usage reported; then the other half is
asked for of a provider that reports none, so that every count that is settled is the meter's own, and compared with
what the provider's books say. Nothing that is measured was learnt from.
"""

import argparse
import json
import random
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from io import StringIO
from pathlib import Path

import attrs
import httpx
import trio

from ainf.app import RunningGateway, running_gateway, wall_clock
from ainf.config import load_config
from ainf.metering import MeterRatios, input_bound
from ainf.simulator import Simulator
from ainf.simulator.passages import TextKind, passage_texts
from ainf.store import admin
from ainf.telemetry import Telemetry

MIXED = "mixed"
TEXTS = (*map(str, TextKind), MIXED)
CONFIGURED = MeterRatios(mean=4000, low=2000)
TOKENS = (20, 300)
AT_ONCE = 4

_CONFIG = """
[server]
bind = ["127.0.0.1:0"]
drain_s = 0
[store]
url = "sqlite:ainf.db"
[providers.sim]
format = "openai-compatible"
base_url = "{base_url}"
"""
_MODEL = """
[models.{name}]
provider = "sim"
upstream_model = "{upstream_model}"
max_output_tokens = 4096
metering = "{metering}"
price = "free"
"""


@attrs.frozen
class Count:
    """One request: what was counted, and what is true."""

    metered_output: int
    output: int
    estimated_input: int
    bound_input: int
    input: int


@attrs.frozen
class Figures:
    """The errors of many counts; all are parts of what is true."""

    output_error: float
    """The mean of the single errors, whichever their sign."""
    output_bias: float
    """The error of the sum: above 0, too much was counted."""
    input_error: float
    input_bias: float
    bound_times: float
    """How many times their tokens inputs were bounded at."""
    too_low: float
    """How many of the bounds were too low."""
    worst: float
    """By how much of the bound, at most."""


def figures(counts: Sequence[Count]) -> Figures:
    """Return the errors of counts."""
    outputs = [(count.metered_output, count.output) for count in counts]
    inputs = [(count.estimated_input, count.input) for count in counts]
    short = [count.input / count.bound_input - 1 for count in counts if count.input > count.bound_input]
    return Figures(
        output_error=_mean_error(outputs),
        output_bias=_bias(outputs),
        input_error=_mean_error(inputs),
        input_bias=_bias(inputs),
        bound_times=1 + _bias([(count.bound_input, count.input) for count in counts]),
        too_low=len(short) / len(counts),
        worst=max(short, default=0.0),
    )


def _mean_error(pairs: Sequence[tuple[int, int]]) -> float:
    return sum(abs(counted - true) / true for counted, true in pairs) / len(pairs)


def _bias(pairs: Sequence[tuple[int, int]]) -> float:
    return sum(counted for counted, _ in pairs) / sum(true for _, true in pairs) - 1


@attrs.define
class Bench:
    """A gateway with a model of each text to learn from, and one to try what was learnt on."""

    running: RunningGateway
    simulator: Simulator
    client: httpx.AsyncClient
    chance: random.Random

    async def learn(self, text: str, requests: int) -> MeterRatios:
        """Ask for one half of the texts, with usage; return the ratios that were learnt."""
        await self._ask(f"{text}-learnt", text, 0, requests)
        return self.running.gateway.services.calibrator.known(f"{text}-learnt").ratios(CONFIGURED)

    async def try_on(self, text: str, ratios: MeterRatios, requests: int) -> Figures:
        """Ask for the other half, without usage; return how far the meter was off with these ratios."""
        model = f"{text}-held-out"
        self.running.gateway.recalibrate({model: ratios})
        sizes = await self._ask(model, text, 1, requests)
        rows = await self.running.store.read(
            lambda tx: tx.execute("SELECT inference_id, input_tokens, output_tokens, evidence FROM settlements")
        )
        settled = {row[0]: row[1:] for row in rows}
        true = {entry.headers["x-client-request-id"]: entry for entry in self.simulator.books.entries}
        counts = []
        for inference_id, size in sizes.items():
            estimate, metered, evidence = settled[inference_id]
            assert evidence == "metered", evidence
            entry, bound = true[inference_id], input_bound(size, 0, ratios)
            counts.append(Count(metered, entry.output_tokens, estimate, bound, entry.input_tokens))
        return figures(counts)

    async def _ask(self, model: str, text: str, half: int, requests: int) -> Mapping[str, int]:
        """Return the sizes of the bodies of so many requests, by inference id."""
        sizes: dict[str, int] = {}
        left = [self._body(model, text, half) for _ in range(requests)]

        async def work() -> None:
            while left:
                body = left.pop()
                answer = await self.client.post("/v1/chat/completions", content=body)
                assert answer.status_code == 200, answer.text
                sizes[answer.headers["x-ainf-inference-id"]] = len(body)

        async with trio.open_nursery() as nursery:
            for _ in range(AT_ONCE):
                nursery.start_soon(work)
        return sizes

    def _body(self, model: str, text: str, half: int) -> bytes:
        kind = self.chance.choice(list(TextKind)) if text == MIXED else TextKind(text)
        said = self.chance.choices(passage_texts(kind)[half::2], k=self.chance.choice((1, 3)))
        messages = [
            {"role": "assistant" if place % 2 else "user", "content": passage} for place, passage in enumerate(said)
        ]
        limit = self.chance.randint(*TOKENS)
        body = {"model": model, "stream": True, "max_tokens": limit, "messages": messages}
        return json.dumps(body, ensure_ascii=False).encode()


@asynccontextmanager
async def bench(texts: Sequence[str] = TEXTS, *, seed: int = 0) -> AsyncIterator[Bench]:
    """Run a bench around a block."""
    simulator = Simulator(seed=seed)
    async with trio.open_nursery() as nursery:
        base_url = await nursery.start(simulator.serve)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "ainf.toml"
            path.write_text(_CONFIG.format(base_url=base_url) + "".join(map(_models, texts)))
            async with running_gateway(load_config(path, {}), Telemetry(StringIO())) as running:
                headers = {"authorization": f"Bearer {await _key(running)}", "content-type": "application/json"}
                async with httpx.AsyncClient(base_url=running.url, headers=headers, trust_env=False) as client:
                    yield Bench(running, simulator, client, random.Random(seed))
        nursery.cancel_scope.cancel()


def _models(text: str) -> str:
    said = f"sim-text-{text}-tokens-{TOKENS[1]}"
    learnt = _MODEL.format(name=f"{text}-learnt", upstream_model=f"{said}-evens", metering="calibrated")
    held_out = f"{said}-odds-no-usage"
    return learnt + _MODEL.format(name=f"{text}-held-out", upstream_model=held_out, metering="configured")


async def _key(running: RunningGateway) -> str:
    key, at = admin.key_text("k0000000", b"k" * 32), wall_clock()
    await running.store.write(
        lambda tx: admin.create_account(tx, account_id="acc_bench", name="bench", parent=None, at=at)
    )
    await running.store.write(
        lambda tx: admin.create_key(
            tx, key_id="k0000000", digest=admin.digest_of(key), account="bench", rights=admin.KeyRights(), at=at
        )
    )
    return key


_HEAD = (
    f"{'':10}{'':14}{'bytes a token':>17}{'output off by':>17}{'input off by':>17}{'input bounds':>29}\n"
    f"{'text':10}{'learnt from':14}{'out':>6}{'in':>5}{'low':>6}{'each':>8}{'sum':>9}{'each':>8}{'sum':>9}"
    f"{'times':>9}{'too low':>10}{'by up to':>10}"
)


def _line(text: str, source: str, ratios: MeterRatios, found: Figures) -> str:
    bytes_a_token = f"{ratios.mean / 1000:6.2f}{ratios.input_mean / 1000:5.2f}{ratios.low / 1000:6.2f}"
    errors = f"{found.output_error:8.1%}{found.output_bias:+9.1%}{found.input_error:8.1%}{found.input_bias:+9.1%}"
    bounds = f"{found.bound_times:9.2f}{found.too_low:10.1%}{found.worst:10.1%}"
    return f"{text:10}{source:14}{bytes_a_token}{errors}{bounds}"


async def main(requests: int) -> None:
    """Measure everything, and print it as it comes."""
    print(
        f"{requests} requests each, of real text cut by a real tokenizer (o200k_base), answers of 20 to 300 tokens.\n"
        "Learnt from every other passage, tried on the others, without usage: every count is the meter's own.\n"
        "Off by: of each count (the mean, whichever its sign), and of the sum of all; bounds: times what was read.\n"
    )
    print(_HEAD)
    async with bench() as running:
        learnt = {text: await running.learn(text, requests) for text in TEXTS}
        for text in TEXTS:
            sources = {"nothing": CONFIGURED, text: learnt[text], MIXED: learnt[MIXED]}
            for source, ratios in sources.items():
                print(_line(text, source, ratios, await running.try_on(text, ratios, requests)), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.meter_error",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--requests", type=int, default=300, metavar="N", help="of each row; 300 if left out")
    trio.run(main, parser.parse_args().requests)

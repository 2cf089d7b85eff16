"""One small call to a provider, against the simulator on a loopback port, in each of the four wire formats."""

import json
from contextlib import asynccontextmanager
from functools import partial

import attrs
import pytest
import trio

from ainf.cli.live import Difference, _is_same, check_live
from ainf.cli.settings import CommandError
from ainf.config import load_config
from ainf.simulator import Script, Simulator, chunk, head, last_chunk

KEY = "sk-canary-4711"
FORMATS = {"openai-compatible": "/v1", "anthropic": "/v1", "openai-responses": "/v1", "gemini": "/v1beta"}
CONFIG = """\
[store]
url = "sqlite:books.db"
[providers.main]
format = "{vendor}"
base_url = "{base_url}"
api_key_env = "KEY"
[models.vectors]
provider = "main"
kind = "embeddings"
price = "free"
[models.asked]
provider = "main"
upstream_model = "{model}"
max_output_tokens = 4096
hidden_reasoning = "never"
price = "free"
{more}
[providers.bare]
format = "vllm"
base_url = "http://127.0.0.1:9"
"""


@asynccontextmanager
async def simulated(vendor="openai-compatible", api_key=KEY):
    """A simulator that listens; gives it and its base URL for a vendor."""
    simulator = Simulator(api_key=api_key)
    async with trio.open_nursery() as nursery:
        await nursery.start(simulator.serve)
        yield simulator, simulator.origin + FORMATS[vendor]
        nursery.cancel_scope.cancel()


def config_of(tmp_path, base_url, model="sim", vendor="openai-compatible", more=""):
    path = tmp_path / "ainf.toml"
    path.write_text(CONFIG.format(vendor=vendor, base_url=base_url, model=model, more=more))
    return load_config(path, {"KEY": KEY})


async def report_of(tmp_path, model="sim", vendor="openai-compatible", *, more="", api_key=KEY):
    async with simulated(vendor, api_key) as (_, base_url):
        return await check_live(config_of(tmp_path, base_url, model, vendor, more), "main", None)


def facts(report):
    return [difference.fact for difference in report.differences]


@pytest.mark.parametrize("vendor", FORMATS)
async def test_as_declared(tmp_path, vendor):
    """A provider that does what is declared shows no difference, in any format; one call was made, with a tool."""
    async with simulated(vendor) as (simulator, base_url):
        report = await check_live(config_of(tmp_path, base_url, vendor=vendor), "main", None)
    (entry,) = simulator.books.entries
    assert report.differences == ()
    assert (report.provider, report.model, report.upstream_model, report.answered_as) == ("main", "asked", "sim", "sim")
    assert report.usage.output_tokens == entry.output_tokens
    assert (entry.stream, entry.max_tokens) == (True, 128)
    assert [path.name for path in tmp_path.iterdir()] == ["ainf.toml"]


@pytest.mark.parametrize("vendor", FORMATS)
@pytest.mark.parametrize(
    ("model", "difference"),
    [
        ("sim-json-for-sse", Difference("streaming", "native", "a whole answer")),
        ("sim-no-usage", Difference("reports_usage", "true", "not told")),
        ("sim-hidden-reasoning-90", Difference("hidden_reasoning", "never", "at least 90 tokens that were not shown")),
    ],
)
async def test_other_than_declared(tmp_path, vendor, model, difference):
    """Each fact that shows itself otherwise is told."""
    assert difference.fact in facts(await report_of(tmp_path, model, vendor))


@pytest.mark.parametrize("vendor", FORMATS)
@pytest.mark.parametrize(
    ("model", "fact"),
    [
        ("sim-no-tools", "tools"),
        ("sim-no-stream", "streaming"),
        ("sim-error-401", "authentication"),
        ("sim-error-429", "the call"),
        ("sim-reset-before-head", "the call"),
        ("sim-eof-after-2", "the call"),
        ("sim-error-after-2", "the call"),
        ("sim-html-200", "the call"),
        ("sim-empty-200", "the call"),
    ],
)
async def test_calls_that_fail(tmp_path, vendor, model, fact):
    """A call that fails is one difference, by what it failed of, in the words that clients would get."""
    report = await report_of(tmp_path, model, vendor)
    assert facts(report) == [fact]
    assert report.differences[0].found.startswith(("upstream_", "context_"))


@pytest.mark.parametrize("vendor", FORMATS)
async def test_a_wrong_key(tmp_path, vendor):
    """It is told as what it is, and stands nowhere in the report."""
    report = await report_of(tmp_path, vendor=vendor, api_key="another")
    assert facts(report) == ["authentication"]
    assert KEY not in repr(report)


@pytest.mark.parametrize(
    ("model", "more", "expected"),
    [
        ("sim-no-tools", "tools = false", []),
        ("sim-no-stream", 'streaming = "wrap"', []),
        ("sim-no-stream", 'streaming = "reject"', []),
        ("sim-no-usage", "reports_usage = false", []),
        ("sim-usage-always", "reports_usage = false", ["reports_usage"]),
        ("sim-usage-negative", "", ["reports_usage"]),
        ("sim-sse-for-json-usage-always", 'streaming = "wrap"', ["streaming"]),
        ("sim-reasoning-30", "", []),
    ],
)
async def test_what_is_configured_is_what_is_declared(tmp_path, model, more, expected):
    """The model's own settings come before the vendor's facts."""
    assert facts(await report_of(tmp_path, model, more=more)) == expected


@pytest.mark.parametrize(("declared", "expected"), [("asked", ["hidden_reasoning"]), ("always", [])])
async def test_reasoning_that_may_be_hidden(tmp_path, declared, expected):
    """Always is a careful word that nothing contradicts; reasoning unasked is."""
    async with simulated() as (_, base_url):
        config = config_of(tmp_path, base_url, "sim-hidden-reasoning-90")
        model = attrs.evolve(config.models["asked"], hidden_reasoning=declared)
        report = await check_live(attrs.evolve(config, models={"asked": model}), "main", None)
    assert facts(report) == expected


@pytest.mark.parametrize(
    ("asked", "answered", "is_same"),
    [
        ("gpt-9-mini", "gpt-9-mini-2027-01-01", True),
        ("mistral-large-latest", "mistral-large-2512", True),
        ("models/gemini-9", "gemini-9", True),
        ("anthropic/claude-x", "claude-x-20270101", True),
        ("Qwen/Qwen9", "qwen9", True),
        ("gpt-9", "llama-9", False),
    ],
)
def test_names_of_models(asked, answered, is_same):
    """A dated name, or one without its maker, is the same model."""
    assert _is_same(asked, answered) is is_same


async def test_another_model_answers(tmp_path):
    """Who asks for one model and is answered by another is told."""
    script = chunked_answer(
        b'data: {"id":"1","model":"llama-9","choices":[{"index":0,"delta":{"content":"Hi"},'
        b'"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":1}}\n\n'
    )
    async with simulated() as (simulator, base_url):
        simulator.set_script(script)
        report = await check_live(config_of(tmp_path, base_url), "main", None)
    assert report.differences == (Difference("upstream_model", "sim", "llama-9"),)


def chunked_answer(frames):
    return Script([head(), chunk(frames), last_chunk()])


async def test_silence_ends(tmp_path):
    """A provider that says nothing for long has failed."""
    report = await report_of(tmp_path, "sim-stall-after-2", more="exchange_s = 0.2")
    assert report.differences == (Difference("the call", "answered", "upstream_timeout: The provider took too long."),)


@pytest.mark.parametrize(
    ("provider", "model", "said"),
    [
        ("none", None, "no provider 'none' is configured; known are main, bare"),
        ("bare", None, "no model for text is configured for the provider 'bare'"),
        ("main", "vectors", "the provider 'main' has no model 'vectors' for text: asked"),
        ("main", "nothing", "the provider 'main' has no model 'nothing' for text: asked"),
    ],
)
async def test_nothing_to_ask(tmp_path, provider, model, said):
    """A name that is none is told with those that there are."""
    with pytest.raises(CommandError) as caught:
        await check_live(config_of(tmp_path, "http://127.0.0.1:9/v1"), provider, model)
    assert caught.value.message == said


async def test_nobody_listens(tmp_path):
    """A provider that cannot be reached is a difference like any other."""
    report = await check_live(config_of(tmp_path, "http://127.0.0.1:9/v1"), "main", "asked")
    assert facts(report) == ["the call"]
    assert report.differences[0].found.startswith("upstream_unreachable")


def test_the_command(commands):
    """It prints what it found, as text or JSON, without the key; exit status 1 tells that something differs."""
    results = []

    async def run():
        async with simulated(api_key=None) as (_, base_url):
            text = commands.config.read_text().replace("https://api.openai.com/v1", base_url)
            text = text.replace('"tiny"', '"sim-no-usage"')
            commands.config.write_text(text.replace("[models.small]", '[models.small]\nupstream_model = "sim"'))
            for arguments in ([], ["--model", "gratis"], ["--model", "gratis", "--json"]):
                check = partial(commands.invoke, "check", "--live", "openai", *arguments, env={"OPENAI_API_KEY": KEY})
                results.append(await trio.to_thread.run_sync(check))

    trio.run(run)
    good, bad, as_json = results
    assert [result.exit_code for result in results] == [0, 1, 1]
    first, *_, last = good.stdout.splitlines()
    assert first == "one small call to openai, model small; the provider bills it, the ledger does not"
    assert last == "nothing that it showed is other than declared"
    assert bad.stdout.splitlines()[-1].split() == ["reports_usage", "true", "not", "told"]
    differences = json.loads(as_json.stdout)["differences"]
    assert differences == [{"fact": "reports_usage", "declared": "true", "found": "not told"}]
    assert all(KEY not in result.output for result in results)


def test_a_model_belongs_to_a_call(commands):
    """Without a provider to call, naming a model is misuse."""
    assert "--model belongs to --live PROVIDER." in commands.refused("check", "--model", "small", status=2)

"""``ainf routing``."""

import re

import pytest

from ainf.inference.money import format_usd
from ainf.pricing import cost
from ainf.routing.ruleset import ruleset_hash
from tests.store.books import Books
from tests.store.routed import PRICES, USAGE, Routed, decision

SINCE = ("--since", "2023-11-01")
SMALL, LARGE = (format_usd(cost(PRICES[name], USAGE)) for name in ("small", "large"))
AT = "2023-11-14T22:13:20Z"
TARGETS = """
[models.code]
provider = "openai"
max_output_tokens = 8192
quality = { default = 0.45, code = 0.9, law = 0.875 }
context_tokens = 200000
latency_ms = 300
attachments = ["image"]
tools = false
price = "free"
[targets.coders]
aliases = ["coder"]
models = ["code", "small"]
min_quality = 0.6
"""


@pytest.fixture
def commands(commands):
    """Books with an answered, a fallen back and a refused request."""
    books = Books(commands.folder)
    routed = Routed(books)
    commands.key = routed.key
    commands.ids = [routed.answered(decision(requested="fleet-auto")), routed.fallen_back()]
    routed.refused()
    books.engine.close()
    commands.config.write_text(commands.config.read_text().replace("books.db", "ainf.db"))
    return commands


def cells(text):
    return [re.split(r" {2,}", line.strip()) for line in text.splitlines()]


def test_outcomes(commands):
    """Each routed request, the newest last, with dashes for what it never had; then the sums by status."""
    listed, sums = commands.run("routing", "outcomes", *SINCE).split("\n\n")
    head, *rows = cells(listed)
    assert head == [
        "outcome", "inference", "at", "account", "key", "asked for", "target", "status", "code", "model", "provider",
        "attempts", "first ms", "cost $",
    ]  # fmt: skip
    key = commands.key
    assert rows == [
        ["1", commands.ids[0], AT, "agents", key, "fleet-auto", "fleet", "succeeded", "-", "small", "small-vendor", "1",
         "123", SMALL],
        ["2", commands.ids[1], AT, "agents", key, "fleet", "fleet", "fell_back", "-", "large", "large-vendor", "2",
         "123", LARGE],
        ["3", "-", AT, "agents", key, "fleet-auto", "fleet", "rejected_floor", "no_candidate", "-", "-", "0", "-", "0"],
    ]  # fmt: skip
    total = format_usd(cost(PRICES["small"], USAGE) + cost(PRICES["large"], USAGE))
    assert cells(sums) == [
        ["status", "requests", "attempts", "cost $"],
        ["fell_back", "1", "2", LARGE],
        ["rejected_floor", "1", "0", "0"],
        ["succeeded", "1", "1", SMALL],
        ["total", "3", "3", total],
    ]


def test_some_outcomes(commands):
    """By status and target; where some are not listed, that is said."""
    told = commands.run("routing", "outcomes", *SINCE, "--status", "fell_back", "--target", "fleet")
    assert [row[0] for row in cells(told)] == ["outcome", "2", "", "status", "fell_back", "total"]
    told = commands.run("routing", "outcomes", *SINCE, "--target", "fleet-auto", "--most", "1")
    assert told.endswith("\nThe newest 1 are listed, 1 are not: ask for more with --most.\n")
    assert commands.run("routing", "outcomes", "--since", "1h").startswith("Nothing routed since ")
    assert "'sweet' is not one of" in commands.refused("routing", "outcomes", "--status", "sweet", status=2)
    assert "--since must be before" in commands.refused("routing", "outcomes", "--since", "2999-01-01", status=2)


def test_outcomes_for_programs(commands):
    """The same as JSON, amounts in nano-dollars."""
    told = commands.json("routing", "outcomes", *SINCE, "--until", "2023-12-01")
    assert (told["since"], told["until"]) == ("2023-11-01T00:00:00.000000Z", "2023-12-01T00:00:00.000000Z")
    assert [each["inference_id"] for each in told["outcomes"]] == [*commands.ids, None]
    assert told["outcomes"][0].items() >= {"at": "2023-11-14T22:13:20.004000Z", "stream": True}.items()
    assert told["statuses"][0] == {
        "status": "fell_back",
        "requests": 1,
        "attempts": 2,
        "cost_nusd": cost(PRICES["large"], USAGE),
    }
    assert told["totals"].items() >= {"requests": 3, "attempts": 3}.items()
    assert "status" not in told["totals"]


def test_rules(commands):
    """What each target of the configuration chooses from, and by what; models below its floor are marked."""
    commands.config.write_text(commands.config.read_text() + TARGETS)
    targets, models, rules = map(cells, commands.run("routing", "rules").split("\n\n"))
    assert targets[0] == ["target", "also called", "floor", "ruleset"]
    said = {row[0]: row[1:] for row in targets[1:]}
    assert said["coders"][:2] == ["coder", "0.6"]
    assert said["ainf-inference"][:2] == ["ainf-mithril, ainf-auto, ainf/auto", "0.5"]
    assert models[0] == [
        "target", "model", "provider", "quality", "by task", "floor", "context", "tools", "streams", "attachments",
        "latency ms",
    ]  # fmt: skip
    assert [row[1:] for row in models if row[0] == "coders"] == [
        ["code", "openai", "0.45", "code 0.9, law 0.875", "below", "200000", "no", "yes", "image", "300"],
        ["small", "openai", "0.5", "-", "below", "-", "yes", "yes", "audio, file, image, video", "-"],
    ]
    assert ["preference_live", "false"] in rules
    assert ["expected_output_tokens", "500"] in rules


def test_rules_for_programs(commands):
    """The rulesets under the hashes that decisions name."""
    commands.config.write_text(commands.config.read_text() + TARGETS)
    told = {each["target"]: each for each in commands.json("routing", "rules")}
    assert told["coders"]["aliases"] == ["coder"]
    assert told["coders"]["ruleset"].startswith("rules_")
    assert told["coders"]["rules"]["floor"] == 600
    assert [model["name"] for model in told["coders"]["rules"]["models"]] == ["code", "small"]


def test_no_rules(commands):
    """Where no model of texts is configured there is nothing to choose from."""
    text = commands.config.read_text()
    commands.config.write_text(text[: text.index("[models.small]")] + EMBEDDER)
    assert commands.run("routing", "rules") == "There is no routing target, since no model of texts is configured.\n"
    assert commands.json("routing", "rules") == []


EMBEDDER = """
[models.vectors]
provider = "openai"
kind = "embeddings"
price = "free"
"""


def test_an_explanation(commands):
    """Of an inference or of an outcome; what is neither is refused."""
    by_inference = commands.run("routing", "explain", commands.ids[1])
    assert by_inference == commands.run("routing", "explain", "2")
    assert commands.json("routing", "explain", "2")["inference_id"] == commands.ids[1]
    (printed,) = re.findall(r"^ruleset +(rules_\w+)$", by_inference, re.MULTILINE)
    shown = commands.run("routing", "explain", "2", "--ruleset")
    assert shown.startswith(by_inference)
    body = re.sub(r"\s", "", shown.removeprefix(by_inference))
    assert ruleset_hash(body) == printed
    assert commands.refused("routing", "explain", "inf_none") == "there is no inference or outcome 'inf_none'"

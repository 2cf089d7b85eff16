"""How an explanation of a routed request reads."""

import re

import pytest

from ainf.inference.money import format_usd
from ainf.pricing import cost
from ainf.routing.hint import Hint
from ainf.store.base import EndedAttempt
from tests.store.books import Books
from tests.store.routed import PRICES, RULESET, USAGE, Routed, decision

NUSD = {name: cost(price, USAGE) for name, price in PRICES.items()}
USD = {name: format_usd(amount) for name, amount in NUSD.items()}


@pytest.fixture
def routed(commands):
    books = Books(commands.folder)
    commands.config.write_text(commands.config.read_text().replace("books.db", "ainf.db"))
    yield Routed(books)
    books.engine.close()


def parts(text):
    """The parts between empty lines, each as rows of cells."""
    return [[re.split(r" {2,}", line.strip()) for line in part.splitlines()] for part in text.split("\n\n")]


def told(commands, named, *options):
    return parts(commands.run("routing", "explain", named, *options))


def test_a_request_that_fell_back(commands, routed):
    """What was asked, by which rule, how each candidate fared, what was tried, and what each would have cost."""
    inference_id = routed.fallen_back()
    decided, candidates, attempts, (cost_words,) = told(commands, inference_id)
    assert decided == [
        ["decision"],
        ["inference", inference_id],
        ["outcome", "1, 2023-11-14T22:13:20Z"],
        ["status", "fell_back"],
        ["target", "fleet"],
        ["asked for", "fleet"],
        ["floor", "0.5, the target's"],
        ["preference", "balanced"],
        ["needs", "input_bytes 4000"],
        ["ruleset", RULESET.hash],
    ]
    assert candidates == [
        ["candidate", "provider", "rank", "quality", "from", "expected $", "latency ms", "fell at", "attempts",
         "would cost $", "difference $"],
        ["small", "small-vendor", "1", "0.6", "prior", "0.006", "250", "-", "1", USD["small"],
         format_usd(NUSD["small"] - NUSD["large"])],
        ["large", "large-vendor", "2", "0.9", "prior", "0.024", "-", "-", "2", USD["large"], "0"],
        ["weak", "weak-vendor", "-", "0.3", "prior", "0.003", "-", "floor", "-", USD["weak"],
         format_usd(NUSD["weak"] - NUSD["large"])],
        ["Not the key's to use: secret."],
    ]  # fmt: skip
    assert attempts[0] == ["attempt", "model", "provider", "begun", "took ms", "status", "error", "cost $"]
    begun = "2023-11-14T22:13:20.005000Z"
    assert attempts[1:] == [
        ["1", "small", "small-vendor", begun, "1500", "500", "upstream_error", "0"],
        ["2", "large", "large-vendor", begun, "1500", "200", "-", USD["large"]],
    ]
    assert cost_words == [
        f"It cost {USD['large']} USD. What it would have cost is what each price makes of the answer's 1000 input and"
        " 100 output tokens; another model would have counted, and answered, otherwise."
    ]


def test_a_request_that_was_not_admitted(commands, routed):
    """What it asked for, and what each candidate fell at; it has no attempts and no cost."""
    hint = Hint(650, 5_000_000, "code", "sweetest")
    routed.refused(decision(hint, requested="fleet-auto", has_tools=True, small={"quality": 640, "observations": 12},
                            large={"rests_s": 2.5}), status="rejected_cost")  # fmt: skip
    decided, candidates, (words,) = told(commands, "1")
    assert decided == [
        ["decision"],
        ["inference", "not admitted"],
        ["outcome", "1, 2023-11-14T22:13:20Z"],
        ["status", "rejected_cost"],
        ["error", "no_candidate"],
        ["target", "fleet"],
        ["asked for", "fleet-auto"],
        ["floor", "0.65, asked for"],
        ["preference", "balanced ('sweetest' is none that is known)"],
        ["task", "code"],
        ["at most $", "0.005"],
        ["needs", "input_bytes 4000, has_tools true"],
        ["ruleset", decision(small={"quality": 1}).ruleset.hash],
    ]
    assert candidates == [
        ["candidate", "provider", "quality", "from", "answers", "expected $", "latency ms", "fell at", "rests ms"],
        ["large", "large-vendor", "0.9", "prior", "-", "0.024", "-", "cost", "2500"],
        ["small", "small-vendor", "0.64", "blended", "12", "0.006", "250", "tools", "-"],
        ["weak", "weak-vendor", "0.3", "prior", "-", "0.003", "-", "floor", "-"],
        ["Not the key's to use: secret."],
    ]
    assert words == ["It was not admitted, and cost nothing."]


def test_one_that_runs(commands, routed):
    """Its attempts as they were opened; nothing is said of costs."""
    inference_id = routed.open(decision())
    routed.open_later(inference_id, 2, "large", EndedAttempt(1, 7))
    decided, candidates, attempts, (words,) = told(commands, inference_id)
    assert decided[1:3] == [["inference", inference_id], ["outcome", "it runs"]]
    assert candidates[0][-1] == "attempts"
    assert attempts == [
        ["attempt", "model", "provider", "begun", "cost $"],
        ["1", "small", "small-vendor", "2023-11-14T22:13:20.003000Z", "0.000000007"],
        ["2", "large", "large-vendor", "2023-11-14T22:13:20.004000Z", "-"],
    ]
    assert words == ["It runs, and is not settled yet."]


def test_unknown_usage(commands, routed):
    """Where nothing is known of the usage, nothing is said of other models."""
    inference_id = routed.open(decision())
    routed.close(inference_id, "small", evidence="none", cost_nusd=None, charges=())
    _, candidates, _, (words,) = told(commands, inference_id)
    assert candidates[0][-1] == "attempts"
    assert words == ["It cost 0.00000005 USD. It has no known usage that other models could be compared by."]


def test_passed_over(commands, routed):
    """A candidate that was passed over when its turn came has the reason in its row."""
    inference_id = routed.open(decision())
    routed.close(inference_id, "small", notes={"routing_skipped": {"large": "rests"}})
    _, (head, _, large, *_), *_ = told(commands, inference_id)
    assert dict(zip(head, large, strict=True))["passed over"] == "rests"


def test_text_of_a_client_is_shown_escaped(commands, routed):
    """A task or a preference may hold anything; a terminal gets none of it."""
    routed.refused(decision(Hint(task_type="a\x1b[31m", preference="b\x1b[31m"), requested="c\x1b[31m"))
    shown = commands.run("routing", "explain", "1")
    assert "\x1b" not in shown
    assert r"a\x1b[31m" in shown


def test_a_pinned_model(commands, routed):
    """It is said that nothing was decided, with exit status 0."""
    inference_id = routed.books.open(routed.key)
    assert commands.run("routing", "explain", inference_id) == (
        f"{inference_id} named the model small itself: nothing was decided for it.\n"
    )
    assert commands.json("routing", "explain", inference_id) == {
        "inference_id": inference_id,
        "router": "direct",
        "model": "small",
    }


def test_for_programs(commands, routed):
    """All of it as JSON: amounts in nano-dollars, qualities in thousandths, the rules only where asked for."""
    inference_id = routed.fallen_back()
    found = commands.json("routing", "explain", inference_id)
    assert (found["inference_id"], found["router"], found["outcome"]["outcome_id"]) == (inference_id, "fleet", 1)
    assert (found["outcome"]["at"], found["outcome"]["status"]) == ("2023-11-14T22:13:20.005000Z", "fell_back")
    assert (found["charged_nusd"], found["usage"]["output_tokens"]) == (NUSD["large"], 100)
    assert [line["model"] for line in found["attempts"]] == ["small", "large"]
    assert (
        found["candidates"][0].items()
        >= {
            "model": "small",
            "quality": 600,
            "skipped": None,
            "attempts": [1],
            "would_cost_nusd": NUSD["small"],
            "difference_nusd": NUSD["small"] - NUSD["large"],
        }.items()
    )
    assert (found["decision"]["barred"], found["decision"]["floor"]) == (["secret"], 500)
    assert "candidates" not in found["decision"]
    assert "rules" not in found
    assert commands.json("routing", "explain", inference_id, "--ruleset")["rules"]["target"] == "fleet"


def test_unadmitted_for_programs(commands, routed):
    """The keys are the same."""
    routed.fallen_back()
    routed.refused()
    found, other = commands.json("routing", "explain", "2"), commands.json("routing", "explain", "1")
    assert found.keys() == other.keys()
    assert (found["inference_id"], found["attempts"], found["charged_nusd"], found["usage"]) == (None, [], None, None)
    assert {one["difference_nusd"] for one in found["candidates"]} == {None}

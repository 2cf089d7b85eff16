"""Rulesets: named by their content, however their models were given."""

import hashlib
import json
from itertools import permutations

import attrs
import pytest

from ainf.routing.ruleset import ALGORITHM, Quality, RatedModel, Rules, Ruleset, ruleset_hash

SMALL = RatedModel(
    "small", "openai", Quality(600, (("sql", 650), ("code", 550))), 128_000, frozenset({"image", "file"}), True, True,
    4096, 300,
)  # fmt: skip
LARGE = RatedModel("large", "anthropic", Quality(900), None, frozenset(), False, False, 8192, None)
TINY = RatedModel("tiny", "mistral", Quality(), 8_000, frozenset({"audio"}), True, True, 1024, None)


def test_a_quality_for_a_task():
    """A task that is named has its own quality; any other, and none, has the default."""
    quality = Quality(700, (("code", 850), ("none", 0)))
    assert [quality.of(task) for task in ("code", "none", "Code", "", None)] == [850, 0, 700, 700, 700]
    assert Quality().of(None) == 500


@pytest.mark.parametrize(
    ("default", "tasks"),
    [(-1, ()), (1001, ()), (0.5, ()), (1, (("a", -1),)), (1, (("a", 1001),)), (1, (("a", 0.5),)),
     (1, (("a", 1), ("a", 2)))],
)  # fmt: skip
def test_what_is_no_quality(default, tasks):
    """Qualities are whole thousandths from 0 to 1000, one for a task."""
    with pytest.raises((ValueError, TypeError)):
        Quality(default, tasks)


def test_the_body_says_all_of_it():
    """Every setting that a decision follows stands in the body, with the version of how is decided."""
    body = json.loads(Ruleset("ainf-inference", 500, (SMALL, LARGE), Rules(preference_live=True)).body)
    assert body == {
        "algorithm": ALGORITHM,
        "target": "ainf-inference",
        "floor": 500,
        "rules": {"preference_live": True, "learning": False, "prior_weight": 50, "expected_output_tokens": 500},
        "models": [
            {
                "name": "large",
                "provider": "anthropic",
                "quality": {"default": 900, "tasks": []},
                "context_tokens": None,
                "attachments": [],
                "tools": False,
                "streams": False,
                "max_output_tokens": 8192,
                "latency_ms": None,
            },
            {
                "name": "small",
                "provider": "openai",
                "quality": {"default": 600, "tasks": [["code", 550], ["sql", 650]]},
                "context_tokens": 128_000,
                "attachments": ["file", "image"],
                "tools": True,
                "streams": True,
                "max_output_tokens": 4096,
                "latency_ms": 300,
            },
        ],
    }


def test_the_body_is_canonical():
    """It is JSON with sorted names and no blanks, so that equal rules are equal bytes."""
    body = Ruleset("t", 1, (SMALL, LARGE)).body
    assert body == json.dumps(json.loads(body), sort_keys=True, separators=(",", ":"))


def test_the_hash_is_that_of_the_body():
    """Whoever has the body can check its name."""
    ruleset = Ruleset("t", 1, (SMALL,))
    assert (
        ruleset.hash == ruleset_hash(ruleset.body) == "rules_" + hashlib.sha256(ruleset.body.encode()).hexdigest()[:32]
    )


def test_the_order_of_models_says_nothing():
    """Models in any order, and a model's tasks in any order, are the same ruleset."""
    turned = attrs.evolve(SMALL, quality=Quality(600, (("code", 550), ("sql", 650))))
    rulesets = [Ruleset("t", 1, models) for models in permutations((SMALL, LARGE, TINY))]
    rulesets.append(Ruleset("t", 1, (TINY, turned, LARGE)))
    assert len({ruleset.hash for ruleset in rulesets}) == 1
    assert [model.name for model in rulesets[3].models] == ["large", "small", "tiny"]


@pytest.mark.parametrize(
    "changed",
    [
        Ruleset("u", 1, (SMALL,)),
        Ruleset("t", 2, (SMALL,)),
        Ruleset("t", 1, (SMALL, TINY)),
        *(
            Ruleset("t", 1, (attrs.evolve(SMALL, **{name: value}),))
            for name, value in {
                "name": "other",
                "provider": "other",
                "quality": Quality(600, (("code", 551), ("sql", 650))),
                "context_tokens": 127_999,
                "attachments": frozenset({"image"}),
                "tools": False,
                "streams": False,
                "max_output_tokens": 4095,
                "latency_ms": None,
            }.items()
        ),
        *(
            Ruleset("t", 1, (SMALL,), Rules(**{name: value}))
            for name, value in {
                "preference_live": True,
                "learning": True,
                "prior_weight": 49,
                "expected_output_tokens": 501,
            }.items()
        ),
    ],
)
def test_any_change_is_another_ruleset(changed):
    """No setting can change without the hash."""
    assert changed.hash != Ruleset("t", 1, (SMALL,)).hash


def test_a_model_stands_in_a_target_once():
    """Two of one name cannot be told apart in a decision."""
    with pytest.raises(ValueError, match="once"):
        Ruleset("t", 1, (SMALL, attrs.evolve(LARGE, name="small")))


@pytest.mark.parametrize("floor", [-1, 1001])
def test_what_is_no_floor(floor):
    """A floor is a quality."""
    with pytest.raises(ValueError, match="floor"):
        Ruleset("t", floor, (SMALL,))


def test_the_priors_for_a_task():
    """They are those of the models, in their order, for tasks that some, all or none of the models name."""
    ruleset = Ruleset("t", 1, (SMALL, LARGE, TINY))
    for task in ("code", "sql", "poetry", None):
        assert ruleset.priors(task) == tuple(model.quality.of(task) for model in ruleset.models)
    assert ruleset.priors("sql") == (900, 650, 500)

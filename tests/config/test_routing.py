"""The settings of routing: what a quality may be, and what is there when nothing is written."""

import pytest

from ainf.config.routing import ATTACHMENTS, QUALITY, RoutingConfig, TargetConfig
from ainf.config.values import UnfitError, UnfitPartsError
from ainf.routing.ruleset import Quality


def test_what_is_off_until_it_is_asked_for():
    """Neither the dial, nor what outcomes show, nor a second model at once changes anything by default."""
    routing = RoutingConfig()
    assert (routing.preference_live, routing.learning, routing.hedging) == (False, False, False)


def test_a_target_of_which_only_the_name_is_written():
    """It has no other names, chooses from all models, and asks for what a model has whose quality nobody wrote."""
    target = TargetConfig(name="mine")
    assert (target.aliases, target.patterns) == ((), ("*",))
    assert target.min_quality_milli == Quality().default


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.7, Quality(default=700)),
        (1, Quality(default=1000)),
        ({"default": 0.7}, Quality(default=700)),
        ({}, Quality()),
        ({"code": 0.85}, Quality(tasks=(("code", 850),))),
        ({"math": 0.3, "code": 0.85, "default": 0}, Quality(default=0, tasks=(("code", 850), ("math", 300)))),
        ({"a review, long": 0.1}, Quality(tasks=(("a review, long", 100),))),
    ],
)
def test_a_quality(value, expected):
    """It is one number, or one for each kind of task; the order in which they are written says nothing."""
    assert QUALITY.parse(value) == expected


@pytest.mark.parametrize("value", [1.1, -1, "good", True, [0.5], 0.1234])
def test_what_is_no_quality(value):
    """A number out of its range or too fine, a word, a flag and a list are refused."""
    with pytest.raises(UnfitError, match="must be a number from 0 to 1 with at most three decimals"):
        QUALITY.parse(value)


def test_parts_of_a_quality_that_are_wrong():
    """Each is told by its own key."""
    with pytest.raises(UnfitPartsError) as caught:
        QUALITY.parse({"default": 2, "code": 0.5, "math": "good", "": 0.5, "x" * 65: 0.5, "line\n": 0.5})
    number = "must be a number from 0 to 1 with at most three decimals"
    task = "must be a kind of task, of 1 to 64 printable characters"
    assert caught.value.parts == [
        (("default",), number), (("math",), number), (("",), task), (("x" * 65,), task), (("line\n",), task)
    ]  # fmt: skip


def test_attachments():
    """A model takes some kinds, or none at all; a kind that there is not is refused."""
    assert ATTACHMENTS.parse([]) == ()
    assert ATTACHMENTS.parse(["file", "image"]) == ("file", "image")
    with pytest.raises(UnfitError, match='must be "image" or "audio" or "video" or "file"'):
        ATTACHMENTS.parse(["picture"])

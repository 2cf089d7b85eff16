import json

import pytest

from ainf.simulator.answer import TOKEN_BYTES, Ask, BeatKind, Tool, compose, words
from ainf.simulator.behaviour import parse_model


def _compose(model, *, seed=0, number=1, stream=True, include_usage=False, max_tokens=None, **rest):
    ask = Ask(model, stream, include_usage, max_tokens, input_tokens=10, **rest)
    return compose(ask, parse_model(model), seed=seed, number=number)


def _kinds(answer):
    return [beat.kind.name for beat in answer.beats]


def test_words_are_four_bytes_and_pure():
    """Tokens have four ASCII bytes, follow from seed and number alone, and fewer are a prefix of more."""
    text = words(1, 2, 500)

    assert {len(word.encode("ascii")) for word in text} == {TOKEN_BYTES}
    assert words(1, 2, 500) == text
    assert words(1, 2, 50) == text[:50]
    assert words(2, 2, 500) != text != words(1, 3, 500)
    assert len(set(words(0, 0, 2000))) == 64


@pytest.mark.parametrize(
    ("model", "include_usage", "kinds"),
    [
        ("sim-tokens-2", False, "START TEXT TEXT FINISH DONE"),
        ("sim-tokens-2", True, "START TEXT TEXT FINISH USAGE DONE"),
        ("sim-tokens-2-no-usage", True, "START TEXT TEXT FINISH DONE"),
        ("sim-tokens-2-usage-always", False, "START TEXT TEXT FINISH USAGE DONE"),
        ("sim-tokens-2-usage-twice", False, "START TEXT TEXT FINISH USAGE USAGE DONE"),
        ("sim-tokens-2-usage-in-finish", True, "START TEXT TEXT FINISH DONE"),
        ("sim-tokens-1-reasoning-2", False, "START REASONING REASONING TEXT FINISH DONE"),
        ("sim-tokens-1-hidden-reasoning-2", False, "START HIDDEN HIDDEN TEXT FINISH DONE"),
        ("sim-tokens-1-refusal", False, "START REFUSAL FINISH DONE"),
        ("sim-tokens-5-per-frame-2", False, "START TEXT TEXT TEXT FINISH DONE"),
        ("sim-tokens-2-finish-with-content", False, "START TEXT FINISH DONE"),
        ("sim-tokens-1-two-finishes", False, "START TEXT FINISH FINISH DONE"),
        ("sim-tokens-1-content-after-finish", False, "START TEXT FINISH TEXT DONE"),
        ("sim-tokens-1-data-after-done", False, "START TEXT FINISH DONE TEXT"),
        ("sim-tokens-1-done-only", True, "START TEXT DONE"),
        ("sim-tokens-1-no-done", False, "START TEXT FINISH"),
    ],
)
def test_beats(model, include_usage, kinds):
    """What is said, in order."""
    assert _kinds(_compose(model, include_usage=include_usage)) == kinds.split()


@pytest.mark.parametrize("limit", range(1, 12))
def test_a_limit_cuts_everything_that_is_output(limit):
    """Reasoning, text and arguments all count, and no more than the limit is said."""
    for model in ("sim-reasoning-3-tokens-5", "sim-hidden-reasoning-3-tokens-5", "sim-parallel-tools-tokens-4"):
        answer = _compose(model, max_tokens=limit)

        said = sum(beat.tokens for beat in answer.beats)
        assert said == min(limit, 8)
        assert answer.counts.output == said
        assert (answer.finish_reason == "length") == (limit < 8)


@pytest.mark.parametrize("argument", ["text", "x", "a_long_argument_name", 'quo"te'])
@pytest.mark.parametrize("tokens", [0, 1, 5, 50])
def test_arguments_join_to_json(argument, tokens):
    """The pieces of a call's arguments are JSON with the tool's first argument, and each is a token."""
    answer = _compose(f"sim-tools-tokens-{tokens}", tools=(Tool("t", argument),))

    pieces = [beat for beat in answer.beats if beat.kind is BeatKind.TOOL_ARGUMENTS]
    assert list(json.loads("".join(piece.text for piece in pieces))) == [argument]
    assert {piece.tokens for piece in pieces} == {1}
    assert answer.finish_reason == "tool_calls"


def test_calls_need_permission():
    """A request that forbids calls gets text; one without tools gets a tool of the simulator's own."""
    assert "TOOL_START" not in _kinds(_compose("sim-tools", may_call=False))
    assert next(beat.text for beat in _compose("sim-tools").beats if beat.kind is BeatKind.TOOL_START)
    parallel = _compose("sim-parallel-tools", tools=(Tool("only", "x"),))
    assert [beat.text for beat in parallel.beats if beat.kind is BeatKind.TOOL_START] == ["only", "only"]


def test_continuous_usage_grows_to_the_whole():
    """Every beat tells the tokens so far, the last one all of them."""
    counts = [beat.counts for beat in _compose("sim-tokens-3-usage-continuous", include_usage=True).beats]

    assert [count.output for count in counts] == [0, 1, 2, 3, 3, 3, 3]
    assert {count.input for count in counts} == {10}


def test_cached_tokens_are_part_of_the_input():
    """No more is cached than came in."""
    assert _compose("sim-cached-3").counts.cached == 3
    assert _compose("sim-cached-300").counts.cached == 10


def test_an_endless_answer_is_lazy():
    """An endless stream has a start and then text for ever; its usage is never told."""
    answer = _compose("sim-endless", max_tokens=3)
    beats = iter(answer.beats)

    assert next(beats).kind is BeatKind.START
    assert all(next(beats).kind is BeatKind.TEXT for _ in range(10_000))
    assert answer.counts is None

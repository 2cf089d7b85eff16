"""What is decided, row by row: a question, and the models in the order in which they are tried or why there are none.

A row names only what differs from the fleet and the request of ``tests.routing.fleet``: five models, from cheap to dear
``nano`` (450), ``mini`` (600), ``solo`` (750), ``mid`` (700) and ``large`` (900), and a default floor of 500.
"""

from collections.abc import Mapping
from typing import Any

import attrs

from tests.routing.fleet import Case, Changes, price, ratios

FLOOR, ABILITY, COST, UNAVAILABLE = "rejected_floor", "rejected_ability", "rejected_cost", "rejected_unavailable"
NOT_PERMITTED = "not_permitted"
LIVE = {"preference_live": True}
LEARNING = {"learning": True}
QUALITY, BALANCED, CHEAP, HASTE = ({"routing_preference": word} for word in ("quality", "balanced", "cost", "haste"))
IMAGE = {"attachment_count": 1, "attachments": frozenset({"image"})}
SOUND = {"attachment_count": 1, "attachments": frozenset({"audio"})}
REST = {"rests_s": 5.0}
UNKNOWN = {"latency_ms": None}
BARRED = {"allowed": False}
DEAR_OUTPUT = {"price": price("0.10", "2.20")}
SAME = {"price": price("0.15", "0.60")}
TIERED = price("0.15", "0.60", tiers=[{"above": 700, "input": "9", "output": "9"}])
TIER_AHEAD = price("0.15", "0.60", tiers=[{"above": 750, "input": "9", "output": "9"}])


@attrs.frozen
class Row:
    """One line of the table."""

    what: str
    expected: str
    """The names of the ranked models, best first; or the status, or the code, of the refusal."""
    case: Case
    at: int
    """The floor in force."""
    by: str
    """Where it is from."""
    took: str
    """The preference that took effect."""


def row(what: str, expected: str, *, at: int = 500, by: str = "default", took: str = "balanced", **case: Any) -> Row:
    return Row(what, expected, Case(**case), at, by, took)


def each(names: str, state: Mapping[str, Any]) -> Changes:
    return dict.fromkeys(names.split(), state)


ALL, USUAL = "nano mini solo mid large", "mini solo mid large"

HINTS = [
    row("nothing said", USUAL),
    row("an empty hint", USUAL, hint={}),
    row("a lower floor", ALL, hint={"min_quality": 0.45}, at=450, by="hint"),
    row("no floor", ALL, hint={"min_quality": 0}, at=0, by="hint"),
    row("a floor that is just cleared", USUAL, hint={"min_quality": 0.6}, at=600, by="hint"),
    row("a floor that just is not", "solo mid large", hint={"min_quality": 0.601}, at=601, by="hint"),
    row("a floor is rounded up", "solo mid large", hint={"min_quality": 0.6001}, at=601, by="hint"),
    row("the tier good", USUAL, hint={"min_quality": "good"}, at=500, by="hint"),
    row("the tier frontier", "large", hint={"min_quality": "frontier"}, at=850, by="hint"),
    row("the best there is", "large", hint={"min_quality": 0.9}, at=900, by="hint"),
    row("better than the best", FLOOR, hint={"min_quality": 0.901}, at=901, by="hint"),
    row("perfection", FLOOR, hint={"min_quality": 1}, at=1000, by="hint"),
    row("a hint below the target's floor", USUAL, hint={"min_quality": 0.5}, floor=850, at=500, by="hint"),
    row("a target without a floor", ALL, floor=0, at=0),
    row("a target with a high floor", "solo mid large", floor=700, at=700),
    row("a target whose floor none clears", FLOOR, floor=950, at=950),
]
TASKS = [
    row("a task that some are rated for", USUAL, hint={"task_type": "code"}),
    row("one is worse at it", "solo mid large", hint={"task_type": "code", "min_quality": 0.6}, at=600, by="hint"),
    row("one is better at it", "mid large", hint={"task_type": "code", "min_quality": 0.86}, at=860, by="hint"),
    row("beyond that rating", "large", hint={"task_type": "code", "min_quality": 0.861}, at=861, by="hint"),
    row("a rating below the default floor", "mini mid large", hint={"task_type": "prose"}),
    row("a task of no rating", "large", hint={"task_type": "sums", "min_quality": "frontier"}, at=850, by="hint"),
]  # fmt: skip
DIAL = [
    row("off: quality", USUAL, hint=QUALITY),
    row("off: cost", USUAL, hint=CHEAP, floor=600, at=600),
    row("off: balanced", USUAL, hint=BALANCED),
    row("on: nothing said", USUAL, rules=LIVE),
    row("on: balanced", USUAL, hint=BALANCED, rules=LIVE),
    row("on: quality", "solo mid large", hint=QUALITY, rules=LIVE, floor=600, at=700, by="dial",
        took="quality"),
    row("on: cost", USUAL, hint=CHEAP, rules=LIVE, floor=600, at=500, by="dial", took="cost"),
    row("on: quality, up to the most", "large", hint=QUALITY, rules=LIVE, floor=800, at=850,
        by="dial", took="quality"),
    row("on: quality, at the most", "large", hint=QUALITY, rules=LIVE, floor=850, at=850),
    row("on: quality, beyond the most", FLOOR, hint=QUALITY, rules=LIVE, floor=920, at=920),
    row("on: cost, from beyond the most", "large", hint=CHEAP, rules=LIVE, floor=920, at=820,
        by="dial", took="cost"),
    row("on: cost, down to the least", USUAL, hint=CHEAP, rules=LIVE, floor=550, at=500,
        by="dial", took="cost"),
    row("on: cost, at the least", USUAL, hint=CHEAP, rules=LIVE, at=500),
    row("on: cost, below the least", ALL, hint=CHEAP, rules=LIVE, floor=400, at=400),
    row("on: quality, from below the least", ALL, hint=QUALITY, rules=LIVE, floor=350, at=450,
        by="dial", took="quality"),
    row("on: balanced moves nothing into the range", ALL, hint=BALANCED, rules=LIVE, floor=300,
        at=300),
    row("on: quality empties the target", FLOOR, hint=QUALITY, rules=LIVE, floor=600,
        only="nano mini", at=700, by="dial", took="quality"),
    row("on: a named floor wins over quality", USUAL, hint={"min_quality": 0.5, "routing_preference": "quality"},
        rules=LIVE, at=500, by="hint"),
    row("on: a named floor wins over cost", "solo mid large", hint={"min_quality": 0.7, "routing_preference": "cost"},
        rules=LIVE, at=700, by="hint"),
    row("on: an unknown preference", USUAL, hint=HASTE, rules=LIVE),
    row("on: a preference in capitals is unknown", USUAL, hint={"routing_preference": "QUALITY"}, rules=LIVE),
    row("off: an unknown preference", USUAL, hint=HASTE),
]  # fmt: skip
ABILITIES = [
    row("tools", USUAL, need={"has_tools": True}, floor=0, at=0),
    row("tools, and none takes them", ABILITY, need={"has_tools": True}, only="nano", floor=0, at=0),
    row("a stream", "mini mid large", need={"stream": True}),
    row("a stream, and none does", ABILITY, need={"stream": True}, only="solo"),
    row("an image", "mini mid large", need=IMAGE),
    row("files", "solo mid large", need={"attachment_count": 2, "attachments": frozenset({"file"})}),
    row("an image and a file", "mid large", need={"attachment_count": 2, "attachments": frozenset({"image", "file"})}),
    row("sound", "large", need=SOUND),
    row("a video for none", ABILITY, need={"attachment_count": 1, "attachments": frozenset({"video"})}, only="mid"),
    row("a response stored at one provider", "solo mid", need={"stored_at": "beta"}),
    row("a response stored elsewhere", ABILITY, need={"stored_at": "delta"}),
    row("input that just fits", ALL, need={"max_output_tokens": 7_250}, floor=0, at=0),
    row("input that just does not", USUAL, need={"max_output_tokens": 7_251}, floor=0, at=0),
    row("input without a limit of output", ALL, need={"input_bytes": 32_000}, floor=0, at=0),
    row("long input", "mini mid large", need={"input_bytes": 400_000}),
    row("input that only an unknown window may take", "large", need={"input_bytes": 4_000_000}),
    row("input that fits none", ABILITY, need={"input_bytes": 4_000_000}, only="mini mid"),
    row("a stored response is read too", "mini mid", need={"stored_tokens": 31_251}, only="mini solo mid"),
    row("an image fills a window", "large", need={"attachment_count": 128, "attachments": frozenset({"image"})}),
    row("a model's own ratio fills its window", "solo mid large", seen={"mini": {"ratios": ratios(23)}}),
    row("able ones below the floor", FLOOR, need={"stored_at": "alpha"}, hint={"min_quality": 0.9}, at=900, by="hint"),
    row("tools over a stream with sound", "large", need={"has_tools": True, "stream": True} | SOUND),
]  # fmt: skip
COSTS = [
    row("what one costs", "mini", hint={"max_cost": 0.0004125}),
    row("a nano-dollar less", COST, hint={"max_cost": "0.000412499"}),
    row("enough for three", "mini solo mid", hint={"max_cost": "0.002"}),
    row("nothing", COST, hint={"max_cost": 0}),
    row("nothing, and one is free", "mid", hint={"max_cost": 0}, seen={"mid": {"price": price("0", "0")}}),
    row("too little for the floor", COST, hint={"max_cost": 0.005, "min_quality": 0.9}, at=900, by="hint"),
    row("a short answer is cheap enough", "mini solo mid", hint={"max_cost": 0.0004}, need={"max_output_tokens": 10}),
    row("a fee counts", "solo mid mini large", seen={"mini": {"price": price("0.15", "0.60", request="0.001")}}),
    row("a tier that is reached counts", "solo mid large mini", seen={"mini": {"price": TIERED}}),
    row("a tier that is not, does not", USUAL, seen={"mini": {"price": TIER_AHEAD}}),
    row("dear output, long answer", "solo mini", only="mini solo", seen={"mini": DEAR_OUTPUT}),
    row("dear output, short answer", "mini solo", only="mini solo", seen={"mini": DEAR_OUTPUT},
        need={"max_output_tokens": 100}),
    row("dear output, a low limit", "mini solo", only="mini solo", models={"mini": {"max_output_tokens": 100}},
        seen={"mini": DEAR_OUTPUT}),
    row("dear output, short by the rules", "mini solo", only="mini solo", rules={"expected_output_tokens": 100},
        seen={"mini": DEAR_OUTPUT}),
    row("more tokens for the same bytes", "solo mini", only="mini solo", seen={"mini": {"ratios": ratios(400)}}),
    row("dear images", "mid mini", only="mini mid", need=IMAGE,
        seen={"mini": {"ratios": ratios(4_000, image_tokens=20_000)}}),
]  # fmt: skip
TIES = [
    row("the faster", "mini mid", only="mini mid", seen={"mid": SAME}),
    row("the faster, though later by name", "mini large", only="large mini", seen={"large": SAME}),
    row("unknown latency last", "mini solo large", only="large mini solo", seen={"large": SAME, "solo": SAME}),
    row("equal latency: by name", "mid mini", only="mini mid", seen={"mid": SAME}, models={"mid": {"latency_ms": 300}}),
    row("none known: name", "large mini", only="mini large", seen={"large": SAME}, models={"mini": UNKNOWN}),
    row("less than a nano-dollar is a tie", "mid mini", only="mini mid", models={"mid": {"latency_ms": 1}},
        seen={"mid": {"price": price("0.150000001", "0.60")}, "mini": {"price": price("0.150000000", "0.600000001")}}),
    row("a nano-dollar is none", "mini mid", only="mini mid", models={"mid": {"latency_ms": 1}},
        seen={"mid": {"price": price("0.15", "0.600002")}}),
]  # fmt: skip
RESTING = [
    row("the cheapest rests", "solo mid large", seen={"mini": REST}),
    row("all rest", UNAVAILABLE, seen=each(ALL, REST)),
    row("the only able one rests", UNAVAILABLE, need=SOUND,
        seen={"large": REST}),
    row("the only good one rests", UNAVAILABLE, hint={"min_quality": 0.9}, seen={"large": REST}, at=900, by="hint"),
    row("the only cheap one rests", UNAVAILABLE, hint={"max_cost": 0.001}, seen={"mini": REST}),
    row("what rests is too poor", FLOOR, hint={"min_quality": 0.95}, seen={"large": REST}, at=950, by="hint"),
    row("what rests is too dear", COST, hint={"max_cost": 0.0001}, seen={"mini": REST}),
]  # fmt: skip
LEARNT = [
    row("off: it is not minded", USUAL, seen={"mini": {"quality": 100, "observations": 90, "latency_ms": 1}}),
    row("off: nor in a tie", "mini mid", only="mini mid", seen={"mid": SAME | {"latency_ms": 1}}),
    row("on: one proved worse", "solo mid large", rules=LEARNING, seen={"mini": {"quality": 499, "observations": 90}}),
    row("on: just good enough", USUAL, rules=LEARNING, seen={"mini": {"quality": 500, "observations": 90}}),
    row("on: nothing seen yet", USUAL, rules=LEARNING),
    row("on: it counts for a task too", "solo mid large", rules=LEARNING, hint={"task_type": "code"},
        seen={"mini": {"quality": 499, "observations": 9}}),
    row("on: all proved worse: as if nothing was learnt", USUAL, rules=LEARNING,
        seen=each(USUAL, {"quality": 499, "observations": 90})),
    row("on: who proved worse is the only one that can", "mini", rules=LEARNING, only="mini mid",
        seen={"mini": {"quality": 499, "observations": 1}, "mid": REST}),
    row("on: all proved worse, and none was better", FLOOR, rules=LEARNING, hint={"min_quality": 0.95}, at=950,
        by="hint", seen=each(USUAL, {"quality": 499, "observations": 90})),
    row("on: the faster", "mid mini", rules=LEARNING, only="mini mid", seen={"mid": SAME | {"latency_ms": 299}}),
    row("on: the slower", "large mini", rules=LEARNING, only="mini large",
        seen={"mini": {"latency_ms": 2_000}, "large": SAME | {"latency_ms": 1_999}}),
]  # fmt: skip
RIGHTS = [
    row("one may not be used", "solo mid large", seen={"mini": BARRED}),
    row("one only", "large", seen=each("nano mini solo mid", BARRED)),
    row("none", NOT_PERMITTED, seen=each(ALL, BARRED)),
    row("the one that may be used cannot", ABILITY, need={"stream": True},
        seen=each("nano mini mid large", BARRED)),
]  # fmt: skip

TABLE = {
    "hints": HINTS, "tasks": TASKS, "dial": DIAL, "abilities": ABILITIES, "costs": COSTS, "ties": TIES,
    "resting": RESTING, "learnt": LEARNT, "rights": RIGHTS,
}  # fmt: skip

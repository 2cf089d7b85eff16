"""How ``ainf routing explain`` prints."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

import attrs
import click
import msgspec

from ainf.cli.output import brief, moment, print_json, print_table, printable, record, without_empty
from ainf.config.values import SHARE
from ainf.inference.money import format_usd
from ainf.store.decisions import Decided
from ainf.store.explanation import Alternative, Explanation, Pinned

_CANDIDATES: Final = (
    "candidate", "provider", "rank", "quality", "from", "answers", "expected $", "latency ms", "fell at", "rests ms",
    "passed over", "attempts", "would cost $", "difference $",
)  # fmt: skip
_ATTEMPTS: Final = ("attempt", "model", "provider", "begun", "took ms", "status", "error", "cost $")
_MILLISECOND: Final = timedelta(milliseconds=1)
_FLOOR_FROM: Final[Mapping[str, str]] = {
    "default": "the target's",
    "hint": "asked for",
    "dial": "the target's, moved by the preference",
}


def print_pinned(found: Pinned, *, as_json: bool) -> None:
    """Print that nothing was decided."""
    if as_json:
        print_json({"inference_id": found.inference_id, "router": "direct", "model": found.model})
    else:
        click.echo(f"{found.inference_id} named the model {printable(found.model)} itself: nothing was decided for it.")


def print_explanation(found: Explanation, *, with_ruleset: bool, as_json: bool) -> None:
    """Print an explanation, and with it, if wanted, what was decided by."""
    if as_json:
        print_json(_document(found, with_ruleset=with_ruleset))
        return
    print_table(["decision", ""], _decision_rows(found))
    click.echo()
    print_table(*without_empty(_CANDIDATES, [_candidate_row(found, one) for one in found.alternatives]))
    if found.decided.barred:
        click.echo(f"Not the key's to use: {printable(', '.join(found.decided.barred))}.")
    if found.receipt is not None and found.receipt["attempts"]:
        click.echo()
        lines = enumerate(found.receipt["attempts"], 1)
        print_table(*without_empty(_ATTEMPTS, [_attempt_row(number, line) for number, line in lines]))
    click.echo()
    click.echo(_cost_words(found))
    if with_ruleset:
        click.echo()
        click.echo(msgspec.json.format(found.ruleset_body, indent=2))


def _document(found: Explanation, *, with_ruleset: bool) -> dict[str, Any]:
    """Return all of it as JSON has it: amounts are nano-dollars, qualities thousandths."""
    outcome, told, decided = found.outcome, found.receipt, found.decided
    decision = msgspec.to_builtins(decided)
    del decision["candidates"]
    return {
        "inference_id": None if told is None else told["inference_id"],
        "router": decided.target,
        "outcome": None if outcome is None else record(outcome) | {"at": moment(outcome.at)},
        "decision": decision,
        "candidates": [
            {
                **msgspec.to_builtins(one.candidate),
                "skipped": one.skipped,
                "attempts": one.attempts,
                "would_cost_nusd": one.would_cost_nusd,
                "difference_nusd": _difference(found, one),
            }
            for one in found.alternatives
        ],
        "attempts": [] if told is None else told["attempts"],
        "charged_nusd": found.charged_nusd,
        "usage": None if found.usage is None else attrs.asdict(found.usage),
        **({"rules": msgspec.json.decode(found.ruleset_body)} if with_ruleset else {}),
    }


def _decision_rows(found: Explanation) -> list[list[str]]:
    outcome, told, decided = found.outcome, found.receipt, found.decided
    rows = {
        "inference": "not admitted" if told is None else told["inference_id"],
        "outcome": "it runs" if outcome is None else f"{outcome.outcome_id}, {brief(outcome.at)}",
        "status": None if outcome is None else outcome.status,
        "error": None if outcome is None else outcome.code,
        "target": decided.target,
        "asked for": decided.requested,
        "floor": f"{SHARE.show(decided.floor)}, {_FLOOR_FROM.get(decided.floor_from, decided.floor_from)}",
        "preference": _preference(decided),
        "task": decided.hint.task_type,
        "at most $": None if decided.hint.max_cost_nusd is None else format_usd(decided.hint.max_cost_nusd),
        "needs": ", ".join(f"{name} {_said(value)}" for name, value in decided.need.items() if value),
        "ruleset": decided.ruleset,
    }
    return [[name, value] for name, value in rows.items() if value is not None]


def _preference(decided: Decided) -> str:
    if decided.unknown_preference is None:
        return decided.preference
    return f"{decided.preference} ({decided.unknown_preference!r} is none that is known)"


def _said(value: object) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _candidate_row(found: Explanation, one: Alternative) -> list[str]:
    candidate = one.candidate
    ranked, difference = found.decided.ranked, _difference(found, one)
    return [
        candidate.model,
        candidate.provider,
        str(ranked.index(candidate.model) + 1) if candidate.model in ranked else "-",
        SHARE.show(candidate.quality),
        candidate.quality_from,
        str(candidate.observations or "-"),
        format_usd(candidate.cost_nusd),
        _or_dash(candidate.latency_ms),
        candidate.fell or "-",
        _or_dash(candidate.rests_ms),
        one.skipped or "-",
        ", ".join(map(str, one.attempts)) or "-",
        "-" if one.would_cost_nusd is None else format_usd(one.would_cost_nusd),
        "-" if difference is None else format_usd(difference),
    ]


def _difference(found: Explanation, one: Alternative) -> int | None:
    charged = found.charged_nusd
    return None if one.would_cost_nusd is None or charged is None else one.would_cost_nusd - charged


def _attempt_row(number: int, line: Mapping[str, Any]) -> list[str]:
    return [
        str(number),
        line["model"],
        line["provider"],
        line["started_at"],
        _or_dash(_took_ms(line)),
        _or_dash(line["status"]),
        line["error_code"] or "-",
        "-" if line["cost_nusd"] is None else format_usd(line["cost_nusd"]),
    ]


def _took_ms(line: Mapping[str, Any]) -> int | None:
    if line["ended_at"] is None:
        return None
    return (datetime.fromisoformat(line["ended_at"]) - datetime.fromisoformat(line["started_at"])) // _MILLISECOND


def _or_dash(number: int | None) -> str:
    return "-" if number is None else str(number)


def _cost_words(found: Explanation) -> str:
    charged, usage = found.charged_nusd, found.usage
    if found.receipt is None:
        return "It was not admitted, and cost nothing."
    if charged is None:
        return "It runs, and is not settled yet."
    cost = f"It cost {format_usd(charged)} USD."
    if usage is None:
        return f"{cost} It has no known usage that other models could be compared by."
    return (
        f"{cost} What it would have cost is what each price makes of the answer's {usage.input_tokens} input and"
        f" {usage.output_tokens} output tokens; another model would have counted, and answered, otherwise."
    )

"""``ainf routing``: which model was chosen for what was asked of a routing target, and why."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

import attrs
import click
import msgspec

from ainf.cli.explanation import print_explanation, print_pinned
from ainf.cli.output import brief, moment, print_json, print_table, record, without_empty
from ainf.cli.settings import CommandError, books_config, config_option, json_option, past, period_of, read
from ainf.config import Config
from ainf.config.values import SHARE
from ainf.inference.money import format_usd
from ainf.routing.outcome import RoutingStatus
from ainf.routing.ruleset import RatedModel, Ruleset
from ainf.store.explanation import Pinned, explain
from ainf.store.routing_report import OutcomesAsk, OutcomesReport, StatusSums, routing_outcomes

_OUTCOMES: Final = (
    "outcome", "inference", "at", "account", "key", "asked for", "target", "status", "code", "model", "provider",
    "attempts", "first ms", "cost $",
)  # fmt: skip
_TARGETS: Final = ("target", "also called", "floor", "ruleset")
_RATED: Final = (
    "target", "model", "provider", "quality", "by task", "floor", "context", "tools", "streams", "attachments",
    "latency ms",
)  # fmt: skip
_SUMS: Final = ("status", "requests", "attempts", "cost $")


@click.group()
def routing() -> None:
    """Explain how requests for a routing target were answered."""


@routing.command("explain")
@click.argument("named", metavar="ID")
@click.option("--ruleset", "with_ruleset", is_flag=True, help="Print what was decided by, too.")
@json_option
@config_option
def explain_(*, named: str, with_ruleset: bool, as_json: bool, config_path: Path) -> None:
    """Show why a request went to the model it went to, what it cost, and what it would have cost with others.

    ID is an inference's, or the number of an outcome, as `ainf routing outcomes` lists them.
    """
    found = read(books_config(config_path), partial(explain, named=named))
    if found is None:
        raise CommandError(f"there is no inference or outcome {named[:80]!r}")
    if isinstance(found, Pinned):
        print_pinned(found, as_json=as_json)
    else:
        print_explanation(found, with_ruleset=with_ruleset, as_json=as_json)


@routing.command()
@click.option("--since", callback=past, default="7d", show_default=True, help="2026-11-01, or an age: 30d, 12h.")
@click.option("--until", callback=past, help="Until before a time; without it, until now.")
@click.option("--target", metavar="NAME", help="Only of this target, or of those who asked by this alias.")
@click.option(
    "--status", type=click.Choice([status.value for status in RoutingStatus]), help="Only those that ended so."
)
@click.option(
    "--most", type=click.IntRange(min=1), default=100, show_default=True, help="List the newest, so many of them."
)
@json_option
@config_option
def outcomes(  # noqa: PLR0913 - an option each
    *,
    since: int,
    until: int | None,
    target: str | None,
    status: str | None,
    most: int,
    as_json: bool,
    config_path: Path,
) -> None:
    """List what became of routed requests, the newest last, also of those that were not admitted."""
    ask = OutcomesAsk(period_of(since, until), target, status, most)
    report = read(books_config(config_path), partial(routing_outcomes, ask=ask))
    if as_json:
        print_json(_outcomes_document(report))
    elif report.outcomes:
        _print_outcomes(report)
    else:
        click.echo(f"Nothing routed since {brief(since)}.")


def _outcomes_document(report: OutcomesReport) -> dict[str, Any]:
    totals = attrs.asdict(report.totals)
    del totals["status"]
    return {
        "since": moment(report.ask.period.since),
        "until": moment(report.ask.period.until),
        "outcomes": [record(outcome) | {"at": moment(outcome.at)} for outcome in report.outcomes],
        "statuses": [attrs.asdict(sums) for sums in report.sums],
        "totals": totals,
    }


def _print_outcomes(report: OutcomesReport) -> None:
    rows = [
        [
            str(each.outcome_id),
            each.inference_id or "-",
            brief(each.at),
            each.account,
            each.key_id,
            each.requested_model,
            each.target,
            each.status,
            each.code or "-",
            each.model or "-",
            each.provider or "-",
            str(each.attempts),
            _milliseconds(each.first_byte_us),
            format_usd(each.cost_nusd),
        ]
        for each in report.outcomes
    ]
    print_table(*without_empty(_OUTCOMES, rows))
    click.echo()
    print_table(_SUMS, [_sums_row(sums) for sums in (*report.sums, attrs.evolve(report.totals, status="total"))])
    if (unlisted := report.totals.requests - len(report.outcomes)) > 0:
        click.echo(f"\nThe newest {len(report.outcomes)} are listed, {unlisted} are not: ask for more with --most.")


def _sums_row(sums: StatusSums) -> list[str]:
    return [sums.status, str(sums.requests), str(sums.attempts), format_usd(sums.cost_nusd)]


def _milliseconds(microseconds: int | None) -> str:
    return "-" if microseconds is None else str(microseconds // 1000)


@routing.command()
@json_option
@config_option
def rules(*, as_json: bool, config_path: Path) -> None:
    """List the targets of the configuration: what each chooses from, and by what."""
    from ainf.app import rulesets_of  # noqa: PLC0415 - it needs a whole gateway, the other commands do not

    config = books_config(config_path)
    rulesets = rulesets_of(config)
    if as_json:
        print_json([
            {"target": name, "aliases": config.targets[name].aliases, "ruleset": ruleset.hash}
            | {"rules": msgspec.json.decode(ruleset.body)}
            for name, ruleset in rulesets.items()
        ])
    elif rulesets:
        _print_rules(config, rulesets)
    else:
        click.echo("There is no routing target, since no model of texts is configured.")


def _print_rules(config: Config, rulesets: Mapping[str, Ruleset]) -> None:
    targets = [
        [name, ", ".join(config.targets[name].aliases) or "-", SHARE.show(ruleset.floor), ruleset.hash]
        for name, ruleset in rulesets.items()
    ]
    print_table(*without_empty(_TARGETS, targets))
    click.echo()
    rated = [_rated_row(ruleset, model) for ruleset in rulesets.values() for model in ruleset.models]
    print_table(*without_empty(_RATED, rated))
    click.echo()
    in_common = next(iter(rulesets.values())).rules
    print_table(["rule of all", ""], [[name, str(value).lower()] for name, value in attrs.asdict(in_common).items()])


def _rated_row(ruleset: Ruleset, model: RatedModel) -> list[str]:
    quality = model.quality
    return [
        ruleset.target,
        model.name,
        model.provider,
        SHARE.show(quality.default),
        ", ".join(f"{task} {SHARE.show(rating)}" for task, rating in quality.tasks) or "-",
        "clears" if quality.default >= ruleset.floor else "below",
        "-" if model.context_tokens is None else str(model.context_tokens),
        "yes" if model.tools else "no",
        "yes" if model.streams else "no",
        ", ".join(sorted(model.attachments)) or "-",
        "-" if model.latency_ms is None else str(model.latency_ms),
    ]

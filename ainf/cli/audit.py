"""``ainf audit``: what happened, and whether the record of it is whole."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

import attrs
import click
import msgspec

from ainf.cli.output import brief, moment, print_json, print_table, record
from ainf.cli.settings import CommandError, books_config, config_option, json_option, past, period_of, read
from ainf.inference.money import format_usd
from ainf.store.admin import find_account
from ainf.store.burn_report import BurnReport, burn_report
from ainf.store.chain import chain_faults
from ainf.store.period import Period
from ainf.store.receipts import receipt
from ainf.store.transaction import Row, Transaction
from ainf.store.usage import Whose

_FINGERPRINT_SHOWN = 8
_LISTS: Final = ("caps", "attempts", "adjustments")


@click.group()
def audit() -> None:
    """Read and check the audit trail."""


@audit.command()
@click.argument("inference_id", metavar="ID")
@json_option
@config_option
def show(*, inference_id: str, as_json: bool, config_path: Path) -> None:
    """Show the receipt of the inference ID."""
    found = read(books_config(config_path), partial(receipt, inference_id=inference_id))
    if found is None:
        raise CommandError(f"there is no inference {inference_id[:80]!r}")
    if as_json:
        print_json(found)
        return
    routing = found.pop("routing") or {}
    lists = {"candidates": routing.pop("candidates", []), **{name: found.pop(name) for name in _LISTS}}
    _print_part("receipt", found)
    if routing:
        click.echo()
        _print_part("routing", routing)
    for name, lines in lists.items():
        for number, line in enumerate(lines, 1):
            click.echo()
            _print_part(f"{name.removesuffix('s')} {number}", line)


def _print_part(name: str, part: Mapping[str, Any]) -> None:
    print_table([name, ""], [[field, _shown(value)] for field, value in part.items()])


def _shown(value: Any) -> str:  # noqa: ANN401 - whatever a receipt holds
    match value:
        case None:
            return "-"
        case str():
            return value
        case _:
            return msgspec.json.encode(value).decode()


@audit.command()
@click.option("--account", metavar="NAME", help="Of an account with all below it; without it, of all.")
@click.option("--since", callback=past, default="7d", show_default=True, help="2026-11-01, or an age: 30d, 12h.")
@click.option("--empty", "only_empty", is_flag=True, help="Only what brought nothing at all.")
@json_option
@config_option
def burn(*, account: str | None, since: int, only_empty: bool, as_json: bool, config_path: Path) -> None:
    """Show what was charged for nothing: empty answers, and what was asked again within minutes."""
    period = period_of(since, None)

    def report_of(tx: Transaction) -> BurnReport:
        whose = Whose(None if account is None else find_account(tx, account)[0])
        return burn_report(tx, whose, period, only_empty=only_empty)

    report = read(books_config(config_path), report_of)
    if as_json:
        print_json(_burn_document(report, period))
    elif report.exchanges:
        _print_burn(report)
    else:
        click.echo(f"Nothing burnt since {brief(period.since)}.")


def _burn_document(report: BurnReport, period: Period) -> dict[str, Any]:
    return {
        "since": moment(period.since),
        "until": moment(period.until),
        "exchanges": report.exchanges,
        "charged_nusd": report.charged_nusd,
        "burners": [attrs.asdict(burner) for burner in report.burners],
        "bodies": [
            {
                "fingerprint": body.fingerprint,
                "charged_nusd": body.charged_nusd,
                "exchanges": [record(exchange) for exchange in body.exchanges],
            }
            for body in report.bodies
        ],
    }


def _print_burn(report: BurnReport) -> None:
    who = [
        [burner.account, burner.key_id, burner.kind, str(burner.exchanges), format_usd(burner.charged_nusd)]
        for burner in report.burners
    ]
    total = ["total", "", "", str(report.exchanges), format_usd(report.charged_nusd)]
    print_table(["account", "key", "kind", "exchanges", "burnt $"], [*who, total])
    click.echo()
    which = [
        [
            body.fingerprint[:_FINGERPRINT_SHOWN],
            each.inference_id,
            brief(each.opened_at),
            each.key_id,
            each.model,
            each.ending,
            each.kind,
            format_usd(each.charged_nusd),
            each.asked_again_by or "-",
        ]
        for body in report.bodies
        for each in body.exchanges
    ]
    print_table(["body", "inference", "opened", "key", "model", "ending", "kind", "burnt $", "asked again by"], which)


@audit.command("verify")
@json_option
@config_option
@click.pass_context
def verify_(ctx: click.Context, *, as_json: bool, config_path: Path) -> None:
    """Walk every audit chain; exit with status 1 and the places where one is broken."""
    faults, (epochs, events) = read(books_config(config_path), _walk)
    if as_json:
        print_json({"epochs": epochs, "events": events, "faults": faults})
    elif faults:
        print_table(["broken"], [[fault] for fault in faults])
    else:
        click.echo(f"the audit trail is whole: {events} events in {epochs} epochs")
    if faults:
        ctx.exit(1)


def _walk(tx: Transaction) -> tuple[list[str], Row]:
    row = tx.one("SELECT count(DISTINCT epoch), count(*) FROM audit_events")
    assert row is not None
    return list(chain_faults(tx)), row

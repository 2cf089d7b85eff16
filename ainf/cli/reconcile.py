"""``ainf ledger reconcile``: a provider's invoice beside the ledger."""

from functools import partial
from pathlib import Path
from typing import Any, Final

import attrs
import click

from ainf.cli.invoice import Invoice, InvoiceError, open_invoice
from ainf.cli.output import print_json, print_table
from ainf.cli.settings import books_config, config_option, json_option, past, period_of, read, told
from ainf.inference.money import format_usd
from ainf.store.reconcile import Match, ReconcileAsk, Reconciliation, Sums, Unknown, reconcile

_DIFFERENCES: Final = (
    "inference", "attempt", "line", "ending", "evidence", "ours $", "theirs $", "difference $", "input", "theirs",
    "output", "theirs",
)  # fmt: skip
_SUMS: Final = ("ending", "attempts", "ours $", "theirs $", "difference $")


@click.command("reconcile")
@click.argument("invoice", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--provider", metavar="NAME", help="Whose invoice it is: only attempts there are looked at.")
@click.option(
    "--since", callback=past, required=True, help="The first moment that it is of: 2026-11-01, or an age: 30d, 12h."
)
@click.option("--until", callback=past, help="Before which moment it ends; without it, now.")
@click.option(
    "--most", type=click.IntRange(min=1), default=50, show_default=True, help="Of each kind, list this many at most."
)
@json_option
@config_option
@click.pass_context
def reconcile_(  # noqa: PLR0913 - an option each
    ctx: click.Context,
    *,
    invoice: Path,
    provider: str | None,
    since: int,
    until: int | None,
    most: int,
    as_json: bool,
    config_path: Path,
) -> None:
    """Lay a provider's invoice beside the ledger; exit with status 1 where anything differs. Nothing is posted.

    INVOICE is a CSV whose first line names its columns: one or more of inference_id (which providers are sent as
    x-client-request-id), provider_request_id and response_id, and one or more of cost_usd, input_tokens (with the
    cached ones) and output_tokens. Others are not looked at. Lines of one attempt are added up; where lines name an
    exchange, all its attempts at the provider are. Without --provider the invoice is taken to be of all of them.
    """
    config = books_config(config_path)
    if provider is not None and provider not in config.providers:
        raise click.BadParameter(f"there is no provider {provider!r} in the configuration.", param_hint="--provider")
    ask = ReconcileAsk(period_of(since, until), provider, most)
    with told(f"The invoice {invoice} cannot be read", InvoiceError, OSError), open_invoice(invoice) as stream:
        lines = Invoice(stream, most)
        found = read(config, partial(reconcile, ask=ask, lines=lines))
    if as_json:
        print_json(_document(found, lines))
    else:
        _print(found, ask, lines)
    if lines.fault_count or not found.agrees:
        ctx.exit(1)


def _document(found: Reconciliation, invoice: Invoice) -> dict[str, Any]:
    """Return all of it as JSON has it; ``listed`` may be fewer than ``count``."""
    return {
        "lines": found.lines,
        "equal": attrs.asdict(found.equal),
        "differing": attrs.asdict(found.differing)
        | {
            "by_ending": {ending: attrs.asdict(sums) for ending, sums in sorted(found.by_ending.items())},
            "listed": [_told(match) for match in found.differences.rows()],
        },
        "only_on_invoice": attrs.asdict(found.unknown_sums)
        | {"listed": [attrs.asdict(unknown) for unknown in found.unknown.rows()]},
        "only_with_us": attrs.asdict(found.missing_sums)
        | {"listed": [attrs.asdict(missing) for missing in found.missing.rows()]},
        "unread": {"count": invoice.fault_count, "listed": [attrs.asdict(fault) for fault in invoice.faults]},
    }


def _told(match: Match) -> dict[str, Any]:
    return attrs.asdict(match) | {"difference_nusd": match.difference_nusd}


def _print(found: Reconciliation, ask: ReconcileAsk, invoice: Invoice) -> None:
    click.echo(f"Equal: {_counted(found.equal.count, 'attempt')}, {format_usd(found.equal.ours_nusd)} USD.")
    if found.differing.count:
        _print_differences(found)
    if count := found.unknown_sums.count:
        rows = [
            [str(each.line), each.id, format_usd(each.theirs_nusd), _why(each, ask)] for each in found.unknown.rows()
        ]
        amount = format_usd(found.unknown_sums.theirs_nusd)
        click.echo(f"\nOn the invoice and not with us: {_counted(count, 'line')}, {amount} USD{_largest(count, rows)}.")
        print_table(("line", "id", "theirs $", "why"), rows)
    if count := found.missing_sums.count:
        names = ("inference", "attempt", "provider", "model", "ending", "evidence", "ours $")
        rows = [[*map(str, facts), format_usd(ours)] for *facts, ours in map(attrs.astuple, found.missing.rows())]
        amount = format_usd(found.missing_sums.ours_nusd)
        click.echo(
            f"\nCharged and not on the invoice: {_counted(count, 'attempt')}, {amount} USD{_largest(count, rows)}."
        )
        print_table(names, rows)
    if invoice.fault_count:
        click.echo(f"\nLeft out: {_counted(invoice.fault_count, 'line')}; the first of them:")
        for fault in invoice.faults:
            click.echo(f"Line {fault.line}: {fault.why}.")


def _print_differences(found: Reconciliation) -> None:
    rows = [_cells(match) for match in found.differences.rows()]
    sums = found.differing
    beyond = format_usd(sums.theirs_nusd - sums.ours_nusd)
    told_first = f"{_counted(sums.count, 'attempt')}, {beyond} USD billed beyond what was charged"
    click.echo(f"\nDifferent: {told_first}{_largest(sums.count, rows)}.")
    print_table(_DIFFERENCES, rows)
    click.echo("\nBy ending:")
    print_table(_SUMS, [[ending, *_sums(sums)] for ending, sums in sorted(found.by_ending.items())])


def _cells(match: Match) -> list[str]:
    numbers = (
        match.our_input_tokens, match.their_input_tokens, match.our_output_tokens, match.their_output_tokens,
    )  # fmt: skip
    return [
        match.inference_id,
        "-" if match.attempt is None else str(match.attempt),
        str(match.line),
        match.ending,
        match.evidence or "-",
        format_usd(match.ours_nusd),
        "-" if match.theirs_nusd is None else format_usd(match.theirs_nusd),
        "-" if match.theirs_nusd is None else format_usd(match.difference_nusd),
        *("-" if number is None else str(number) for number in numbers),
    ]


def _sums(sums: Sums) -> list[str]:
    amounts = (sums.ours_nusd, sums.theirs_nusd, sums.theirs_nusd - sums.ours_nusd)
    return [str(sums.count), *map(format_usd, amounts)]


def _largest(count: int, listed: list[list[str]]) -> str:
    return f"; the largest {len(listed)} of them" if len(listed) < count else ""


def _counted(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _why(unknown: Unknown, ask: ReconcileAsk) -> str:
    if unknown.is_ambiguous:
        return "its id names several exchanges"
    return "no attempt has its id" if ask.provider is None else f"no attempt at {ask.provider} has its id"

"""``ainf usage``: what was used and spent."""

from pathlib import Path

import click
from click.core import ParameterSource

from ainf.cli.output import brief, print_json, print_table
from ainf.cli.settings import books_config, config_option, json_option, past, period_of, read
from ainf.inference.money import format_usd
from ainf.store.admin import find_account
from ainf.store.transaction import Transaction
from ainf.store.usage import DIMENSIONS, Sums, UsageAsk, UsageReport, Whose
from ainf.store.usage import usage as usage_of
from ainf.store.usage_document import usage_csv, usage_document

_HEAD = ("exchanges", "input", "cached", "output", "settled $", "overrun $", "", "adjusted $", "spent $")
_MARK = "!"


def _dimensions(_ctx: click.Context, param: click.Parameter, value: str) -> tuple[str, ...]:
    by = tuple(value.split(","))
    if len(set(by)) < len(by) or not set(by) <= set(DIMENSIONS):
        raise click.BadParameter(f"{value!r} is not some of {', '.join(DIMENSIONS)}, each once.", param=param)
    return by


@click.command()
@click.option("--account", metavar="NAME", help="Of an account with all below it; without it, of all.")
@click.option("--since", callback=past, default="30d", show_default=True, help="2026-11-01, or an age: 30d, 12h.")
@click.option("--until", callback=past, help="Until before a time; without it, until now.")
@click.option(
    "--by",
    callback=_dimensions,
    default="day",
    show_default=True,
    help=f"Summed by some of {', '.join(DIMENSIONS)}.",
)
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV instead of a table.")
@click.option("--calibration", is_flag=True, help="Instead: how well each model is metered.")
@json_option
@config_option
@click.pass_context
def usage(  # noqa: PLR0913 - an option each
    ctx: click.Context,
    *,
    account: str | None,
    since: int,
    until: int | None,
    by: tuple[str, ...],
    as_csv: bool,
    calibration: bool,
    as_json: bool,
    config_path: Path,
) -> None:
    """Show what was used and spent. An exchange counts at its admission, an adjustment when it was posted.

    By model and provider, what an exchange spent stands where it called, also where nothing came of it; the exchange is
    counted with those that answered, or were tried last.
    """
    if calibration:
        _print_calibration(ctx, config_path, as_json=as_json)
        return
    if as_csv and as_json:
        raise click.UsageError("Give either --csv or --json.")
    period = period_of(since, until)

    def report_of(tx: Transaction) -> UsageReport:
        whose = Whose(None if account is None else find_account(tx, account)[0])
        return usage_of(tx, UsageAsk(whose, period, by))

    report = read(books_config(config_path), report_of)
    if as_json:
        print_json(usage_document(report))
    elif as_csv:
        click.echo(usage_csv(report), nl=False)
    else:
        _print(report)


def _print_calibration(ctx: click.Context, config_path: Path, *, as_json: bool) -> None:
    for name in ("account", "since", "until", "by", "as_csv"):
        if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            option = name.removeprefix("as_")
            raise click.UsageError(f"--calibration is of all models and all time, without --{option}.")
    from ainf.cli.calibration import print_calibration  # noqa: PLC0415 - it needs a whole gateway, usage does not

    print_calibration(books_config(config_path), as_json=as_json)


def _print(report: UsageReport) -> None:
    ask = report.ask
    rows = [[*row.group, *_cells(row.sums)] for row in report.rows]
    total = ["total", *[""] * (len(ask.by) - 1), *_cells(report.totals)]
    print_table([*ask.by, *_HEAD], [*rows, total])
    click.echo()
    click.echo(
        f"From {brief(ask.period.since)} until before {brief(ask.period.until)}; running now: {report.running}, which"
        f" hold {format_usd(report.held_nusd)} USD."
    )
    if report.totals.overrun_nusd:
        click.echo(f"{_MARK} Billed beyond what was held: look for what overran with `ainf usage --by model,ending`.")


def _cells(sums: Sums) -> list[str]:
    return [
        *map(str, (sums.exchanges, sums.input_tokens, sums.cached_input_tokens, sums.output_tokens)),
        format_usd(sums.settled_nusd),
        format_usd(sums.overrun_nusd),
        _MARK if sums.overrun_nusd else "",
        format_usd(sums.adjustments_nusd),
        format_usd(sums.spent_nusd),
    ]

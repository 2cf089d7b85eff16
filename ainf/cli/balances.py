"""``ainf balances``: money that was paid in."""

from functools import partial
from pathlib import Path
from typing import Any, Final

import click

from ainf.cli.output import brief, print_json, print_table, record
from ainf.cli.settings import books_config, config_option, json_option, new_id, read, usd, wall_clock, write
from ainf.inference.money import format_usd
from ainf.store.balances import (
    Balance,
    Credit,
    CreditKind,
    NewCredit,
    close_balance,
    credit,
    list_balances,
    list_credits,
    open_balance,
)

_account_option: Final = click.option("--account", required=True, metavar="NAME", help="Whose balance.")
_note_option: Final = click.option("--note", default="", help="Why, for who reads the list later.")


def _signed_usd(ctx: click.Context, param: click.Parameter, value: str) -> int:
    """Return an option's exact amount of dollars, which may be negative, as nano-dollars (a click callback)."""
    return -usd(ctx, param, value[1:]) if value.startswith("-") else usd(ctx, param, value)


def _optional_usd(ctx: click.Context, param: click.Parameter, value: str | None) -> int | None:
    return None if value is None else usd(ctx, param, value)


@click.group()
def balances() -> None:
    """Open, top up, correct, list and close balances: prepaid money of accounts."""


@balances.command("open")
@_account_option
@click.option("--usd", "amount_nusd", callback=_optional_usd, help="What is paid in at once, such as 25.")
@_note_option
@json_option
@config_option
def open_(*, account: str, amount_nusd: int | None, note: str, as_json: bool, config_path: Path) -> None:
    """Open a balance: the account, and all below it that has no nearer one, spends what is paid in and no more."""
    if note and amount_nusd is None:
        raise click.UsageError("--note is of what is paid in: give --usd too.")
    first = None if amount_nusd is None else NewCredit(new_id("cr"), CreditKind.TOP_UP, amount_nusd, note)
    operation = partial(open_balance, cap_id=new_id("cap"), account=account, first=first, at=wall_clock())
    _show(write(books_config(config_path), operation), as_json=as_json)


@balances.command()
@_account_option
@click.option("--usd", "amount_nusd", callback=usd, required=True, help="What was paid in, such as 25.")
@_note_option
@json_option
@config_option
def top_up(*, account: str, amount_nusd: int, note: str, as_json: bool, config_path: Path) -> None:
    """Add to a balance what was paid in."""
    new = NewCredit(new_id("cr"), CreditKind.TOP_UP, amount_nusd, note)
    operation = partial(credit, account=account, new=new, at=wall_clock())
    _show(write(books_config(config_path), operation), as_json=as_json)


@balances.command()
@_account_option
@click.option("--usd", "amount_nusd", callback=_signed_usd, required=True, help="By how much, such as --usd=-2.50.")
@_note_option
@json_option
@config_option
def adjust(*, account: str, amount_nusd: int, note: str, as_json: bool, config_path: Path) -> None:
    """Correct a balance, up or down. Where less is left than is spent, nothing opens until it is topped up."""
    new = NewCredit(new_id("cr"), CreditKind.ADJUSTMENT, amount_nusd, note)
    operation = partial(credit, account=account, new=new, at=wall_clock())
    _show(write(books_config(config_path), operation), as_json=as_json)


@balances.command("list")
@click.option("--credits", "of_account", metavar="NAME", help="List what was put on an account's balances instead.")
@json_option
@config_option
def list_(*, of_account: str | None, as_json: bool, config_path: Path) -> None:
    """List the balances, and what is left of them."""
    config = books_config(config_path)
    if of_account is not None:
        _show_credits(read(config, partial(list_credits, account=of_account)), as_json=as_json)
        return
    found = read(config, list_balances)
    if as_json:
        print_json([_told(balance) for balance in found])
    else:
        _print_balances(found)


def _show_credits(found: list[Credit], *, as_json: bool) -> None:
    if as_json:
        print_json([record(each) for each in found])
        return
    rows = [[brief(each.posted_at), each.kind, format_usd(each.amount_nusd), each.note or "-"] for each in found]
    print_table(["at", "kind", "amount $", "note"], rows)


@balances.command()
@_account_option
@json_option
@config_option
def close(*, account: str, as_json: bool, config_path: Path) -> None:
    """Close a balance; what it still had is shown, and no longer binds anything."""
    _show(write(books_config(config_path), partial(close_balance, account=account, at=wall_clock())), as_json=as_json)


def _show(balance: Balance, *, as_json: bool) -> None:
    if as_json:
        print_json(_told(balance))
    else:
        _print_balances([balance])


def _told(balance: Balance) -> dict[str, Any]:
    return {**record(balance), "left_nusd": balance.left_nusd}


def _print_balances(found: list[Balance]) -> None:
    rows = [
        [
            f"account {balance.account}",
            *map(format_usd, (balance.paid_in_nusd, balance.settled_nusd, balance.held_nusd, balance.left_nusd)),
        ]
        for balance in found
    ]
    print_table(["of", "paid in $", "settled $", "held $", "left $"], rows)

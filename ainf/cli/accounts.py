"""``ainf accounts``: who may spend."""

from functools import partial
from pathlib import Path

import click

from ainf.cli.output import brief, moment, print_json, print_table, record
from ainf.cli.settings import books_config, config_option, json_option, new_id, read, wall_clock, write
from ainf.store.admin import close_account, create_account, list_accounts


@click.group()
def accounts() -> None:
    """Make, list and close accounts."""


@accounts.command()
@click.argument("name")
@click.option("--parent", metavar="NAME", help="The account to make it below.")
@click.option("-q", "--quiet", is_flag=True, help="Print only the account's id.")
@json_option
@config_option
def create(*, name: str, parent: str | None, quiet: bool, as_json: bool, config_path: Path) -> None:
    """Make an account NAME: 1 to 64 characters of a-z, 0-9, dot, underscore and dash."""
    config = books_config(config_path)
    operation = partial(create_account, account_id=new_id("acc"), name=name, parent=parent, at=wall_clock())
    account = write(config, operation)
    if as_json:
        print_json(record(account))
    elif quiet:
        click.echo(account.account_id)
    else:
        print_table(["account", "parent", "id"], [[account.name, account.parent or "-", account.account_id]])


@accounts.command("list")
@json_option
@config_option
def list_(*, as_json: bool, config_path: Path) -> None:
    """List all accounts, closed ones too."""
    found = read(books_config(config_path), list_accounts)
    if as_json:
        print_json([record(account) for account in found])
        return
    rows = [
        [account.name, account.parent or "-", account.account_id, brief(account.created_at), brief(account.closed_at)]
        for account in found
    ]
    print_table(["account", "parent", "id", "created", "closed"], rows)


@accounts.command()
@click.argument("name")
@json_option
@config_option
def close(*, name: str, as_json: bool, config_path: Path) -> None:
    """Close the account NAME: its keys, and those of the accounts below it, no longer authenticate."""
    at = wall_clock()
    write(books_config(config_path), partial(close_account, name=name, at=at))
    if as_json:
        print_json({"name": name, "closed_at": moment(at)})
    else:
        print_table(["account", "closed"], [[name, brief(at)]])

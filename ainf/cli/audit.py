"""``ainf audit``: what happened, and whether the record of it is whole."""

from functools import partial
from pathlib import Path
from typing import Any

import click
import msgspec

from ainf.cli.output import print_json, print_table
from ainf.cli.settings import CommandError, books_config, config_option, json_option, read
from ainf.store.chain import chain_faults
from ainf.store.receipts import receipt
from ainf.store.transaction import Row, Transaction


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
    lists = {name: found.pop(name) for name in ("attempts", "adjustments")}
    print_table(["receipt", ""], [[name, _shown(value)] for name, value in found.items()])
    for name, lines in lists.items():
        for number, line in enumerate(lines, 1):
            click.echo()
            print_table([f"{name.removesuffix('s')} {number}", ""], [[part, _shown(line[part])] for part in line])


def _shown(value: Any) -> str:  # noqa: ANN401 - whatever a receipt holds
    match value:
        case None:
            return "-"
        case str():
            return value
        case _:
            return msgspec.json.encode(value).decode()


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

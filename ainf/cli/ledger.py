"""``ainf ledger``: whether the books are right."""

from pathlib import Path

import attrs
import click

from ainf.cli.output import print_json, print_table
from ainf.cli.settings import books_config, config_option, json_option, read
from ainf.store.verify import INVARIANTS, verify


@click.group()
def ledger() -> None:
    """Check the ledger."""


@ledger.command("verify")
@json_option
@config_option
@click.pass_context
def verify_(ctx: click.Context, *, as_json: bool, config_path: Path) -> None:
    """Check every invariant over the whole database; exit with status 1 and the rows where one is broken."""
    findings = read(books_config(config_path), verify)
    if as_json:
        print_json({"invariants": len(INVARIANTS), "findings": [attrs.asdict(finding) for finding in findings]})
    elif findings:
        rows = [
            [finding.invariant, finding.meaning, ", ".join(f"{name}={value}" for name, value in finding.row.items())]
            for finding in findings
        ]
        print_table(["broken", "what should hold", "row"], rows)
    else:
        click.echo(f"the ledger is sound: {len(INVARIANTS)} invariants hold")
    if findings:
        ctx.exit(1)

"""``ainf ledger``: whether the books are right."""

import os
import sys
import time
from functools import partial
from pathlib import Path
from typing import Final

import attrs
import click

from ainf.cli.output import print_json, print_table
from ainf.cli.progress import bar_of
from ainf.cli.reconcile import reconcile_
from ainf.cli.settings import books_config, config_option, json_option, read
from ainf.config import Config
from ainf.store.verify import INVARIANTS, Finding, checks_of, verify

_NAMES: Final = tuple(dict.fromkeys(invariant.name for invariant in INVARIANTS))
_WHAT_TO_DO: Final = (
    "The ledger is never repaired by itself: which of two rows that differ is right is for people to decide. Keep a"
    " copy of the database as it is, and compare these rows with the audit trail (`ainf audit verify`, `ainf audit show"
    " ID`) and with what the provider billed; docs/invariants.md says more."
)


@click.group()
def ledger() -> None:
    """Check the ledger."""


ledger.add_command(reconcile_)


@ledger.command("verify")
@click.option(
    "--only",
    multiple=True,
    type=click.Choice(_NAMES),
    metavar="NAME",
    help="An invariant to check, such as I4; may be given several times.  [default: all]",
)
@json_option
@config_option
@click.pass_context
def verify_(ctx: click.Context, *, only: tuple[str, ...], as_json: bool, config_path: Path) -> None:
    """Check every invariant over the whole database; exit with status 1 and the rows where one is broken.

    Nothing is changed. docs/invariants.md lists what is checked.
    """
    config = books_config(config_path)
    secrets = _secrets(config)
    with bar_of(len(checks_of(only)), sys.stderr, time.monotonic) as progress:
        findings = read(config, partial(verify, secrets=secrets, only=only, progress=progress))
    names = only or _NAMES
    if as_json:
        told = [attrs.asdict(finding) for finding in findings]
        print_json({"invariants": list(names), "keys_looked_for": len(secrets), "findings": told})
    elif findings:
        _print(findings)
    else:
        click.echo(_sound(names, secrets))
    if findings:
        click.echo(_WHAT_TO_DO, err=True)
        ctx.exit(1)


def _secrets(config: Config) -> tuple[str, ...]:
    """Return the providers' keys that the environment has."""
    variables = (provider.api_key_env for provider in config.providers.values())
    return tuple(os.environ[variable] for variable in variables if variable is not None and os.environ.get(variable))


def _sound(names: tuple[str, ...], secrets: tuple[str, ...]) -> str:
    hold = f"{len(names)} invariants hold" if len(names) > 1 else f"{names[0]} holds"
    unlooked = "" if secrets or "I17" not in names else " No provider's key is in the environment to look for (I17)."
    return f"The ledger is sound: {hold}.{unlooked}"


def _print(findings: list[Finding]) -> None:
    rows = [
        [finding.invariant, finding.meaning, ", ".join(f"{name}={value}" for name, value in finding.row.items())]
        for finding in findings
    ]
    print_table(["broken", "what should hold", "row"], rows)

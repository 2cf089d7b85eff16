"""``ainf caps``: how much may be spent."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import attrs
import click

from ainf.cli.output import brief, moment, print_json, print_table, record
from ainf.cli.settings import (
    CommandError,
    books_config,
    config_option,
    json_option,
    new_id,
    read,
    usd,
    wall_clock,
    write,
)
from ainf.config import Config
from ainf.inference.money import format_usd
from ainf.ledger import Window
from ainf.store.caps import list_caps, remove_cap, set_cap, subject_of
from ainf.store.counting import Counted, Scope, count
from ainf.store.transaction import Transaction

_window_option: Final = click.option(
    "--window",
    type=click.Choice([window.value for window in Window]),
    default=Window.LIFETIME.value,
    show_default=True,
    help="The calendar period in UTC that it counts.",
)
_model_option: Final = click.option(
    "--model", default="*", metavar="PATTERN", help="Only for a model, or for names such as gpt-*."
)


@attrs.frozen
class _Whose:
    """The account or key that a command names."""

    account: str | None
    key_id: str | None

    def __attrs_post_init__(self) -> None:
        if (self.account is None) == (self.key_id is None):
            raise click.UsageError("Give either --account NAME or --key ID.")

    def scope(self, tx: Transaction, window: str, model: str) -> Scope:
        return Scope(subject_of(tx, account=self.account, key_id=self.key_id), Window(window), model)

    def __str__(self) -> str:
        return f"account {self.account}" if self.account is not None else f"key {self.key_id}"


def _subject_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options that name whose cap it is; it gets them as one argument ``whose``."""

    @click.option("--account", metavar="NAME", help="The cap of an account, with all below it.")
    @click.option("--key", "key_id", metavar="ID", help="The cap of a key.")
    @functools.wraps(command)
    def wrapped(*, account: str | None, key_id: str | None, **options: Any) -> None:  # noqa: ANN401 - the command's own
        command(whose=_Whose(account, key_id), **options)

    return wrapped


@click.group()
def caps() -> None:
    """Set, list and remove caps."""


@caps.command("set")
@_subject_options
@_window_option
@_model_option
@click.option("--usd", "limit_nusd", callback=usd, required=True, help="The limit, such as 1.50.")
@click.option("-q", "--quiet", is_flag=True, help="Print only the cap's id.")
@json_option
@config_option
def set_(  # noqa: PLR0913 - an option each
    *, whose: _Whose, window: str, model: str, limit_nusd: int, quiet: bool, as_json: bool, config_path: Path
) -> None:
    """Set a cap, or change its limit. It counts its window from the beginning, and binds what is running too."""
    config = books_config(config_path)
    _check_counts(config, model)

    def look(tx: Transaction) -> tuple[Scope, Counted]:
        scope = whose.scope(tx, window, model)
        return scope, count(tx, scope, wall_clock())

    scope, counted = read(config, look)

    def operation(tx: Transaction) -> str:
        # The clock is read while the database is held: nothing that is in it was admitted in a later window.
        at = wall_clock()
        return set_cap(tx, cap_id=new_id("cap"), scope=scope, limit_nusd=limit_nusd, at=at, counted=counted)

    cap_id = write(config, operation)
    if as_json:
        print_json({
            "cap_id": cap_id,
            **attrs.asdict(whose),
            "window": window,
            "model": model,
            "limit_nusd": limit_nusd,
        })
    elif quiet:
        click.echo(cap_id)
    else:
        row = [cap_id, str(whose), window, model, format_usd(limit_nusd)]
        print_table(["cap", "on", "window", "models", "limit $"], [row])


def _check_counts(config: Config, model: str) -> None:
    """Refuse the name of a routing target: no cap would ever count anything by it."""
    if any(model in target.names for target in config.targets.values()):
        raise CommandError(
            f"{model!r} is a routing target, and a cap counts by the model that answers: name the models, or leave "
            "--model out"
        )


@caps.command("list")
@json_option
@config_option
def list_(*, as_json: bool, config_path: Path) -> None:
    """List the caps in force, and what is left of them."""
    at = wall_clock()
    found = read(books_config(config_path), lambda tx: list_caps(tx, at))
    if as_json:
        print_json([{**record(cap), "left_nusd": cap.left_nusd} for cap in found])
        return
    rows = [
        [
            f"{cap.subject} {cap.name}",
            cap.window,
            cap.model,
            *map(format_usd, (cap.limit_nusd, cap.settled_nusd, cap.held_nusd, cap.left_nusd)),
            brief(cap.resets_at),
        ]
        for cap in found
    ]
    print_table(["on", "window", "models", "limit $", "settled $", "held $", "left $", "resets"], rows)


@caps.command()
@_subject_options
@_window_option
@_model_option
@json_option
@config_option
def remove(*, whose: _Whose, window: str, model: str, as_json: bool, config_path: Path) -> None:
    """Remove a cap."""
    at = wall_clock()
    write(books_config(config_path), lambda tx: remove_cap(tx, scope=whose.scope(tx, window, model), at=at))
    if as_json:
        print_json({**attrs.asdict(whose), "window": window, "model": model, "removed_at": moment(at)})
    else:
        print_table(["on", "window", "models", "removed"], [[str(whose), window, model, brief(at)]])

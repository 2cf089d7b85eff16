"""``ainf keys``: what agents authenticate with."""

import functools
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from secrets import token_bytes, token_hex
from typing import Any, Final

import attrs
import click

from ainf.cli.output import brief, moment, print_json, print_table, record
from ainf.cli.settings import CommandError, books_config, config_option, json_option, read, wall_clock, write
from ainf.config import Config
from ainf.ledger import covers
from ainf.store.admin import Key, create_key, digest_of, key_text, limit_key, list_keys, revoke_key
from ainf.store.base import KeyLimits
from ainf.store.rights import FINISH_REASONS, LIMITS, MONEY_REFUSALS, KeyRights

_SECRET_BYTES = 25
_KEY_ID_BYTES = 6
_NONE: Final = "none"


def _time(_ctx: click.Context, param: click.Parameter, value: str | None) -> int | None:
    """Return an option's moment as microseconds since 1970 (a click callback)."""
    if value is None:
        return None
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        text = f"{value!r} is no time such as 2030-12-31 or 2030-12-31T12:00:00Z"
        raise click.BadParameter(text, param=param) from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return int(moment.timestamp()) * 1_000_000


def _limit_options(kind: click.IntRange, note: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command an option for each limit; it gets those that were given as one argument ``limits``, by name."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(command)
        def wrapped(**options: Any) -> None:  # noqa: ANN401 - the command's own
            given = {name: options.pop(name) for name in LIMITS}
            command(limits={name: value for name, value in given.items() if value is not None}, **options)

        for name, words in reversed(LIMITS.items()):
            text = f"The most {words}{note}."
            wrapped = click.option(f"--{name.replace('_', '-')}", type=kind, help=text)(wrapped)
        return wrapped

    return decorate


class _CountOrNone(click.IntRange):
    """A count, or the word that lifts a limit."""

    name = "N|none"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:  # noqa: ANN401 - as click declares it
        return value if value == _NONE else super().convert(value, param, ctx)


@click.group()
def keys() -> None:
    """Make, list, limit and revoke keys."""


@keys.command()
@click.option("--account", required=True, metavar="NAME", help="The account that pays.")
@click.option(
    "--model",
    "models",
    multiple=True,
    metavar="PATTERN",
    help="Allow only this model or routing target, or names such as gpt-*; may be repeated.",
)
@click.option("--endpoint", "endpoints", multiple=True, metavar="PATH", help="Allow only this path; may be repeated.")
@click.option("--expires", callback=_time, help="When it ends, such as 2030-12-31 (UTC).")
@_limit_options(click.IntRange(min=1), "")
@click.option("--inject-cost", is_flag=True, help="Tell its clients the cost in the usage of each answer.")
@click.option("--finish-reasons", type=click.Choice(FINISH_REASONS), default=FINISH_REASONS[0], show_default=True)
@click.option("--money-refusal", type=click.Choice(MONEY_REFUSALS), default=MONEY_REFUSALS[0], show_default=True)
@click.option(
    "--maker",
    metavar="ID",
    help="The key in whose name it is made: it gets no more rights than that one. A cap on that key does not bind it.",
)
@click.option("-q", "--quiet", is_flag=True, help="Print only the key.")
@json_option
@config_option
def create(
    *,
    account: str,
    maker: str | None,
    quiet: bool,
    as_json: bool,
    config_path: Path,
    **rights: Any,  # noqa: ANN401 - the options of ``_rights``
) -> None:
    """Make a key. It is shown now and never again: only its digest is stored."""
    config = books_config(config_path)
    _check_models(config, rights["models"])
    key_id = token_hex(_KEY_ID_BYTES)
    text = key_text(key_id, token_bytes(_SECRET_BYTES))
    operation = partial(
        create_key,
        key_id=key_id,
        digest=digest_of(text),
        account=account,
        rights=_rights(**rights),
        at=wall_clock(),
        maker_key_id=maker,
    )
    key = write(config, operation)
    if as_json:
        print_json({**record(key), "key": text})
    elif quiet:
        click.echo(text)
    else:
        print_table(["id", "account", "key (shown only now)"], [[key.key_id, key.account, text]])


def _rights(
    *,
    models: tuple[str, ...],
    endpoints: tuple[str, ...],
    expires: int | None,
    limits: Mapping[str, int],
    **shown: Any,  # noqa: ANN401 - how money is told: as ``KeyRights`` has it
) -> KeyRights:
    return KeyRights(models or None, endpoints or None, expires, limits=KeyLimits(**limits), **shown)


def _check_models(config: Config, models: tuple[str, ...]) -> None:
    known = [*config.models, *(name for target in config.targets.values() for name in target.names)]
    for model in models:
        if not any(covers(model, name) for name in known):
            raise CommandError(f"no model or routing target {model!r} is configured; known are {', '.join(known)}")


@keys.command("list")
@click.option("--account", metavar="NAME", help="Only this account's.")
@json_option
@config_option
def list_(*, account: str | None, as_json: bool, config_path: Path) -> None:
    """List keys, revoked and expired ones too."""
    found = read(books_config(config_path), partial(list_keys, account=account))
    if as_json:
        print_json([record(key) for key in found])
        return
    now = wall_clock()
    rows = [
        [
            key.key_id,
            key.account,
            _state(key, now),
            ", ".join(key.models or ["all"]),
            ", ".join(key.endpoints or ["all"]),
            _limits(key.limits),
            key.maker_key_id or "-",
            brief(key.created_at),
            brief(key.expires_at),
        ]
        for key in found
    ]
    head = ["id", "account", "state", "models", "endpoints", "limits", "maker", "created", "expires"]
    print_table(head, rows)


def _limits(limits: KeyLimits) -> str:
    found = ((getattr(limits, name), words) for name, words in LIMITS.items())
    return ", ".join(f"{value} {words}" for value, words in found if value is not None) or "-"


def _state(key: Key, now: int) -> str:
    if key.revoked_at is not None:
        return "revoked"
    return "expired" if key.expires_at is not None and key.expires_at <= now else "valid"


@keys.command()
@click.argument("key_id", metavar="ID")
@_limit_options(_CountOrNone(min=1), ", or none")
@json_option
@config_option
def limit(*, key_id: str, limits: Mapping[str, int | str], as_json: bool, config_path: Path) -> None:
    """Change limits of the key with this ID; what is not given stays as it is."""
    if not limits:
        raise click.UsageError("Give a limit to change.")
    change = {name: None if value == _NONE else int(value) for name, value in limits.items()}
    operation = partial(limit_key, key_id=key_id, change=change, at=wall_clock())
    found = write(books_config(config_path), operation)
    if as_json:
        print_json({"key_id": key_id, "limits": attrs.asdict(found)})
    else:
        print_table(["id", "limits"], [[key_id, _limits(found)]])


@keys.command()
@click.argument("key_id", metavar="ID")
@click.option("--with-made", is_flag=True, help="Also all keys that were made in its name, and in theirs.")
@json_option
@config_option
def revoke(*, key_id: str, with_made: bool, as_json: bool, config_path: Path) -> None:
    """Revoke the key with this ID (the part between the underscores): its running streams end."""
    at = wall_clock()
    operation = partial(revoke_key, key_id=key_id, at=at, with_made=with_made)
    revoked = write(books_config(config_path), operation)
    if as_json:
        print_json([{"key_id": each, "revoked_at": moment(at)} for each in revoked])
    else:
        print_table(["id", "revoked"], [[each, brief(at)] for each in revoked])

"""``ainf keys``: what agents authenticate with."""

from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from secrets import token_bytes, token_hex
from typing import Any

import click

from ainf.cli.output import brief, moment, print_json, print_table, record
from ainf.cli.settings import CommandError, books_config, config_option, json_option, read, wall_clock, write
from ainf.config import Config
from ainf.store.admin import (
    FINISH_REASONS,
    MONEY_REFUSALS,
    Key,
    KeyRights,
    create_key,
    digest_of,
    key_text,
    list_keys,
    revoke_key,
)

_SECRET_BYTES = 25
_KEY_ID_BYTES = 6


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


@click.group()
def keys() -> None:
    """Make, list and revoke keys."""


@keys.command()
@click.option("--account", required=True, metavar="NAME", help="The account that pays.")
@click.option("--model", "models", multiple=True, metavar="NAME", help="Allow only this model; may be repeated.")
@click.option("--endpoint", "endpoints", multiple=True, metavar="PATH", help="Allow only this path; may be repeated.")
@click.option("--expires", callback=_time, help="When it ends, such as 2030-12-31 (UTC).")
@click.option("--finish-reasons", type=click.Choice(FINISH_REASONS), default=FINISH_REASONS[0], show_default=True)
@click.option("--money-refusal", type=click.Choice(MONEY_REFUSALS), default=MONEY_REFUSALS[0], show_default=True)
@click.option("-q", "--quiet", is_flag=True, help="Print only the key.")
@json_option
@config_option
def create(*, account: str, quiet: bool, as_json: bool, config_path: Path, **rights: Any) -> None:  # noqa: ANN401 - the options of ``_rights``
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
    finish_reasons: str,
    money_refusal: str,
) -> KeyRights:
    return KeyRights(models or None, endpoints or None, expires, finish_reasons, money_refusal)


def _check_models(config: Config, models: tuple[str, ...]) -> None:
    for model in models:
        if model not in config.models:
            raise CommandError(f"no model {model!r} is configured; known are {', '.join(config.models)}")


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
            brief(key.created_at),
            brief(key.expires_at),
        ]
        for key in found
    ]
    print_table(["id", "account", "state", "models", "endpoints", "created", "expires"], rows)


def _state(key: Key, now: int) -> str:
    if key.revoked_at is not None:
        return "revoked"
    return "expired" if key.expires_at is not None and key.expires_at <= now else "valid"


@keys.command()
@click.argument("key_id", metavar="ID")
@json_option
@config_option
def revoke(*, key_id: str, as_json: bool, config_path: Path) -> None:
    """Revoke the key with this ID (the part between the underscores): its running streams end."""
    at = wall_clock()
    write(books_config(config_path), partial(revoke_key, key_id=key_id, at=at))
    if as_json:
        print_json({"key_id": key_id, "revoked_at": moment(at)})
    else:
        print_table(["id", "revoked"], [[key_id, brief(at)]])

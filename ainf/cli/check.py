"""``ainf check``: whether the configuration is right, and what it says; whether a provider is as declared."""

import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import click
import trio

from ainf.cli.output import RATE_COLUMNS, brief, print_json, print_table, printable, shown_rates, without_empty
from ainf.cli.settings import CommandError, config_option, json_option, told, wall_clock
from ainf.config import Config, ConfigError, ModelConfig, ProviderConfig, StoreConfig, TargetConfig, load_config
from ainf.config.values import SHARE
from ainf.inference.moments import rfc3339
from ainf.pricing import FREE
from ainf.store.ballast import ballast_path, has_room
from ainf.store.beside import StoreState, file_of, state_of

if TYPE_CHECKING:
    from ainf.cli.live import LiveReport


@click.command()
@click.option(
    "--live", "provider", metavar="PROVIDER", help="Make one small call to this provider; tell what is not as declared."
)
@click.option("--model", metavar="NAME", help="With --live: the model to ask; else the provider's first one.")
@json_option
@config_option
@click.pass_context
def check(ctx: click.Context, *, provider: str | None, model: str | None, as_json: bool, config_path: Path) -> None:
    """Check the configuration: print every fault with its line, or what it says. Nothing is changed."""
    if model is not None and provider is None:
        raise click.UsageError("--model belongs to --live PROVIDER.")
    try:
        config = load_config(config_path, os.environ)
    except ConfigError as error:
        if not as_json:
            raise
        print_json({"faults": [attrs.asdict(fault) for fault in error.faults]})
        ctx.exit(1)
    if provider is not None:
        _check_live(ctx, config, provider, model, as_json=as_json)
        return
    state = state_of(config.store.url)
    _check_disks(config.store, file_of(config.store.url))
    if as_json:
        print_json({"faults": [], **_as_json(config, state, wall_clock())})
    else:
        _print(config_path, config, state, wall_clock())


def _check_disks(store: StoreConfig, database: str) -> None:
    """Check that the gateway's files can be made.

    Raises:
        CommandError: one cannot.
    """
    for what, path in (("database", Path(database)), ("spool", store.spool)):
        if not os.access(path.parent, os.W_OK):
            raise CommandError(
                f"the {what} cannot be made or written: {path.parent} is no folder that this user may write to"
            )
    if not has_room(ballast_path(database), store.ballast_bytes):
        raise CommandError(
            f"the disk of {database} has no room for the ballast (store.ballast_bytes is {store.ballast_bytes}, and"
            " twice that must be free): the gateway would start, and admit nothing until there is"
        )


def _check_live(ctx: click.Context, config: Config, provider: str, model: str | None, *, as_json: bool) -> None:
    from ainf.cli.live import check_live  # noqa: PLC0415 - the web stack takes half a second; checking does without

    with told("the call cannot be made", OSError):
        report = trio.run(partial(check_live, config, provider, model))
    if as_json:
        print_json(attrs.asdict(report))
    else:
        _print_live(report)
    if report.differences:
        ctx.exit(1)


def _print_live(report: "LiveReport") -> None:
    click.echo(f"one small call to {report.provider}, model {report.model}; the provider bills it, the ledger does not")
    if report.usage is not None:
        click.echo(f"{report.usage.input_tokens} input tokens, {report.usage.output_tokens} output tokens")
    if report.answered_as is not None:
        click.echo(f"answered as {printable(report.answered_as)}")
    if not report.differences:
        click.echo("nothing that it showed is other than declared")
        return
    click.echo()
    rows = [[each.fact, each.declared, each.found] for each in report.differences]
    print_table(["not as declared", "declared", "found"], rows)


def _as_json(config: Config, state: StoreState, now: int) -> dict[str, Any]:
    return {
        "bind": [str(address) for address in config.server.bind],
        "public_url": config.server.public_url,
        "store": attrs.asdict(state),
        "providers": [
            {"name": p.name, "format": p.format, "base_url": p.base_url, "api_key_env": p.api_key_env}
            for p in config.providers.values()
        ],
        "models": [
            {
                "name": m.name,
                "provider": m.provider,
                "upstream_model": m.upstream_model,
                "max_output_tokens": m.max_output_tokens,
                "quality_milli": {"default": m.quality.default, **dict(m.quality.tasks)},
                "price": attrs.asdict(m.prices.at(now)),
                "price_source": m.prices.source,
                "coming_prices": [
                    {"from": rfc3339(begins), "price": attrs.asdict(price)}
                    for begins, price in m.prices.entries
                    if begins > now
                ],
            }
            for m in config.models.values()
        ],
        "targets": [
            {
                "name": t.name,
                "aliases": t.aliases,
                "min_quality_milli": t.min_quality_milli,
                "models": t.models,
            }
            for t in config.targets.values()
        ],
    }


def _print(path: Path, config: Config, state: StoreState, now: int) -> None:
    server = config.server
    click.echo(f"{path} is sound")
    click.echo(f"listens on {', '.join(map(str, server.bind))}{' with TLS' if server.tls_cert else ''}")
    click.echo(f"store {config.store.url}: {_store_words(state)}")
    click.echo()
    print_table(["provider", "format", "base url", "key"], [_provider_row(p) for p in config.providers.values()])
    click.echo()
    head = ["model", "provider", "upstream", "max output", *(f"{name} $" for name in RATE_COLUMNS)]
    print_table(*without_empty(head, [_model_row(m, now) for m in config.models.values()]))
    click.echo()
    print_table(
        ["model", "price", "rises above tokens", "changes at", "from"],
        [_price_row(m, now) for m in config.models.values()],
    )
    if config.targets:
        click.echo()
        head = ["target", "also called", "floor", "models that clear it", "models below it"]
        print_table(*without_empty(head, [_target_row(config, target) for target in config.targets.values()]))


def _store_words(state: StoreState) -> str:
    if state.schema is None:
        return "not there yet, it will be made"
    schema = f"schema {state.schema}"
    if state.schema < state.newest_schema:
        schema += f", will be brought to {state.newest_schema}"
    return f"{schema}, {'a gateway runs on it' if state.gateway_runs else 'no gateway runs on it'}"


def _provider_row(provider: ProviderConfig) -> list[str]:
    return [provider.name, provider.format, provider.base_url, provider.api_key_env or "none"]


def _model_row(model: ModelConfig, now: int) -> list[str]:
    price = model.prices.at(now)
    rates = ["free"] * len(RATE_COLUMNS) if price == FREE else shown_rates(price)
    return [model.name, model.provider, model.upstream_model, str(model.max_output_tokens), *rates]


def _price_row(model: ModelConfig, now: int) -> list[str]:
    price = model.prices.at(now)
    next_at = min((begins for begins, _ in model.prices.entries if begins > now), default=None)
    tiers = ", ".join(str(tier.above) for tier in price.tiers) or "-"
    return [model.name, price.version, tiers, brief(next_at), model.prices.source or "configuration"]


def _target_row(config: Config, target: TargetConfig) -> list[str]:
    floor = target.min_quality_milli
    rated = [(name, config.models[name].quality.default) for name in target.models]
    clearing = [f"{name} {SHARE.show(quality)}" for name, quality in rated if quality >= floor]
    below = [f"{name} {SHARE.show(quality)}" for name, quality in rated if quality < floor]
    return [target.name, *(", ".join(each) or "-" for each in (target.aliases, [SHARE.show(floor)], clearing, below))]

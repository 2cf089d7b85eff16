"""``ainf check``: whether the configuration is right, and what it says; whether a provider is as declared."""

import os
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import attrs
import click
import trio

from ainf.cli.output import print_json, print_table, printable
from ainf.cli.settings import CommandError, config_option, json_option, told
from ainf.config import Config, ConfigError, ModelConfig, ProviderConfig, load_config
from ainf.inference.money import format_usd
from ainf.pricing import FREE, Price
from ainf.store.beside import StoreState, state_of

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
    folder = Path(state.path).parent
    if not os.access(folder, os.W_OK):
        raise CommandError(f"the database cannot be made or written: {folder} is no folder that this user may write to")
    if as_json:
        print_json({"faults": [], **_as_json(config, state)})
    else:
        _print(config_path, config, state)


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


def _as_json(config: Config, state: StoreState) -> dict[str, Any]:
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
                "price": attrs.asdict(m.price),
            }
            for m in config.models.values()
        ],
    }


def _print(path: Path, config: Config, state: StoreState) -> None:
    server = config.server
    click.echo(f"{path} is sound")
    click.echo(f"listens on {', '.join(map(str, server.bind))}{' with TLS' if server.tls_cert else ''}")
    click.echo(f"store {config.store.url}: {_store_words(state)}")
    click.echo()
    print_table(["provider", "format", "base url", "key"], [_provider_row(p) for p in config.providers.values()])
    click.echo()
    head = ["model", "provider", "upstream", "max output", *(f"{name} $" for name in _RATES)]
    print_table(head, [_model_row(m) for m in config.models.values()])


def _store_words(state: StoreState) -> str:
    if state.schema is None:
        return "not there yet, it will be made"
    schema = f"schema {state.schema}"
    if state.schema < state.newest_schema:
        schema += f", will be brought to {state.newest_schema}"
    return f"{schema}, {'a gateway runs on it' if state.gateway_runs else 'no gateway runs on it'}"


def _provider_row(provider: ProviderConfig) -> list[str]:
    return [provider.name, provider.format, provider.base_url, provider.api_key_env or "none"]


def _model_row(model: ModelConfig) -> list[str]:
    return [model.name, model.provider, model.upstream_model, str(model.max_output_tokens), *_prices(model.price)]


_RATES: Final = {
    "input": attrgetter("input"),
    "cached": attrgetter("cached_input"),
    "write": attrgetter("cache_write"),
    "long write": attrgetter("long_cache_write"),
    "output": attrgetter("output"),
    "reasoning": attrgetter("reasoning"),
}
"""The rates of a price by the heads of their columns."""


def _prices(price: Price) -> list[str]:
    """Return USD per million tokens, a dash for what the price does not cover."""
    if price == FREE:
        return ["free"] * len(_RATES)
    rates = [rate_of(price) for rate_of in _RATES.values()]
    return ["-" if rate is None else format_usd(rate) for rate in rates]

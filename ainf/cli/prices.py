"""``ainf prices``: the prices that are bundled with the gateway, and where they are from."""

from typing import Any

import click

from ainf.cli.output import RATE_COLUMNS, brief, print_json, print_table, shown_rates, without_empty
from ainf.cli.settings import json_option
from ainf.config.bundled import BundledPrice, bundled_prices
from ainf.config.values import unknown
from ainf.inference.moments import rfc3339
from ainf.inference.money import format_usd
from ainf.pricing import Price, Rates


@click.command()
@click.option("--provider", metavar="FORMAT", help="Only the prices of this vendor: a provider's `format`.")
@json_option
def prices(*, provider: str | None, as_json: bool) -> None:
    """List the prices of models that need none in the configuration, with source and date."""
    vendors = sorted({vendor for each in bundled_prices() for vendor in each.vendors})
    if provider is not None and provider not in vendors:
        raise click.BadParameter(f"{provider!r} {unknown(provider, vendors)}", param_hint="--provider")
    listed = [each for each in bundled_prices() if provider is None or provider in each.vendors]
    if as_json:
        print_json([_as_json(each) for each in listed])
        return
    head = ["vendor", "model", "from", "above tokens", *(f"{name} $" for name in RATE_COLUMNS), "checked"]
    print_table(*without_empty(head, [row for each in listed for row in _rows(each)]))
    click.echo("\nUSD per million tokens. --json tells the aliases of each model too. The prices are from:")
    sources = dict.fromkeys((vendor, each.source) for each in listed for vendor in each.vendors)
    print_table(["vendor", "source"], [list(row) for row in sources])


def _rows(each: BundledPrice) -> list[list[str]]:
    """Return a row for every price and tier of a model."""
    name = [", ".join(each.vendors), each.models[0]]
    return [
        [*name, brief(begins or None), above, *shown_rates(rates), each.checked.isoformat()]
        for begins, price in each.prices.entries
        for above, rates in [("-", price), *((str(tier.above), tier) for tier in price.tiers)]
    ]


def _as_json(each: BundledPrice) -> dict[str, Any]:
    return {
        "vendors": each.vendors,
        "models": each.models,
        "kind": each.kind,
        "source": each.source,
        "checked": each.checked.isoformat(),
        "prices": [_price(begins, price) for begins, price in each.prices.entries],
    }


def _price(begins: int, price: Price) -> dict[str, Any]:
    return {
        "from": rfc3339(begins) if begins else None,
        "version": price.version,
        **_usd(price),
        "tiers": [{"above": tier.above, **_usd(tier)} for tier in price.tiers],
    }


def _usd(rates: Rates) -> dict[str, str]:
    return {name: format_usd(rate) for name, rate in rates.named().items()}

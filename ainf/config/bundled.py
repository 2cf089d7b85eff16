"""The prices that are bundled with the gateway: ``ainf/prices.toml``, which says where each is from."""

import functools
import tomllib
from collections.abc import Mapping
from datetime import date
from importlib.resources import files
from typing import Any, Final

import attrs

from ainf.config.prices import parse_prices
from ainf.pricing import PriceSchedule

_FILE: Final = "prices.toml"


@attrs.frozen(kw_only=True)
class BundledPrice:
    """What one model of one vendor costs, and how we know."""

    vendors: tuple[str, ...]
    """The ``format`` of the providers that it is the price of."""
    models: tuple[str, ...]
    """Its names there: the first, then its aliases."""
    kind: str
    """"text" or "embeddings"."""
    prices: PriceSchedule
    source: str
    """The vendor's page."""
    checked: date
    """The day as of which the sources say so."""


@functools.cache
def bundled_prices() -> tuple[BundledPrice, ...]:
    """Return all prices that are bundled, in the file's order."""
    document = tomllib.loads((files("ainf") / _FILE).read_text(encoding="utf-8"))
    return tuple(_bundled(entry) for entry in document["price"])


def _bundled(entry: Mapping[str, Any]) -> BundledPrice:
    source, checked = entry["source"], entry["checked"]
    prices: PriceSchedule = parse_prices(entry["rates"])
    return BundledPrice(
        vendors=tuple(entry["vendors"]),
        models=tuple(entry["models"]),
        kind=entry.get("kind", "text"),
        prices=attrs.evolve(prices, source=f"{source} ({checked.isoformat()})"),
        source=source,
        checked=checked,
    )


@functools.cache
def _by_name() -> Mapping[tuple[str, str], BundledPrice]:
    return {(vendor, name): each for each in bundled_prices() for vendor in each.vendors for name in each.models}


def bundled_price(vendor: str, model: str) -> BundledPrice | None:
    """Return what is bundled of a model of a vendor, or None.

    Args:
        vendor: a provider's ``format``.
        model: its name there, exactly.
    """
    return _by_name().get((vendor, model))

"""The prices that are bundled: whole, unambiguous, each with its source."""

from datetime import date
from itertools import pairwise

import pytest

from ainf.config.bundled import bundled_price, bundled_prices
from ainf.providers.registry import PROVIDERS

ALL = bundled_prices()


@pytest.mark.parametrize("each", ALL, ids=lambda each: f"{each.vendors[0]}:{each.models[0]}")
def test_an_entry(each):
    """It is of vendors that we know, for models by name, with the vendor's page and the day of the source."""
    assert each.models
    assert set(each.vendors) <= PROVIDERS.keys()
    assert each.kind in {"text", "embeddings"}
    assert each.source.startswith("https://")
    assert date(2026, 1, 1) <= each.checked <= date(2026, 11, 21)
    assert each.prices.source == f"{each.source} ({each.checked.isoformat()})"
    begins = [moment for moment, _ in each.prices.entries]
    assert begins[0] == 0
    assert begins == sorted(set(begins))


@pytest.mark.parametrize("each", ALL, ids=lambda each: f"{each.vendors[0]}:{each.models[0]}")
def test_its_rates_are_plausible(each):
    """No cached token is dearer than a fresh one, no write cheaper, no tier below the one before."""
    for _, price in each.prices.entries:
        for rates in (price, *price.tiers):
            assert 0 < rates.input < 200 * 10**9
            assert 0 < rates.cached_input <= rates.input <= rates.short_write_rate <= rates.long_write_rate
            assert rates.output >= rates.input or each.kind == "embeddings"
            assert (rates.output == 0) == (each.kind == "embeddings")
            assert rates.audio_input_rate >= rates.input
        for lower, upper in pairwise((price, *price.tiers)):
            assert all(upper.named()[name] > rate for name, rate in lower.named().items())


def test_a_name_has_one_price():
    """No model of a vendor is listed twice, neither by its name nor by an alias."""
    names = [(vendor, model) for each in ALL for vendor in each.vendors for model in each.models]
    assert len(names) == len(set(names)) > 150
    assert all(model in bundled_price(vendor, model).models for vendor, model in names)


def test_only_exact_names_are_priced():
    """A name that is not listed has no price, however near it is, nor has one of another vendor."""
    assert bundled_price("openai", "gpt-6-sol") is bundled_price("openai-responses", "gpt-6-sol")
    assert bundled_price("openai", "gpt-6-sol-2030-01-01") is None
    assert bundled_price("openai", "GPT-6-sol") is None
    assert bundled_price("xai", "gpt-6-sol") is None
    assert bundled_price("openai-compatible", "gpt-6-sol") is None


def test_a_coming_price():
    """A change that is announced is there already, and begins by itself."""
    prices = bundled_price("gemini", "gemini-4-argon").prices
    assert [(moment, price.input) for moment, price in prices.entries] == [
        (0, 2 * 10**9),
        (1_796_083_200_000_000, 4 * 10**9),  # 2026-12-01
    ]

"""``ainf prices``."""

import json

from click.testing import CliRunner

from ainf.cli.main import ainf
from ainf.config.bundled import bundled_prices


def told(*arguments: str) -> str:
    result = CliRunner().invoke(ainf, ["prices", *arguments])
    assert result.exit_code == 0, result.output
    return result.stdout


def test_all_are_listed():
    """Every model that has a bundled price has a row, and every page that they are from is named."""
    table = told()
    for each in bundled_prices():
        assert f" {each.models[0]} " in table
        assert each.source in table


def test_a_row_for_every_tier_and_day():
    """What a longer prompt costs, and what a model costs from a coming day on, has a row of its own."""
    head, *rows = told("--provider", "gemini").split("\n\n")[0].splitlines()
    assert head.split()[:5] == ["vendor", "model", "from", "above", "tokens"]
    tiered = [row.split()[2:7] for row in rows if " gemini-2.5-pro " in row]
    assert [row[:4] for row in tiered] == [["-", "-", "1.25", "0.125"], ["-", "200000", "2.5", "0.25"]]
    dated = [row.split()[2:6] for row in rows if " gemini-4-argon " in row]
    assert dated == [["-", "-", "2", "0.1"], ["2026-12-01T00:00:00Z", "-", "4", "0.2"]]
    assert all(row.startswith("gemini") for row in rows)


def test_json():
    """Programs get the aliases, the exact amounts, the version of each price, and where it is from."""
    listed = json.loads(told("--provider", "anthropic", "--json"))
    (haiku,) = [each for each in listed if "claude-haiku-5-5" in each["models"]]
    (price,) = haiku["prices"]
    assert (price["from"], price["input"], price["long_cache_write"]) == (None, "0.1", "0.2")
    assert [(tier["above"], tier["input"]) for tier in price["tiers"]] == [(100000, "0.5")]
    assert haiku["source"].startswith("https://platform.claude.com/")
    assert {each["vendors"][0] for each in listed} == {"anthropic"}
    assert len(json.loads(told("--json"))) == len(bundled_prices())


def test_a_vendor_of_whom_nothing_is_bundled():
    """It is refused, with the nearest name that is known."""
    result = CliRunner().invoke(ainf, ["prices", "--provider", "gemni"])
    assert result.exit_code == 2
    assert "did you mean 'gemini'?" in result.stderr

"""The setting ``price``: a table of rates, several from their days on, "free", or what is bundled with the gateway."""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time
from operator import itemgetter
from typing import Any, Final

from ainf.config.lines import KeyPath, place_in
from ainf.config.values import Kind, UnfitError, UnfitPartsError, unknown
from ainf.inference.moments import moment_of
from ainf.inference.money import parse_usd
from ainf.pricing import FREE, PRICE_FIELDS, TIER_FIELDS, PriceSchedule, always, parse_price

BUNDLED: Final = PriceSchedule(())
"""Stands for the price that is bundled, until it is known whether there is one."""

_BEGINNING: Final = datetime(1970, 1, 1, tzinfo=UTC)

PRICE_ROWS: Final[Mapping[str, tuple[str, str, str]]] = {
    "input": ("USD per 1M tokens", "required", "Input tokens."),
    "cached_input": ("USD per 1M tokens", "`input`", "Input tokens that the provider had cached."),
    "cache_write": (
        "USD per 1M tokens",
        "none",
        "Input tokens written to the provider's cache for its usual time; without it, requests that ask for that are "
        "refused.",
    ),
    "long_cache_write": (
        "USD per 1M tokens",
        "none",
        "Input tokens written to the provider's cache for longer; without it, requests that ask for that are refused.",
    ),
    "output": ("USD per 1M tokens", "required", "Output tokens."),
    "reasoning": ("USD per 1M tokens", "`output`", "Output tokens that are reasoning."),
    "audio_input": (
        "USD per 1M tokens",
        "none",
        "Input tokens that are sound; without it, requests that hold sound are refused.",
    ),
    "audio_output": ("USD per 1M tokens", "`output`", "Output tokens that are sound."),
    "request": ("USD", '"0"', "Each request that the provider has answered."),
    "tiers": (
        "tables",
        "none",
        "What all tokens of a longer prompt cost: `{ above = 200000, input = ... }`; a rate that is not named is that "
        "of the tier below.",
    ),
    "from": (
        "date (UTC)",
        "always",
        "When the price begins; `price` is then an array of tables, `[[models.NAME.price]]`.",
    ),
}
"""Unit, default and meaning of each field of a price, for README's table."""


def parse_prices(value: object) -> PriceSchedule:
    """Return the prices that the setting names; ``BUNDLED`` where it names none.

    Raises:
        UnfitError, UnfitPartsError: it is none of what it may be, or parts of it are not.
    """
    if value == "bundled":
        return BUNDLED
    if value == "free":
        return always(FREE)
    if isinstance(value, dict):
        return _schedule([((), value)])
    if isinstance(value, list) and value and all(isinstance(table, dict) for table in value):
        return _schedule([((place_in(number),), table) for number, table in enumerate(value)])
    raise UnfitError('must be a table of USD per million tokens as strings, "free" or "bundled"')


def _schedule(tables: Sequence[tuple[KeyPath, Mapping[str, Any]]]) -> PriceSchedule:
    """Return the schedule that tables, each with its place in the setting, make."""
    faults = [fault for place, table in tables for fault in _faults(place, table)]
    if faults:
        raise UnfitPartsError(faults)
    begins = [_moment(table.get("from", _BEGINNING)) for _, table in tables]
    doubled = [place for number, (place, _) in enumerate(tables) if begins[number] in begins[:number]]
    if doubled:
        fault = "another price begins at the same moment; leave one of them out"
        raise UnfitPartsError([((*place, "from"), fault) for place in doubled])
    try:
        prices = [parse_price({name: part for name, part in table.items() if name != "from"}) for _, table in tables]
    except ValueError as error:
        raise UnfitError(str(error)) from None
    return PriceSchedule(tuple(sorted(zip(begins, prices, strict=True), key=itemgetter(0))))


def _moment(value: date) -> int:
    """Return when a price begins, in microseconds since 1970 UTC."""
    if not isinstance(value, datetime):
        return _moment(datetime.combine(value, time()))
    moment = value if value.tzinfo else value.replace(tzinfo=UTC)
    return moment_of(moment)


def _faults(at: KeyPath, table: Mapping[str, Any]) -> list[tuple[KeyPath, str]]:
    faults: list[tuple[KeyPath, str]] = []
    for name, part in table.items():
        match name:
            case "from":
                fault = (
                    None if isinstance(part, date) else "must be a date or a time, such as 2026-12-01, without quotes"
                )
            case "tiers":
                faults += _tier_faults((*at, name), part)
                continue
            case _:
                fault = _rate_fault(name, part, (*PRICE_FIELDS, "from"))
        faults += [((*at, name), fault)] if fault else []
    return faults + [((*at, name), "is required") for name in ("input", "output") if name not in table]


def _tier_faults(at: KeyPath, tiers: object) -> list[tuple[KeyPath, str]]:
    if not isinstance(tiers, list) or not all(isinstance(tier, dict) for tier in tiers):
        return [(at, "must be a list of tables")]
    faults: list[tuple[KeyPath, str]] = []
    for number, tier in enumerate(tiers):
        place = (*at, place_in(number))
        faults += [
            ((*place, name), fault)
            for name, part in tier.items()
            if (fault := _above_fault(part) if name == "above" else _rate_fault(name, part, TIER_FIELDS))
        ]
        if "above" not in tier:
            faults.append(((*place, "above"), "is required"))
    return faults


def _above_fault(value: object) -> str | None:
    return None if type(value) is int and value > 0 else "must be a whole number of tokens over 0"


def _rate_fault(name: str, value: object, known: tuple[str, ...]) -> str | None:
    if name not in known:
        return unknown(name, known)
    if not isinstance(value, str):
        return 'must be a string such as "0.15", so that it is exact'
    try:
        parse_usd(value)
    except ValueError as error:
        return str(error)
    return None


PRICE: Final = Kind("price", parse_prices)

"""Money: whole nano-dollars.

An amount is an ``int`` of 1e-9 USD and a price is nano-dollars per million tokens, so that no float ever touches money
and a price such as "0.075 USD per million tokens" (75,000,000) is exact.
"""

from decimal import Decimal, InvalidOperation
from typing import NewType

NanoUSD = NewType("NanoUSD", int)

NANO_PER_USD = 1_000_000_000
_NANO = Decimal(NANO_PER_USD)
# Nine decimals is the unit itself; 1e9 USD is far over any cap and keeps every sum inside SQLite's 64-bit integers.
_LARGEST_USD = Decimal(1_000_000_000)


def parse_usd(text: str) -> NanoUSD:
    """Return the amount that a decimal string of dollars names, exactly.

    Raises:
        ValueError: not a plain decimal number, negative, finer than a nano-dollar, or over 1e9 USD.
    """
    try:
        amount = Decimal(text)
    except InvalidOperation:
        raise ValueError(f'{text[:40]!r} is not a decimal amount of US dollars such as "0.15"') from None
    if not amount.is_finite() or amount < 0 or amount > _LARGEST_USD:
        raise ValueError(f"{text[:40]!r} is not between 0 and 1,000,000,000 US dollars")
    nano = amount * _NANO
    if nano != nano.to_integral_value():
        raise ValueError(f"{text[:40]!r} is finer than a nano-dollar (nine decimals)")
    return NanoUSD(int(nano))


def format_usd(amount: int) -> str:
    """Return an amount as a decimal string of dollars, without trailing zeros: 1_500_000_000 -> "1.5"."""
    sign = "-" if amount < 0 else ""
    whole, fraction = divmod(abs(amount), NANO_PER_USD)
    digits = f"{fraction:09d}".rstrip("0")
    return f"{sign}{whole}.{digits}" if digits else f"{sign}{whole}"
